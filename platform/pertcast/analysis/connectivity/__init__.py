"""Connectivity: which profiles of a library mimic or reverse a signature."""

from pertcast.analysis.connectivity.index import ConnectivityIndex
from pertcast.analysis.connectivity.mapping import MappingReport, TooFewGenes
from pertcast.analysis.connectivity.query import QueryOptions, ask_library
from pertcast.analysis.connectivity.ranked import RankedBlock
from pertcast.analysis.connectivity.result import QueryResult
from pertcast.analysis.connectivity.scores import SCORES, ConnectivityScore, Queries, get_score
from pertcast.analysis.connectivity.signature import Signature, profile_query

__all__ = [
    "SCORES",
    "ConnectivityIndex",
    "ConnectivityScore",
    "MappingReport",
    "Queries",
    "QueryOptions",
    "QueryResult",
    "RankedBlock",
    "Signature",
    "TooFewGenes",
    "ask_library",
    "get_score",
    "profile_query",
]

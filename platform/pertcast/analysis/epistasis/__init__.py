"""Epistasis of pairs: what a pair does beyond the sum of its singles, measured and predicted."""

from pertcast.analysis.epistasis.interactions import (
    PairInteractions,
    PairMembers,
    interactions_of_responses,
    pair_interactions,
)
from pertcast.analysis.epistasis.kinds import KINDS
from pertcast.analysis.epistasis.replicates import ReplicateBlocks

__all__ = [
    "KINDS",
    "PairInteractions",
    "PairMembers",
    "ReplicateBlocks",
    "interactions_of_responses",
    "pair_interactions",
]

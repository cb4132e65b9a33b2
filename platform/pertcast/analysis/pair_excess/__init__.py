"""Pair screens: what a predicted pair does beyond the sum of its predicted singles."""

from pertcast.analysis.pair_excess.excess import PAIR_SCHEMA, pair_excess, rank_pairs
from pertcast.analysis.pair_excess.summary import PairScreenSummary, summarise_pairs

__all__ = ["PAIR_SCHEMA", "PairScreenSummary", "pair_excess", "rank_pairs", "summarise_pairs"]

"""Pair screens: what a predicted pair does beyond the sum of its predicted singles."""

from pertcast.analysis.pair_excess.excess import PAIR_SCHEMA, pair_excess
from pertcast.analysis.pair_excess.summary import SUMMARY_COLUMNS, PairScreenSummary, summarise_pairs

__all__ = ["PAIR_SCHEMA", "SUMMARY_COLUMNS", "PairScreenSummary", "pair_excess", "summarise_pairs"]

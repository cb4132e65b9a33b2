"""From profiles to hits: effect sizes, the genes that move most, ranks, p-values that were calibrated."""

from pertcast.analysis.hits.columns import HIT_COLUMNS, domain_flag, hit_columns, rank_hits
from pertcast.analysis.hits.statistics import DEG_SPREADS, TOP_GENES, condition_statistics

__all__ = [
    "DEG_SPREADS",
    "HIT_COLUMNS",
    "TOP_GENES",
    "condition_statistics",
    "domain_flag",
    "hit_columns",
    "rank_hits",
]

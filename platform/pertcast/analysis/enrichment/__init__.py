"""Gene-set enrichment of whole screens: exact scores, size-matched nulls, how a score stands in its screen.

gseapy permutes genes for one profile at a time; a screen needs all profiles. The full permutation test stays
gseapy's and is asked for the reported hits only (`prerank`).
"""

from pertcast.analysis.enrichment.gseapy_prerank import PRERANK_SCHEMA, prerank
from pertcast.analysis.enrichment.in_screen import ScreenCentre, screen_z
from pertcast.analysis.enrichment.null import NormalisedEnrichment, SizeMatchedNull
from pertcast.analysis.enrichment.ranking import (
    Ranks,
    gene_ranks,
    inverse,
    rank_dtype,
    ranked_order,
    ranks_of,
)
from pertcast.analysis.enrichment.scores import enrichment_scores, running_sum

__all__ = [
    "PRERANK_SCHEMA",
    "NormalisedEnrichment",
    "Ranks",
    "ScreenCentre",
    "SizeMatchedNull",
    "enrichment_scores",
    "gene_ranks",
    "inverse",
    "prerank",
    "rank_dtype",
    "ranked_order",
    "ranks_of",
    "running_sum",
    "screen_z",
]

"""The columns that the report of a screen reads, in one place.

Tables may bring more; what is not named here is shown only where a table is shown as it comes.
"""

from __future__ import annotations

from typing import Final

IDENTITY_COLUMNS: Final = ("cmap_name", "pert_type", "cell_iname", "pert_dose", "pert_time")
"""What a condition's readable name is written from."""

HIT_COLUMNS_READ: Final = (
    "rank",
    "sig_id",
    *IDENTITY_COLUMNS,
    "score",
    "effect_size",
    "n_deg",
    "top_up",
    "top_down",
    "p_value",
    "fdr",
    "flag",
    "nn_train_dist",
    "pred_sd",
)
RANKED_COLUMNS: Final = (
    "rank",
    *IDENTITY_COLUMNS,
    "score",
    "effect_size",
    "pred_sd",
    "p_value",
    "fdr",
    "flag",
)
FLAG_COLUMNS: Final = ("flag", "conditions")
STRATUM_COLUMNS: Final = ("stratum", "calibration", "conditions", "hits")
REASON_COLUMNS: Final = ("reason", "conditions")
NEIGHBOR_COLUMNS: Final = ("sig_id", "neighbor_sig_id", "tail", "rank", "cosine")
ENRICHMENT_COLUMNS: Final = (
    "sig_id",
    "term",
    "es",
    "nes",
    "pval",
    "fdr",
    "screen_z",
    "prerank_nes",
    "prerank_pval",
    "prerank_fdr",
    "size",
    "lead_genes",
)
DOSE_FIT_COLUMNS: Final = (
    "curve",
    *(name for name in IDENTITY_COLUMNS if name != "pert_dose"),
    "n_doses",
    "lowest_dose",
    "highest_dose",
    "state",
    "ec50",
    "ec50_low",
    "ec50_high",
    "slope",
    "bottom",
    "top",
    "largest_effect_size",
)
DOSE_POINT_COLUMNS: Final = ("curve", "pert_dose", "response", "effect_size")
MAP_COLUMNS: Final = ("x", "y", "name", "group")
PAIR_KIND_COLUMNS: Final = ("kind", "pairs")

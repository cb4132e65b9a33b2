"""The table of hits: ranks, p-values and false-discovery rates beside what each condition is.

Conditions are ranked by predicted effect. No p-value is invented here: they are given
(`pertcast.evaluation.hit_calibration`), or the columns are null.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

HIT_COLUMNS = (
    "rank",
    "sig_id",
    "cmap_name",
    "cell_iname",
    "pert_type",
    "pert_dose",
    "pert_time",
    "score",
    "effect_size",
    "n_deg",
    "top_up",
    "top_down",
    "p_value",
    "fdr",
    "calibration",
    "rank_neg",
    "rank_pos",
    "flag",
)

RANKS = ("rank", "rank_pos", "rank_neg")


def hit_columns(
    block: pl.DataFrame,
    *,
    ranks: Mapping[str, NDArray[np.int64]],
    p_value: NDArray[np.float64] | None = None,
    fdr: NDArray[np.float64] | None = None,
    calibration: pl.Series | None = None,
) -> pl.DataFrame:
    """Return some conditions as rows of the table of hits, in the order given.

    Parameters
    ----------
    block
        B conditions: identity columns, the columns of `condition_statistics`, and seen_pert, seen_cell,
        is_in_domain; `score` where conditions are ranked by something else than effect_size.
    ranks
        rank, rank_pos and rank_neg of the B conditions in their whole screen.
    p_value, fdr
        (B,) of the whole screen's; NaN where nothing calibrates a condition. None: nothing is calibrated.
    calibration
        (B,) in words what calibrated each, or why nothing did.

    Returns
    -------
    DataFrame
        `HIT_COLUMNS`. flag names what the model extrapolates.
    """
    missing = np.full(block.height, np.nan)
    texts = pl.Series("calibration", [None] * block.height, dtype=pl.String)
    if "score" not in block.columns:
        block = block.with_columns(score=pl.col("effect_size"))
    return block.with_columns(
        *(pl.Series(name, ranks[name], dtype=pl.Int64) for name in RANKS),
        pl.Series("p_value", missing if p_value is None else p_value, nan_to_null=True),
        pl.Series("fdr", missing if fdr is None else fdr, nan_to_null=True),
        (texts if calibration is None else calibration).alias("calibration"),
        domain_flag("seen_pair" in block.columns).alias("flag"),
    ).select(HIT_COLUMNS)


def rank_hits(
    sig_info: pl.DataFrame,
    *,
    p_value: NDArray[np.float64] | None = None,
    fdr: NDArray[np.float64] | None = None,
    calibration: pl.Series | None = None,
) -> pl.DataFrame:
    """Rank a table of conditions that fits in memory, largest predicted effect first; ties by sig_id.

    Parameters
    ----------
    sig_info, p_value, fdr, calibration
        As in `hit_columns`, in the order of `sig_info`.

    Returns
    -------
    DataFrame
        `HIT_COLUMNS` by rank. rank_pos and rank_neg rank by the rising and the falling part of the response
        alone.
    """
    by = {"rank": "effect_size", "rank_pos": "effect_up", "rank_neg": "effect_down"}
    ranks = {name: sig_info.select(_rank_by(column)).to_series().to_numpy() for name, column in by.items()}
    hits = hit_columns(sig_info, ranks=ranks, p_value=p_value, fdr=fdr, calibration=calibration)
    return hits.sort("rank")


def _rank_by(column: str) -> pl.Expr:
    """Rank from 1, largest first, ties by sig_id."""
    order = pl.struct(-pl.col(column), pl.col("sig_id"))
    return order.rank("ordinal").cast(pl.Int64)


def domain_flag(of_pairs: bool = False) -> pl.Expr:
    """Say in words what of a condition lies outside the training data; null where that is not known.

    With `of_pairs`, a pair whose singles alone were trained (seen_pair false) is told as an extrapolation.
    """
    is_new_pair = pl.col("seen_pair").not_() if of_pairs else pl.lit(False)
    return (
        pl.when(pl.col("seen_cell").not_())
        .then(pl.lit("extrapolation: cell line not in training"))
        .when(pl.col("is_in_domain").not_())
        .then(pl.lit("extrapolation: far from training"))
        .when(pl.col("seen_pert").not_())
        .then(pl.lit("extrapolation: perturbation not in training"))
        .when(is_new_pair)
        .then(pl.lit("extrapolation: pair not in training"))
        .when(pl.col("seen_pert"))
        .then(pl.lit("seen in training"))
        .otherwise(pl.lit(None, dtype=pl.String))
    )

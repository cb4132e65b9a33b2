"""How many hits a screen has at a false-discovery rate, and what calibrated them, counted from its hits."""

from __future__ import annotations

from typing import Final

import polars as pl

from pertcast.evaluation.hit_calibration import FDR_LEVELS
from pertcast.evaluation.hit_calibration.strata import n_inactive_told
from pertcast.report.screen.results_parts import Significance

_STRICT, _WIDE = FDR_LEVELS
_NONE: Final = "none: "


def significance_of(hits: pl.LazyFrame) -> Significance | None:
    """Count hits by stratum; None where nothing was calibrated and no reason is told.

    Parameters
    ----------
    hits
        A screen's hits.parquet.
    """
    is_wide = (pl.col("fdr") <= _WIDE).fill_null(False)
    counted = (
        hits.group_by("calibration")
        .agg(
            conditions=pl.len().cast(pl.Int64),
            calibrated=pl.col("p_value").is_not_null().sum().cast(pl.Int64),
            strict=(pl.col("fdr") <= _STRICT).fill_null(False).sum().cast(pl.Int64),
            hits=is_wide.sum().cast(pl.Int64),
        )
        .collect(engine="streaming")
        .filter(pl.col("calibration").is_not_null())
        .sort("conditions", "calibration", descending=[True, False])
    )
    if counted.is_empty():
        return None
    with_p = counted.filter(pl.col("calibrated") > 0)
    without = counted.filter(pl.col("calibrated") == 0)
    perturbations = [n_inactive_told(text) for text in with_p["calibration"]]
    return Significance(
        n_calibrated=int(counted["calibrated"].sum()),
        n_at_5=int(counted["strict"].sum()),
        n_at_10=int(counted["hits"].sum()),
        strata=with_p.select(
            stratum="calibration",
            calibration=pl.Series(perturbations, dtype=pl.Int64),
            conditions="conditions",
            hits="hits",
        ),
        reasons=without.select(reason=pl.col("calibration").str.strip_prefix(_NONE), conditions="conditions"),
    )

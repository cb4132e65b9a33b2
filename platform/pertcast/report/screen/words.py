"""Words that several sections of a screen's report share: names of hits, what conditions are ranked by."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.naming import condition_name
from pertcast.report.page import badge_html
from pertcast.report.screen.results import ScreenResults

HIT_LEVEL = 0.1
"""FDR up to which a condition is drawn as a hit."""


def names_of(table: pl.DataFrame) -> list[str]:
    """Return the readable name of each row."""
    return [condition_name(row) for row in table.iter_rows(named=True)]


def score_title(results: ScreenResults) -> str:
    """Say what conditions are ranked by, with its unit."""
    if results.signature is not None:
        return f"how well it {verb(results)}s the signature ({results.signature.score})"
    if results.kind == "pairs":
        return f"excess over the sum of the singles ({results.unit})"
    return f"effect ({results.unit})"


def verb(results: ScreenResults) -> str:
    """Return "mimic" or "reverse"."""
    return "mimic" if results.signature is None else results.signature.objective


def is_ranked_by_effect(results: ScreenResults) -> bool:
    """Return whether the rank is the rank of the effect size."""
    return results.signature is None and results.kind != "pairs"


def is_calibrated(results: ScreenResults) -> bool:
    """Return whether any condition has a p-value."""
    return results.significance is not None and results.significance.n_calibrated > 0


def why_uncalibrated(results: ScreenResults) -> str:
    """Say why no condition has a p-value."""
    found = results.significance
    if found is not None and found.reasons.height:
        return str(found.reasons.sort("conditions", "reason", descending=[True, False])["reason"][0])
    if not is_ranked_by_effect(results):
        return "conditions are not ranked by their effect, which alone is calibrated"
    return "the bundle carries no calibration"


def is_extrapolated(table: pl.DataFrame) -> NDArray[np.bool_]:
    """Return (N,) whether a condition extrapolates, or may."""
    return table["flag"].str.starts_with("extrapolation").fill_null(True).to_numpy()


def is_hit(table: pl.DataFrame) -> NDArray[np.bool_]:
    """Return (N,) whether a condition has an fdr of at most 10 %."""
    return (table["fdr"] <= HIT_LEVEL).fill_null(False).to_numpy()


def trust_badge(flag: str | None) -> str:
    """Return whether training has seen a condition, as a badge."""
    if flag is None:
        return badge_html("not known", "care")
    return badge_html(flag.split(":")[0], "good" if flag == "seen in training" else "care")


def numbers(table: pl.DataFrame, column: str) -> NDArray[np.float64]:
    """Return (N,) a column as floats; NaN where null."""
    found: NDArray[np.float64] = table[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return found

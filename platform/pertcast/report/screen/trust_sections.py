"""Sections of a screen's report on how far it can be believed: applicability, metrics, calibration."""

from __future__ import annotations

from typing import Final

import polars as pl

from pertcast.report.page import Section, Width, paragraph_html
from pertcast.report.screen.results import ScreenResults
from pertcast.report.tables import csv_link, fixed, format_number, table_html
from pertcast.report.theme import Tone

_MOST_STRATA: Final = 12


def applicability(results: ScreenResults) -> Section:
    """Show how many conditions extrapolate, and what held-out data said of the bundle."""
    width: Width = "full" if results.significance is None else "half"
    counts = results.flags.with_columns(pl.col("flag").fill_null("not known"))
    counts = counts.sort("conditions", "flag", descending=[True, False]).select("flag", "conditions")
    html = table_html(counts, headers={"flag": "applicability"}, download="applicability.csv")
    if results.distance is not None:
        median, largest = results.distance
        html += paragraph_html(
            f"Distance to the nearest training perturbation: median {format_number(median)}, largest "
            f"{format_number(largest)}."
        )
    known = {name: value for name, value in results.metrics.items() if value is not None}
    if known:
        rows = pl.DataFrame({"metric": list(known), "held out": list(known.values())})
        html += table_html(
            rows,
            formats={"held out": fixed(3)},
            caption="Of this bundle, on held-out conditions.",
            download="held_out_metrics.csv",
        )
        return Section("Can it be believed?", html, width=width)
    html += paragraph_html(
        "This bundle carries no held-out metrics: nothing here says whether it beats a baseline. Run "
        "`pertcast evaluate` on its run before believing a hit."
    )
    return Section("Can it be believed?", html, width=width, tone="care")


def calibration(results: ScreenResults) -> list[Section]:
    """Show what calibrates p-values, and why other conditions have none."""
    found = results.significance
    if found is None:
        return []
    html = ""
    if found.strata.height:
        ordered = found.strata.sort("conditions", "stratum", descending=[True, False])
        caption = (
            f"{_first_of(ordered.height, 'strata')}K: inactive perturbations, the smallest p is 1 / (K + 1). "
            "Hits: FDR at most 10 %, over all strata together."
        )
        html += table_html(
            ordered.head(_MOST_STRATA).select("stratum", "calibration", "conditions", "hits"),
            headers={"calibration": "K"},
            caption=caption,
        )
        html += csv_link(ordered, "calibration_strata.csv")
    if found.reasons.height:
        ordered = found.reasons.sort("conditions", "reason", descending=[True, False])
        html += paragraph_html(
            f"{_first_of(ordered.height, 'reasons')}Conditions without a p-value, and why:"
        )
        html += table_html(ordered.head(_MOST_STRATA).select("reason", "conditions"))
        html += csv_link(ordered, "without_p_value.csv")
    tone: Tone = "plain" if found.n_calibrated else "care"
    return [Section("What calibrates the false-discovery rate", html, width="half", tone=tone)]


def _first_of(count: int, word: str) -> str:
    return f"{_MOST_STRATA} of {count:,} {word}, those of most conditions. " if count > _MOST_STRATA else ""

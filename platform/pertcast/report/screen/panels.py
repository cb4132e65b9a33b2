"""The figures of a screen with what is said beside them: one function a figure, for the report and the page.

A panel is a title, muted words and a figure; or, where there is nothing to draw, the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import plotly.graph_objects as go
import polars as pl

from pertcast.report.screen import heatmaps
from pertcast.report.screen.rank_figures import profile_map, rank_plot, spread_plot, volcano_plot
from pertcast.report.screen.results import ScreenResults
from pertcast.report.screen.words import (
    is_calibrated,
    is_extrapolated,
    is_hit,
    names_of,
    numbers,
    score_title,
)

AddressOf = Callable[[str], str]
"""Where a click on the point of a sig_id leads."""

_HEIGHT: Final = 310
_MOST_GENES: Final = 40


@dataclass(frozen=True)
class Panel:
    """One figure of a screen.

    Attributes
    ----------
    title, subtitle
        Heading, and muted words behind it: what is shown and what is not.
    figure
        None where there is nothing to draw; then `reason` says why.
    label
        What the figure shows, in words.
    height
        In pixels.
    reason
        Why there is no figure.
    """

    title: str
    subtitle: str = ""
    figure: go.Figure | None = None
    label: str = ""
    height: int = _HEIGHT
    reason: str = ""


def rank_panel(results: ScreenResults, address_of: AddressOf | None = None) -> Panel:
    """Draw every condition by rank."""
    ranked = results.ranked
    figure = rank_plot(
        ranked["rank"].to_numpy(),
        numbers(ranked, "score"),
        names_of(ranked),
        is_extrapolated(ranked),
        score_title=score_title(results),
        is_hit=is_hit(ranked) if is_calibrated(results) else None,
        addresses=_addresses(ranked, address_of),
    )
    subtitle = f"{ranked.height:,} of {results.n_conditions:,} conditions shown; hollow: extrapolation"
    return Panel("Rank plot", subtitle, figure, "Every condition by rank")


def effect_panel(results: ScreenResults, address_of: AddressOf | None = None) -> Panel:
    """Draw effects against p-values or, where nothing calibrates, against the model's spread."""
    return _volcano(results, address_of) if is_calibrated(results) else _spread(results, address_of)


def _volcano(results: ScreenResults, address_of: AddressOf | None) -> Panel:
    assert results.significance is not None
    ranked = results.ranked
    figure = volcano_plot(
        numbers(ranked, "effect_size"),
        numbers(ranked, "p_value"),
        names_of(ranked),
        is_extrapolated(ranked),
        is_hit(ranked),
        unit=results.unit,
        n_calibration=results.significance.strata["calibration"].drop_nulls().to_list(),
        addresses=_addresses(ranked, address_of),
    )
    subtitle = (
        f"{ranked['p_value'].count():,} of the {results.significance.n_calibrated:,} conditions with a "
        "p-value; dotted: the smallest p that K calibration perturbations can give, 1 / (K + 1)"
    )
    return Panel("Volcano", subtitle, figure, "Effect size against conformal p-value")


def _spread(results: ScreenResults, address_of: AddressOf | None) -> Panel:
    title = "Effect against spread"
    known = results.ranked.filter(pl.col("pred_sd").is_not_null())
    if known.is_empty():
        reason = (
            "This bundle predicts no spread, so an effect cannot be held against it. n_deg is left empty. "
            "No p-value stands in for it."
        )
        return Panel(title, reason=reason)
    figure = spread_plot(
        numbers(known, "effect_size"),
        numbers(known, "pred_sd"),
        names_of(known),
        is_extrapolated(known),
        unit=results.unit,
        addresses=_addresses(known, address_of),
    )
    subtitle = "spread: predicted sd of single profiles, not an error of the mean; hollow: extrapolation"
    return Panel(title, subtitle, figure, "Effect size against the model's own spread")


def _addresses(table: pl.DataFrame, address_of: AddressOf | None) -> list[str] | None:
    return None if address_of is None else [address_of(sig_id) for sig_id in table["sig_id"]]


def responses_panel(results: ScreenResults) -> Panel:
    """Draw the strongest conditions against the genes that move most."""
    matrix = np.stack(list(results.profiles.values()))
    names = names_of(results.hits.head(len(matrix)))
    figure = heatmaps.hit_heatmap(matrix, names, results.genes, results.unit, _MOST_GENES)
    n_genes = min(_MOST_GENES, len(results.genes))
    subtitle = (
        f"{len(matrix)} first conditions; {n_genes} of {len(results.genes):,} genes that move most in any of "
        "them; colours end at the 98 % quantile"
    )
    height = 140 + 22 * len(matrix)
    return Panel("What the top hits do", subtitle, figure, "Responses of the first conditions", height)


def likeness_panel(results: ScreenResults) -> Panel:
    """Draw which of the strongest conditions do the same."""
    title = "Which hits are alike"
    if len(results.profiles) < 2:
        reason = "There is one reported condition, and nothing to compare it with."
        return Panel(title, reason=reason)
    matrix = np.stack(list(results.profiles.values()))
    figure = heatmaps.correlation_heatmap(matrix, names_of(results.hits.head(len(matrix))))
    subtitle = (
        f"Pearson correlation over {len(results.genes):,} genes of {len(matrix)} conditions, clustered; the "
        "same order both ways"
    )
    label = "Correlation of the responses of every two of the first conditions"
    return Panel(title, subtitle, figure, label, 400)


def map_panel(results: ScreenResults, address_of: AddressOf | None = None) -> Panel:
    """Draw where profiles lie beside each other."""
    title = "Map of profiles"
    found = results.map
    if found is None or found.points.height < 2:
        return Panel(title, reason="There are too few profiles, or they do not differ.")
    points = found.points
    figure = profile_map(
        points["x"].to_numpy(),
        points["y"].to_numpy(),
        points["name"].to_list(),
        points["group"].cast(pl.String).fill_null("not known").to_list(),
        share=found.share,
        addresses=_addresses(points, address_of),
    )
    subtitle = (
        f"{points.height:,} of {results.n_conditions:,} conditions; {found.method}; colour and mark: "
        f"{found.group_title}"
    )
    return Panel(title, subtitle, figure, "Map of predicted profiles", 440)

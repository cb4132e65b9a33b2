"""Figures of the data report: sizes, controls, distributions beside their null, the targets' own genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import polars as pl
from pertcast_data.quality.report import QUANTILES, Distribution

from pertcast.report.theme import ACCENT, CARE, CURVE_COLOURS, GOOD, INK, MUTED, WHITE

LEVELS: Final = {
    "batch": "same plate or batch",
    "context_time": "same line and time",
    "context": "only same line",
    "none": "none",
}
"""Level of matched controls -> words."""

_LEVEL_COLOURS: Final = {"batch": GOOD, "context_time": ACCENT, "context": CARE, "none": CURVE_COLOURS[1]}
_MOST_POINTS: Final = 4_000


def size_figure(counts: Mapping[str, int]) -> go.Figure:
    """Draw how many conditions have how many profiles."""
    filled = [place for place, number in enumerate(counts.values()) if number]
    last = max(filled, default=0) + 1
    names, numbers = list(counts)[:last], list(counts.values())[:last]
    figure = go.Figure(
        go.Bar(
            x=names,
            y=numbers,
            marker={"color": ACCENT},
            hovertemplate="%{x} profiles: %{y:,} conditions<extra></extra>",
        )
    )
    return figure.update_layout(
        xaxis={"title": {"text": "profiles of a treated condition"}, "type": "category"},
        yaxis={"title": {"text": "conditions"}},
        bargap=0.25,
    )


def coverage_figure(coverage: Mapping[str, int]) -> go.Figure:
    """Draw the share of treated profiles by their nearest controls."""
    total = max(sum(coverage.values()), 1)
    shares = [100 * number / total for number in coverage.values()]
    figure = go.Figure(
        go.Bar(
            x=shares,
            y=[LEVELS.get(level, level) for level in coverage],
            orientation="h",
            marker={"color": [_LEVEL_COLOURS.get(level, MUTED) for level in coverage]},
            customdata=list(coverage.values()),
            text=[f"{share:.1f} %" for share in shares],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{customdata:,} profiles<extra></extra>",
        )
    )
    return figure.update_layout(
        xaxis={"title": {"text": "treated profiles (%)"}, "range": [0, 112]},
        yaxis={"autorange": "reversed", "showgrid": False, "tickfont": {"color": INK, "size": 12}},
        bargap=0.45,
    )


def distribution_figure(
    curves: Sequence[tuple[str, Distribution, Distribution]], axis_title: str
) -> go.Figure:
    """Draw the share of conditions below each value; the null of each kind is dotted.

    Parameters
    ----------
    curves
        (kind, measured, null) distributions; empty ones are left out.
    axis_title
        What is on the horizontal axis.
    """
    figure = go.Figure()
    for place, (kind, measured, null) in enumerate(curves):
        colour = CURVE_COLOURS[place % len(CURVE_COLOURS)]
        for found, name, dash in ((measured, kind, "solid"), (null, f"{kind}, reassigned rows", "dot")):
            if found.values:
                figure.add_trace(_curve(found, name, colour, dash))
    return figure.update_layout(
        xaxis={"title": {"text": axis_title}},
        yaxis={"title": {"text": "share of conditions below (%)"}, "range": [0, 102]},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
        margin={"b": 96},
    )


def _curve(found: Distribution, name: str, colour: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=list(found.values),
        y=[100 * level for level in QUANTILES],
        mode="lines",
        name=f"{name} ({found.n:,})",
        line={"color": colour, "width": 2, "dash": dash},
        hovertemplate=f"{escape(name)}: %{{y:.0f}} % below %{{x:.3g}}<extra></extra>",
    )


def own_target_figure(targets: pl.DataFrame, z_title: str) -> go.Figure:
    """Draw the z of each target's own gene, in order; solid where it goes the expected way by 2 or more.

    Parameters
    ----------
    targets
        condition_id, pert_type, target_gene, z, target_seen of conditions with a measured target.
    z_title
        What the vertical axis is.
    """
    figure = go.Figure()
    for place, kind in enumerate(targets["pert_type"].unique().sort().to_list()):
        own = targets.filter(pl.col("pert_type") == kind).sort("z")
        if own.height > _MOST_POINTS:
            own = own[np.linspace(0, own.height - 1, _MOST_POINTS).astype(int).tolist()]
        figure.add_trace(_points(own, str(kind), CURVE_COLOURS[place % len(CURVE_COLOURS)]))
    for level in (-2, 2):
        figure.add_hline(y=level, line={"color": "#9aa5b0", "width": 1, "dash": "dot"})
    return figure.update_layout(
        xaxis={"title": {"text": "conditions in order of z (%)"}, "range": [-2, 102]},
        yaxis={"title": {"text": z_title}},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
        margin={"b": 96},
    )


def _points(own: pl.DataFrame, kind: str, colour: str) -> go.Scatter:
    seen = own["target_seen"].to_list()
    marker: dict[str, Any] = {
        "size": 7,
        "color": [colour if each else WHITE for each in seen],
        "line": {"color": colour, "width": 1.5},
    }
    return go.Scatter(
        x=(100 * (np.arange(own.height) + 0.5) / own.height).tolist(),
        y=own["z"].to_list(),
        mode="markers",
        name=f"{kind} ({own.height:,})",
        marker=marker,
        hovertext=[
            f"{escape(name)}<br>{escape(gene)}"
            for name, gene in own.select("condition_id", "target_gene").iter_rows()
        ],
        hovertemplate="%{hovertext}: z %{y:.2f}<extra></extra>",
    )

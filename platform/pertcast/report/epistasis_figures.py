"""Figures of epistasis: the map of measured pairs, and predicted against measured lengths of the excess.

Colour is the measured kind in both; a hollow point is not told apart from the sum of its singles.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import polars as pl

from pertcast.analysis.association import FloatArray
from pertcast.analysis.epistasis import KINDS, PairEpistasis
from pertcast.analysis.epistasis.kinds import ADDITIVE, NEOMORPHISM, SUPPRESSION, SYNERGY, UNRESOLVED
from pertcast.report.labels import label_points, padded_range
from pertcast.report.theme import CARE, DOWN, INK, MUTED, UP, WHITE

GREY: Final = "#9aa5b0"
KIND_COLOURS: Final = MappingProxyType(
    {ADDITIVE: MUTED, SYNERGY: UP, SUPPRESSION: DOWN, NEOMORPHISM: CARE, UNRESOLVED: INK}
)
LARGEST_C: Final = 4.0
"""c beyond this is drawn at the border: where the singles nearly cancel it has no bound."""

_MAP_SIZE: Final = (480, 380)


def pair_names(table: pl.DataFrame) -> list[str]:
    """Return "A+B, cell line" of each row."""
    return [f"{a}+{b}, {cell}" for a, b, cell in table.select("first", "second", "cell_iname").iter_rows()]


def short_names(table: pl.DataFrame) -> list[str]:
    """Return "A+B" of each row, for labels."""
    return [f"{first}+{second}" for first, second in table.select("first", "second").iter_rows()]


def _add_kinds(figure: go.Figure, x: FloatArray, y: FloatArray, table: pl.DataFrame, hover: str) -> None:
    """Add one trace a kind; additive pairs are hollow."""
    names, kinds = np.array(pair_names(table), dtype=object), table["kind"].to_numpy()
    for kind in KINDS:
        rows = np.flatnonzero((kinds == kind) & np.isfinite(x) & np.isfinite(y))
        if not len(rows):
            continue
        colour = KIND_COLOURS[kind]
        figure.add_trace(
            go.Scatter(
                x=np.round(x[rows], 4),
                y=np.round(y[rows], 4),
                mode="markers",
                name=kind,
                hovertext=[f"{names[row]}<br>{kind}" for row in rows],
                hovertemplate=f"%{{hovertext}}<br>{hover}<extra></extra>",
                marker={
                    "size": 8,
                    "color": WHITE if kind in (ADDITIVE, UNRESOLVED) else colour,
                    "opacity": 0.85,
                    "line": {"color": colour, "width": 1.5},
                },
            )
        )


def _with_legend(figure: go.Figure, **layout: Any) -> go.Figure:
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": INK}}
    return figure.update_layout(showlegend=True, legend=legend, margin={"t": 34}, **layout)


def interaction_map(result: PairEpistasis) -> go.Figure:
    """Draw every pair with a defined c: projection on the sum against the share outside the singles."""
    table = result.strongest()
    c = np.clip(table["c"].fill_null(np.nan).to_numpy(), -LARGEST_C, LARGEST_C)
    share = table["outside_share"].fill_null(np.nan).to_numpy()
    figure = go.Figure()
    _add_kinds(figure, c, share, table, "c %{x:.2f}, outside share %{y:.2f}")
    figure.add_vline(x=1, line={"color": GREY, "width": 1.5})
    x_range = padded_range(np.r_[c[np.isfinite(c)], 1.0])
    called = np.flatnonzero(table["kind"].to_numpy() != ADDITIVE).tolist()
    label_points(
        figure, c, share, short_names(table), called, ranges=(x_range, [-0.05, 1.08]), size=_MAP_SIZE
    )
    return _with_legend(
        figure,
        xaxis={"title": {"text": "c: projection on the sum of the singles"}, "zeroline": False},
        yaxis={"title": {"text": "share outside the span of the singles"}, "zeroline": False},
    )


def excess_scatter(result: PairEpistasis, unit: str) -> go.Figure:
    """Draw the length of the predicted excess against that of the measured one."""
    table = result.strongest()
    x = table["excess"].to_numpy()
    y = table["predicted_excess"].to_numpy()
    figure = go.Figure()
    _add_kinds(figure, x, y, table, "measured %{x:.3g}, predicted %{y:.3g}")
    ranges = padded_range(x, from_zero=True), padded_range(y, from_zero=True)
    high = min(ranges[0][1], ranges[1][1])
    line = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=0, y0=0, x1=high, y1=high, line=line, layer="below")
    strongest = list(range(min(10, table.height)))
    label_points(figure, x, y, short_names(table), strongest, ranges=ranges, size=_MAP_SIZE)
    return _with_legend(
        figure,
        xaxis={"title": {"text": f"measured excess, length over genes ({unit})"}},
        yaxis={"title": {"text": f"excess predicted by {result.model.title}"}},
    )

"""Figures of one perturbation across cell lines and across doses: how large its effect is in each.

Each takes plain arrays; a click on a point may lead to its condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pertcast.report.labels import padded_range
from pertcast.report.profile_figures import shortened
from pertcast.report.theme import ACCENT, INK, WHITE

_GREY: Final = "#9aa5b0"


def line_effects(
    effects: NDArray[np.floating],
    lines: Sequence[str],
    unit: str,
    *,
    chosen: str | None = None,
    cosines: NDArray[np.floating] | None = None,
    addresses: Sequence[str] | None = None,
) -> go.Figure:
    """Draw the effect in each cell line as a dot on a line from 0, the first on top.

    Parameters
    ----------
    effects
        (N,) effect sizes, not negative.
    lines
        (N,) names of the cell lines.
    unit
        Unit of a response.
    chosen
        The line that one looks at, in the accent; all others are grey.
    cosines
        (N,) likeness of each profile to that of the chosen line, for hover; None where there is none.
    addresses
        (N,) where a click on a dot leads.
    """
    colours = [ACCENT if name == chosen else _GREY for name in lines]
    place = np.arange(len(lines))
    hover = [
        f"{escape(name)}"
        + ("" if cosines is None else f"<br>cosine with {escape(str(chosen))} {cosines[i]:.2f}")
        for i, name in enumerate(lines)
    ]
    figure = go.Figure(
        go.Scatter(
            x=effects,
            y=place,
            mode="markers",
            marker={"size": 9, "color": colours},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": np.zeros(len(lines)),
                "arrayminus": effects,
                "color": "#d3dae1",
                "thickness": 1.5,
                "width": 0,
            },
            hovertext=hover,
            customdata=addresses,
            hovertemplate="%{hovertext}<br>effect %{x:.3g}<extra></extra>",
            cliponaxis=False,
        )
    )
    figure.update_layout(
        xaxis={"title": {"text": f"effect size ({unit})"}, "rangemode": "tozero"},
        yaxis={
            "tickvals": place,
            "ticktext": [_line_text(name, name == chosen) for name in lines],
            "autorange": "reversed",
            "showgrid": False,
            "zeroline": False,
            "tickfont": {"color": INK, "size": 12},
        },
    )
    return figure


def _line_text(name: str, is_chosen: bool) -> str:
    text = escape(shortened(name, 24), quote=False)
    return f"<b>{text}</b>" if is_chosen else text


def dose_effects(
    doses: NDArray[np.floating],
    effects: NDArray[np.floating],
    unit: str,
    *,
    chosen: float | None = None,
    addresses: Sequence[str] | None = None,
) -> go.Figure:
    """Draw the effect over the dose; the dotted line joins points and is no fit.

    Parameters
    ----------
    doses, effects
        (D,) uM, above 0 and rising, and effect sizes.
    unit
        Unit of a response.
    chosen
        The dose that one looks at: filled; all others are hollow.
    addresses
        (D,) where a click on a point leads.
    """
    marker: dict[str, Any] = {
        "size": 9,
        "color": [ACCENT if dose == chosen else WHITE for dose in doses],
        "line": {"color": ACCENT, "width": 2},
    }
    figure = go.Figure(
        go.Scatter(
            x=doses,
            y=effects,
            mode="lines+markers",
            line={"color": _GREY, "width": 1, "dash": "dot"},
            marker=marker,
            customdata=addresses,
            hovertemplate="%{x:.3g} uM<br>effect %{y:.3g}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis={"title": {"text": "dose (uM, log)"}, "type": "log", "dtick": 1},
        yaxis={
            "title": {"text": f"effect size ({unit})"},
            "range": padded_range(effects, from_zero=True),
        },
    )
    return figure

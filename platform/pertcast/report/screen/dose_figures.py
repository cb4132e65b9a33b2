"""Small dose curves side by side: predicted points, and a fitted line only where the doses determine one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from pertcast.report.profile_figures import shortened
from pertcast.report.theme import ACCENT, INK, MUTED

COLUMNS: Final = 3
_FIT_POINTS: Final = 60
_GREY: Final = "#9aa5b0"


@dataclass(frozen=True)
class DosePanel:
    """One curve.

    Attributes
    ----------
    name
        The perturbation and its context.
    said
        What can be said of its half-maximal dose, in words.
    doses, responses
        (D,) uM, rising, and the response along the curve's main direction.
    fit
        bottom, top, EC50 (uM) and slope of E(d) = bottom + (top - bottom) / (1 + (EC50 / d)^slope); None
        where the doses determine none.
    """

    name: str
    said: str
    doses: NDArray[np.floating]
    responses: NDArray[np.floating]
    fit: tuple[float, float, float, float] | None


def dose_panels(panels: Sequence[DosePanel], unit: str) -> go.Figure:
    """Draw curves in rows of three; points without a fit are joined by a dotted line, which is no fit.

    Parameters
    ----------
    panels
        At least one, in reading order.
    unit
        Unit of a response.
    """
    rows = -(-len(panels) // COLUMNS)
    figure = make_subplots(
        rows=rows,
        cols=COLUMNS,
        subplot_titles=[_title(panel) for panel in panels],
        horizontal_spacing=0.06,
        # Room for the axis of one row and the two lines of title of the next.
        vertical_spacing=0.46 / rows,
    )
    for number, panel in enumerate(panels):
        place = {"row": number // COLUMNS + 1, "col": number % COLUMNS + 1}
        for trace in _traces(panel):
            figure.add_trace(trace, **place)
        # Every panel says its axis: with an incomplete last row the panels above it stand at the bottom too.
        figure.update_xaxes(title={"text": "dose (uM, log)", "font": {"size": 12, "color": MUTED}}, **place)
    figure.update_annotations(font={"size": 12, "color": INK})
    figure.update_xaxes(type="log", dtick=1)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title={"text": unit, "font": {"size": 12, "color": MUTED}}, col=1)
    return figure.update_layout(margin={"t": 48, "b": 48})


def _title(panel: DosePanel) -> str:
    name = escape(shortened(panel.name, 44), quote=False)
    return f"{name}<br><span style='color:{MUTED}'>{escape(panel.said, quote=False)}</span>"


def _traces(panel: DosePanel) -> list[go.Scatter]:
    points = go.Scatter(
        x=panel.doses,
        y=panel.responses,
        mode="markers" if panel.fit else "lines+markers",
        line={"color": _GREY, "width": 1, "dash": "dot"},
        marker={"size": 8, "color": ACCENT},
        hovertemplate=f"{escape(panel.name)}<br>%{{x:.3g}} uM: %{{y:.3g}}<extra></extra>",
    )
    if panel.fit is None:
        return [points]
    bottom, top, ec50, slope = panel.fit
    grid = np.geomspace(panel.doses.min(), panel.doses.max(), _FIT_POINTS)
    fitted = go.Scatter(
        x=np.round(grid, 6),
        y=np.round(bottom + (top - bottom) / (1 + (ec50 / grid) ** slope), 5),
        mode="lines",
        line={"color": ACCENT, "width": 2},
        hoverinfo="skip",
    )
    return [fitted, points]

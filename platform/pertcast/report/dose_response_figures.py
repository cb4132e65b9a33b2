"""Figures of dose response: curves with their fits, and half-maximal doses generated against measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pertcast.analysis.association import FloatArray
from pertcast.analysis.dose_response import MEASURED, DoseResponse, LogLogisticFit
from pertcast.analysis.dose_response.result import FittedCurve, dense_title
from pertcast.analysis.dose_response.shared import ScalarCurve
from pertcast.report.theme import ACCENT, INK, MUTED, WHITE

GREY: Final = "#9aa5b0"
_COLUMNS: Final = 3
_FIT_POINTS: Final = 60
_TWO_SD: Final = 1.96
_FAINT: Final = "#9cc5d2"
"""Of intervals that cross each other."""


def curve_panels(result: DoseResponse, shown: Sequence[FittedCurve], unit: str) -> go.Figure:
    """Draw measured points with their error and fit, and the generated curve, one panel a curve.

    Parameters
    ----------
    result
        Gives the error of a measured response and the model's title.
    shown
        Curves, in reading order.
    unit
        Unit of a response along the curve's direction.
    """
    rows = max(1, -(-len(shown) // _COLUMNS))
    figure = make_subplots(
        rows=rows,
        cols=_COLUMNS,
        subplot_titles=[_title(each, result.model) for each in shown],
        horizontal_spacing=0.06,
        vertical_spacing=0.16 / rows + 0.06,
    )
    noise = result.slopes[MEASURED].noise
    error = math.nan if noise is None else _TWO_SD * math.sqrt(noise.variance)
    for place, each in enumerate(shown):
        row, column = place // _COLUMNS + 1, place % _COLUMNS + 1
        for trace in _panel(each, result.model, error, place == 0):
            figure.add_trace(trace, row=row, col=column)
    figure.update_annotations(font={"size": 12, "color": INK})
    figure.update_xaxes(type="log", dtick=1)
    figure.update_xaxes(title={"text": "dose (uM)", "font": {"size": 12, "color": MUTED}}, row=rows)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title={"text": unit, "font": {"size": 12, "color": MUTED}}, col=1)
    return figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.2 / rows, "yanchor": "top"},
        margin={"t": 48, "b": 80},
    )


def _title(each: FittedCurve, model: str) -> str:
    said = f"EC50 {each.fits[MEASURED].words()}; generated {each.fits[model].words()}"
    place = escape(f"{each.curve.name}, {each.curve.place}")
    return f"{place}<br><span style='color:{MUTED}'>{escape(said)}</span>"


def _panel(each: FittedCurve, model: str, error: float, has_legend: bool) -> list[go.Scatter]:
    measured, generated = each.responses[MEASURED], each.responses[model]
    drawn = each.responses.get(dense_title(model), generated)
    fit = each.fits[MEASURED]
    grid = np.geomspace(measured.doses[0], measured.doses[-1], _FIT_POINTS)
    bars = {"type": "constant", "value": error, "color": INK, "thickness": 1.5, "width": 0}
    return [
        _line(grid, fit.response(grid), "measured, fitted", GREY, "dot", has_legend),
        _line(drawn.doses, drawn.responses, "generated", ACCENT, "solid", has_legend),
        _marks(generated, "generated, tested doses", ACCENT, None, has_legend),
        _marks(measured, "measured, 95 %", INK, bars if math.isfinite(error) else None, has_legend),
    ]


def _marks(
    found: ScalarCurve, name: str, colour: str, bars: dict[str, Any] | None, has_legend: bool
) -> go.Scatter:
    return go.Scatter(
        x=found.doses,
        y=np.round(found.responses, 4),
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=has_legend,
        marker={"size": 8, "color": colour},
        error_y=bars,
        hovertemplate=f"{name}<br>%{{x:.3g}} uM: %{{y:.3g}}<extra></extra>",
    )


def _line(x: FloatArray, y: FloatArray, name: str, colour: str, dash: str, has_legend: bool) -> go.Scatter:
    return go.Scatter(
        x=np.round(x, 5),
        y=np.round(y, 4),
        mode="lines",
        name=name,
        legendgroup=name,
        showlegend=has_legend,
        line={"color": colour, "width": 2, "dash": dash},
        hovertemplate=f"{name}<br>%{{x:.3g}} uM: %{{y:.3g}}<extra></extra>",
    )


def ec50_scatter(result: DoseResponse) -> go.Figure:
    """Draw generated against measured half-maximal doses with intervals; hollow where one is not identified.

    What lies outside the tested doses stands at their edge; flat curves are not drawn.
    """
    drawn = [
        each
        for each in result.curves
        if "flat" not in (each.fits[MEASURED].state, each.fits[result.model].state)
    ]
    figure = go.Figure()
    for solid in (False, True):
        chosen = [each for each in drawn if _both_identified(each, result.model) == solid]
        if chosen:
            figure.add_trace(_ec50_points(chosen, result.model, solid))
    if drawn:
        low = min(each.fits[MEASURED].lowest_dose for each in drawn) / 2
        high = max(each.fits[MEASURED].highest_dose for each in drawn) * 2
        line = {"color": GREY, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line=line, layer="below")
        bounds = [math.log10(low), math.log10(high)]
        figure.update_layout(xaxis={"range": bounds}, yaxis={"range": bounds})
    return figure.update_layout(
        xaxis={"title": {"text": "measured EC50 (uM)"}, "type": "log", "dtick": 1},
        yaxis={"title": {"text": "generated EC50 (uM)"}, "type": "log", "dtick": 1},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"t": 34},
    )


def _both_identified(each: FittedCurve, model: str) -> bool:
    return each.fits[MEASURED].is_identified and each.fits[model].is_identified


def _ec50_points(chosen: Sequence[FittedCurve], model: str, solid: bool) -> go.Scatter:
    pairs = [(each.fits[MEASURED], each.fits[model]) for each in chosen]
    names = [f"{each.curve.name}, {each.curve.place}" for each in chosen]
    words = [f"measured {first.words()}<br>generated {second.words()}" for first, second in pairs]
    return go.Scatter(
        x=[_shown(first) for first, _ in pairs],
        y=[_shown(second) for _, second in pairs],
        mode="markers",
        name="both identified" if solid else "one or both not identified",
        error_x=_bars([first for first, _ in pairs]) if solid else None,
        error_y=_bars([second for _, second in pairs]) if solid else None,
        hovertext=[f"{escape(name)}<br>{said}" for name, said in zip(names, words, strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
        marker={"size": 8, "color": ACCENT if solid else WHITE, "line": {"color": ACCENT, "width": 1.5}},
    )


def _shown(fit: LogLogisticFit) -> float:
    return float(np.clip(fit.ec50, fit.lowest_dose, fit.highest_dose))


def _bars(fits: Sequence[LogLogisticFit]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [float(np.nan_to_num(fit.high - fit.ec50)) for fit in fits],
        "arrayminus": [float(np.nan_to_num(fit.ec50 - fit.low)) for fit in fits],
        "color": _FAINT,
        "thickness": 1,
        "width": 0,
    }

"""Figures over all conditions of a screen: ranks, effect against spread, doses.

Each takes plain tables and arrays and names its axes. Spread is the model's own; no axis shows a p-value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from pertcast.report.labels import label_points, padded_range
from pertcast.report.theme import ACCENT, CURVE_COLOURS, WHITE

MOST_POINTS: Final = 4_000
"""Points of a figure; the strongest conditions are all shown, of the rest every n-th."""

PLOT_SIZE: Final = (470.0, 215.0)
"""Usual width and height in pixels of the plotting area of half a page's width."""

_MOST_LETTERS: Final = 34
_TRIED: Final = 20
"""So many of the strongest conditions are tried until ten have a label."""


def thinned(n_points: int, strongest: int = MOST_POINTS // 2) -> NDArray[np.int64]:
    """Return which of `n_points` ranked points are drawn: the first ones all, the rest evenly thinned."""
    if n_points <= MOST_POINTS:
        return np.arange(n_points)
    rest = np.linspace(strongest, n_points - 1, MOST_POINTS - strongest).round().astype(np.int64)
    return np.concatenate((np.arange(strongest), np.unique(rest)))


def rank_plot(hits: pl.DataFrame, names: Sequence[str], unit: str) -> go.Figure:
    """Effect size by rank, both on the scale where the first hits can be told apart.

    Parameters
    ----------
    hits
        Ranked conditions: effect_size, flag.
    names
        Their readable names, in the same order.
    unit
        Unit of a response.
    """
    shown = thinned(hits.height)
    effect = hits["effect_size"].to_numpy()[shown]
    log_rank = np.log10(shown + 1.0)
    extrapolated = _is_extrapolated(hits)[shown]
    texts = [names[index] for index in shown]
    figure = go.Figure(_points(shown + 1, effect, texts, extrapolated, "rank %{x:,}<br>effect %{y:.3g}"))
    ranges = padded_range(log_rank), padded_range(effect, from_zero=True)
    label_points(
        figure, log_rank, effect, _short(texts), range(min(_TRIED, len(texts))), ranges=ranges, size=PLOT_SIZE
    )
    figure.update_layout(
        xaxis={"title": {"text": "rank (log)"}, "type": "log", "dtick": 1},
        yaxis={"title": {"text": f"effect ({unit})"}},
    )
    return figure


def spread_plot(hits: pl.DataFrame, names: Sequence[str], unit: str) -> go.Figure:
    """Effect size against the model's spread: how far a predicted mean stands out of single profiles.

    Parameters
    ----------
    hits
        Ranked conditions: effect_size, pred_sd (not null), flag.
    names
        Their readable names, in the same order.
    unit
        Unit of a response.
    """
    shown = thinned(hits.height)
    effect = hits["effect_size"].to_numpy()[shown]
    ratio = effect / hits["pred_sd"].to_numpy()[shown]
    texts = [names[index] for index in shown]
    figure = go.Figure(
        _points(
            effect, ratio, texts, _is_extrapolated(hits)[shown], "effect %{x:.3g}<br>effect / sd %{y:.3g}"
        )
    )
    ranges = padded_range(effect, from_zero=True), padded_range(ratio, from_zero=True)
    label_points(
        figure, effect, ratio, _short(texts), range(min(_TRIED, len(texts))), ranges=ranges, size=PLOT_SIZE
    )
    figure.update_layout(
        xaxis={"title": {"text": f"effect size, rms over genes ({unit})"}},
        yaxis={"title": {"text": "effect size / predicted sd"}},
    )
    return figure


def _short(texts: Sequence[str]) -> list[str]:
    """Return labels: perturbation and dose, without the context."""
    first = [text.split(", ")[0] for text in texts]
    return [text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…" for text in first]


def _is_extrapolated(hits: pl.DataFrame) -> NDArray[np.bool_]:
    return hits["flag"].str.starts_with("extrapolation").fill_null(True).to_numpy()


def _points(
    x: NDArray[Any], y: NDArray[Any], texts: list[str], hollow: NDArray[np.bool_], hover: str
) -> list[go.Scatter]:
    """Return two traces: full points for what training has seen, hollow ones for extrapolation."""
    return [
        go.Scatter(
            x=x[chosen],
            y=y[chosen],
            text=[text for text, is_chosen in zip(texts, chosen, strict=True) if is_chosen],
            mode="markers",
            marker={"size": 7, "color": colour, "line": {"color": ACCENT, "width": width}},
            hovertemplate="%{text}<br>" + hover + "<extra></extra>",
        )
        for chosen, colour, width in ((~hollow, ACCENT, 0), (hollow, WHITE, 1.4))
        if chosen.any()
    ]


def dose_plot(curves: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]], unit: str) -> go.Figure:
    """Predicted effect size by dose, one line a perturbation and context; points are what was predicted.

    Parameters
    ----------
    curves
        (name, doses in uM rising, effect sizes) of each line.
    unit
        Unit of a response.
    """
    figure = go.Figure()
    for number, (name, dose, effect) in enumerate(curves):
        figure.add_trace(
            go.Scatter(
                x=dose,
                y=effect,
                name=name,
                mode="lines+markers",
                line={"color": CURVE_COLOURS[number % len(CURVE_COLOURS)], "width": 2},
                marker={"size": 7},
                hovertemplate=f"{name}<br>%{{x:.3g}} uM<br>effect %{{y:.3g}}<extra></extra>",
            )
        )
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"t": 40 + 18 * len(curves)},
        xaxis={"title": {"text": "dose (uM, log)"}, "type": "log"},
        yaxis={"title": {"text": f"effect size, rms over genes ({unit})"}, "rangemode": "tozero"},
    )
    return figure

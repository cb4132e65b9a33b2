"""Figures of a screen: ranks, effect against spread, responses, heatmap, running sums, doses.

Each takes plain tables and arrays and names its axes. Spread is the model's own; no axis shows a p-value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from pertcast.report.figures import place_labels
from pertcast.report.theme import ACCENT, CARE, DIVERGING, DOWN, INK, LINE, MUTED, UP, WHITE

MOST_POINTS: Final = 4_000
"""Points of a figure; the strongest conditions are all shown, of the rest every n-th."""

_LABELS: Final = 10
_GREY: Final = "#c2cad2"
_CURVE_COLOURS: Final = (ACCENT, UP, DOWN, CARE, INK, MUTED)


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
    _label(figure, log_rank, effect, texts, shown + 1)
    figure.update_layout(
        xaxis={"title": {"text": "rank (log)"}, "type": "log", "dtick": 1},
        yaxis={"title": {"text": f"effect size, rms over genes ({unit})"}, "rangemode": "tozero"},
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
    _label(figure, effect, ratio, texts, effect)
    figure.update_layout(
        xaxis={"title": {"text": f"effect size, rms over genes ({unit})"}, "rangemode": "tozero"},
        yaxis={"title": {"text": "effect size / predicted sd of single profiles"}, "rangemode": "tozero"},
    )
    return figure


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


def _label(figure: go.Figure, x: NDArray[Any], y: NDArray[Any], texts: list[str], at: NDArray[Any]) -> None:
    """Label the first points where there is room; `x` is as drawn, `at` in the axis's own values."""
    short = [text if len(text) <= 34 else text[:33] + "…" for text in texts]
    places = place_labels(x, y, short, range(min(_LABELS, len(texts))), _LABELS)
    for index, place in places.items():
        figure.add_trace(
            go.Scatter(
                x=[at[index]],
                y=[y[index]],
                text=[short[index]],
                mode="text",
                textposition=place,
                textfont={"size": 12, "color": INK},
                hoverinfo="skip",
            )
        )


def response_plot(
    mean: NDArray[np.floating], sd: NDArray[np.floating], genes: Sequence[str], unit: str
) -> go.Figure:
    """One condition: every gene's predicted response against |mean| / predicted sd.

    Parameters
    ----------
    mean, sd
        (G,) response and its predicted standard deviation.
    genes
        Names of the G genes.
    unit
        Unit of a response.
    """
    ratio = np.abs(mean) / np.where(sd > 0, sd, np.nan)
    stands_out = ratio > 2
    colours = np.where(stands_out & (mean > 0), UP, np.where(stands_out, DOWN, _GREY))
    figure = go.Figure(
        go.Scatter(
            x=mean,
            y=ratio,
            text=list(genes),
            mode="markers",
            marker={"size": 6, "color": list(colours)},
            hovertemplate="%{text}<br>response %{x:.3g}<br>|mean| / sd %{y:.3g}<extra></extra>",
        )
    )
    order = np.argsort(-np.abs(mean), kind="stable")[:_LABELS]
    for index, place in place_labels(mean, ratio, genes, [int(i) for i in order], _LABELS).items():
        figure.add_trace(
            go.Scatter(
                x=[mean[index]],
                y=[ratio[index]],
                text=[genes[index]],
                mode="text",
                textposition=place,
                hoverinfo="skip",
            )
        )
    figure.update_layout(
        xaxis={"title": {"text": f"predicted response ({unit})"}},
        yaxis={"title": {"text": "|mean| / predicted sd"}, "rangemode": "tozero"},
    )
    return figure


def response_bars(mean: NDArray[np.floating], genes: Sequence[str], unit: str, most: int = 15) -> go.Figure:
    """One condition without a spread: its genes with the largest responses, as bars."""
    order = np.argsort(-np.abs(mean), kind="stable")[:most][::-1]
    values = mean[order]
    figure = go.Figure(
        go.Bar(
            x=values,
            y=[genes[index] for index in order],
            orientation="h",
            marker={"color": [UP if value > 0 else DOWN for value in values]},
            hovertemplate="%{y}<br>response %{x:.3g}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis={"title": {"text": f"predicted response ({unit})"}}, yaxis={"dtick": 1, "showgrid": False}
    )
    return figure


def hit_heatmap(
    profiles: NDArray[np.floating], names: Sequence[str], genes: Sequence[str], unit: str, most: int = 40
) -> go.Figure:
    """Top hits against the genes that move most in any of them, ordered by their mean response.

    Parameters
    ----------
    profiles
        (H, G) responses, best hit first.
    names
        Readable names of the H hits.
    genes
        Names of the G genes.
    unit
        Unit of a response.
    most
        Genes shown.
    """
    strongest = np.argsort(-np.abs(profiles).max(axis=0), kind="stable")[:most]
    chosen = strongest[np.argsort(-profiles[:, strongest].mean(axis=0), kind="stable")]
    values = profiles[:, chosen]
    limit = float(np.quantile(np.abs(values), 0.98)) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[genes[index] for index in chosen],
            y=_unique(names),
            colorscale=[list(stop) for stop in DIVERGING],
            zmin=-limit,
            zmax=limit,
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": unit, "side": "right"}, "thickness": 10, "outlinewidth": 0},
            hovertemplate="%{y}<br>%{x}<br>response %{z:.3g}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis={"tickangle": -60, "dtick": 1, "showgrid": False},
        yaxis={"autorange": "reversed", "dtick": 1, "showgrid": False},
    )
    return figure


def _unique(names: Sequence[str]) -> list[str]:
    """Give repeated names a number, so that an axis of categories keeps them apart."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result


def running_sum_plot(curves: Sequence[tuple[str, NDArray[np.float64], NDArray[np.int64]]]) -> go.Figure:
    """Draw running sums of some sets over the ranked genes of one profile, members as ticks below.

    Parameters
    ----------
    curves
        (name, running sum (G,), ranks of the members) of each set.
    """
    figure = go.Figure()
    low = min(float(curve.min()) for _, curve, _ in curves)
    high = max(float(curve.max()) for _, curve, _ in curves)
    step = 0.07 * max(high - low, 0.1)
    for number, (name, curve, ranks) in enumerate(curves):
        colour = _CURVE_COLOURS[number % len(_CURVE_COLOURS)]
        figure.add_trace(
            go.Scatter(
                x=np.arange(1, len(curve) + 1),
                y=curve,
                name=name,
                mode="lines",
                line={"color": colour, "width": 2, "shape": "hv"},
                hovertemplate=f"{name}<br>rank %{{x}}<br>running sum %{{y:.3f}}<extra></extra>",
            )
        )
        figure.add_trace(
            go.Scatter(
                x=ranks + 1,
                y=np.full(len(ranks), low - (number + 1) * step),
                mode="markers",
                marker={"symbol": "line-ns-open", "size": 9, "color": colour},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    figure.add_hline(y=0, line={"color": LINE, "width": 1})
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"t": 40 + 18 * len(curves)},
        xaxis={"title": {"text": "genes, from most increased to most decreased"}},
        yaxis={"title": {"text": "running sum"}},
    )
    return figure


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
                line={"color": _CURVE_COLOURS[number % len(_CURVE_COLOURS)], "width": 2},
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

"""Figures of single profiles: every gene's response, heatmap of the strongest, running sums of gene sets.

Each takes plain arrays and names its axes. Spread is the model's own; no axis shows a p-value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pertcast.report.labels import label_points, padded_range
from pertcast.report.theme import CURVE_COLOURS, DIVERGING, DOWN, LINE, UP

_LABELLED: Final = 25
"""So many of the largest responses are tried until ten have a label."""

_GREY: Final = "#c2cad2"


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
    order = [int(index) for index in np.argsort(-np.abs(mean), kind="stable")[:_LABELLED]]
    ranges = padded_range(mean), padded_range(ratio, from_zero=True)
    label_points(figure, mean, ratio, genes, order, ranges=ranges, size=(470, 330))
    figure.update_layout(
        xaxis={"title": {"text": f"predicted response ({unit})"}},
        yaxis={"title": {"text": "|mean| / predicted sd"}},
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
        colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
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

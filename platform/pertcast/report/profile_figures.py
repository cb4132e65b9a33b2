"""Figures of single profiles: every gene's response, enrichment bars, running sums of gene sets.

Each takes plain arrays and names its axes. Spread is the model's own; no axis shows a p-value.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pertcast.report.labels import MOST_LABELS, label_points, padded_range
from pertcast.report.theme import CURVE_COLOURS, DOWN, INK, LINE, MUTED, UP, WHITE

MOST_LETTERS: Final = 38
"""Of a name on an axis; hover tells the rest."""

USUAL_SIZE: Final = (470.0, 330.0)
"""Width and height in pixels of a plot that takes half of a report's width."""

_MOST_LETTERS_NARROW: Final = 24
_RIGHT_COLUMN: Final = 74
"""Pixels of the counts beside narrow bars."""

_LABELLED: Final = 25
"""So many of the largest responses are tried until ten have a label."""
_GREY: Final = "#c2cad2"


def response_plot(
    mean: NDArray[np.floating],
    sd: NDArray[np.floating],
    genes: Sequence[str],
    unit: str,
    size: tuple[float, float] = USUAL_SIZE,
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
    size
        Usual width and height of the plot in pixels, which labels are placed for.
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
    label_points(figure, mean, ratio, genes, order, ranges=ranges, size=size)
    figure.update_layout(
        xaxis={"title": {"text": f"predicted response ({unit})"}},
        yaxis={"title": {"text": "|mean| / predicted sd"}},
    )
    return figure


def response_waterfall(
    mean: NDArray[np.floating],
    genes: Sequence[str],
    unit: str,
    *,
    ranks: NDArray[np.integer] | None = None,
    size: tuple[float, float] = USUAL_SIZE,
) -> go.Figure:
    """One condition without a spread: every gene's predicted response by its rank.

    Parameters
    ----------
    mean
        (G,) response.
    genes
        Names of the G genes.
    unit
        Unit of a response.
    ranks
        (G,) rank of each gene, 1 for the most increased, where these are only some of all genes.
    size
        Usual width and height of the plot in pixels, which labels are placed for.
    """
    if ranks is None:
        ranks = np.argsort(np.argsort(-mean, kind="stable"), kind="stable") + 1
    strength = np.abs(mean)
    order = [int(index) for index in np.argsort(-strength, kind="stable")[:_LABELLED]]
    stands_out = strength >= strength[order[min(MOST_LABELS, len(order)) - 1]]
    colours = np.where(stands_out & (mean > 0), UP, np.where(stands_out & (mean < 0), DOWN, _GREY))
    figure = go.Figure(
        go.Scatter(
            x=ranks,
            y=mean,
            text=list(genes),
            mode="markers",
            marker={"size": 6, "color": list(colours)},
            hovertemplate="%{text}<br>rank %{x}<br>response %{y:.3g}<extra></extra>",
        )
    )
    ranges = padded_range(ranks), padded_range(mean)
    label_points(figure, ranks, mean, genes, order, ranges=ranges, size=size)
    figure.update_layout(
        xaxis={"title": {"text": "genes, from most increased to most decreased"}},
        yaxis={"title": {"text": f"predicted response ({unit})"}},
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


def shortened(name: str, most: int = MOST_LETTERS) -> str:
    """Cut a name for an axis."""
    return name if len(name) <= most else name[: most - 1] + "…"


def enrichment_bars(
    scores: NDArray[np.floating],
    terms: Sequence[str],
    used: Sequence[str],
    is_told_apart: NDArray[np.bool_],
    axis_title: str,
    is_narrow: bool = False,
) -> go.Figure:
    """One condition: scores of gene sets as bars, the first on top; hollow where not told apart from chance.

    Parameters
    ----------
    scores
        (S,) finite, of the sets shown.
    terms, used
        (S,) names of the sets, and how many of their genes are used ("46 of 200").
    is_told_apart
        (S,).
    axis_title
        What a score is.
    is_narrow
        For less than half a page: names are cut sooner, and the counts stand on the other side of the bars.
    """
    colours = [UP if score > 0 else DOWN for score in scores]
    place = np.arange(len(scores))
    counts = [f"<span style='color:{MUTED}'>{escape(count)}</span>" for count in used]
    most_letters = _MOST_LETTERS_NARROW if is_narrow else MOST_LETTERS
    labels = [escape(shortened(term, most_letters), quote=False) for term in terms]
    if not is_narrow:
        labels = [f"{label}  {count}" for label, count in zip(labels, counts, strict=True)]
    figure = go.Figure(
        go.Bar(
            x=scores,
            y=place,
            orientation="h",
            hovertext=[escape(term) for term in terms],
            marker={
                "color": [
                    colour if found else WHITE for colour, found in zip(colours, is_told_apart, strict=True)
                ],
                "line": {"color": colours, "width": 1.5},
            },
            text=[f"{score:+.2f}" for score in scores],
            textposition="outside",
            textfont={"size": 11, "color": INK},
            cliponaxis=False,
            hovertemplate="%{hovertext}<br>%{x:.2f}<extra></extra>",
        )
    )
    # Room beyond the longest bar of each side for the number behind it.
    bounds = padded_range(np.r_[scores, 0.0], share=0.34 if is_narrow else 0.16)
    figure.update_layout(
        bargap=0.35,
        xaxis={"title": {"text": axis_title}, "range": bounds},
        yaxis={"tickvals": place, "ticktext": labels, "autorange": "reversed", "showgrid": False}
        | {"tickfont": {"color": INK, "size": 11 if is_narrow else 12}, "zeroline": False},
    )
    if is_narrow:
        _add_right_column(figure, counts)
    return figure


def _add_right_column(figure: go.Figure, texts: Sequence[str]) -> None:
    """Write a text to the right of the plot for each place of its vertical axis."""
    for place, text in enumerate(texts):
        figure.add_annotation(
            xref="paper", x=1, xshift=6, xanchor="left", y=place, text=text, showarrow=False
        )
    figure.update_annotations(font={"size": 11})
    figure.update_layout(margin={"r": _RIGHT_COLUMN})


def running_sum_plot(
    curves: Sequence[tuple[str, NDArray[np.float64], NDArray[np.int64]]],
    positions: Sequence[NDArray[np.int64]] | None = None,
) -> go.Figure:
    """Draw running sums of some sets over the ranked genes of one profile, members as ticks below.

    Parameters
    ----------
    curves
        (name, running sum (G,), ranks of the members from 0) of each set.
    positions
        (P,) ranks from 0 that each running sum (P,) is given at, where it is thinned; else at all.
    """
    figure = go.Figure()
    low = min(float(curve.min()) for _, curve, _ in curves)
    high = max(float(curve.max()) for _, curve, _ in curves)
    step = 0.07 * max(high - low, 0.1)
    for number, (name, curve, ranks) in enumerate(curves):
        colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
        figure.add_trace(
            go.Scatter(
                x=np.arange(1, len(curve) + 1) if positions is None else positions[number] + 1,
                y=curve,
                name=escape(name, quote=False),
                mode="lines",
                line={"color": colour, "width": 2, "shape": "hv"},
                hovertemplate=f"{escape(name)}<br>rank %{{x}}<br>running sum %{{y:.3f}}<extra></extra>",
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

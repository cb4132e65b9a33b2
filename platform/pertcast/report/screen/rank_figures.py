"""Figures over all conditions of a screen: ranks, effect against p-value or spread, the map of profiles.

Each takes plain arrays of at most a few thousand points and names its axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pertcast.report.labels import label_points, padded_range
from pertcast.report.profile_figures import shortened
from pertcast.report.theme import ACCENT, CURVE_COLOURS, INK, MUTED, WHITE

PLOT_SIZE: Final = (470.0, 215.0)
"""Usual width and height in pixels of the plotting area of half a page's width."""
GREY: Final = "#9aa5b0"

_FloatArray = NDArray[np.floating]
_MOST_LETTERS: Final = 34
_TRIED: Final = 20
"""So many of the strongest conditions are tried until ten have a label."""
_SYMBOLS: Final = ("circle", "diamond", "square", "triangle-up", "cross", "circle")
_MAP_SIZE: Final = (900.0, 340.0)


def rank_plot(
    rank: NDArray[np.integer],
    score: _FloatArray,
    names: Sequence[str],
    is_extrapolated: NDArray[np.bool_],
    *,
    score_title: str,
    is_hit: NDArray[np.bool_] | None = None,
    addresses: Sequence[str] | None = None,
) -> go.Figure:
    """Score by rank, on the scale where the first conditions can be told apart.

    Parameters
    ----------
    rank, score
        (N,) ranks from 1, rising, and what conditions are ranked by.
    names
        (N,) readable names.
    is_extrapolated
        (N,) drawn hollow.
    score_title
        What the score is, with its unit.
    is_hit
        (N,) told apart from inactive perturbations, coloured; the rest grey. None where nothing tells.
    addresses
        (N,) where a click on a point leads, as its customdata.
    """
    hover = "rank %{x:,}<br>score %{y:.3g}"
    figure = go.Figure(_points(rank, score, names, is_extrapolated, is_hit, hover, addresses))
    log_rank = np.log10(rank)
    ranges = padded_range(log_rank), padded_range(score, from_zero=True)
    _label(figure, log_rank, score, names, range(len(names)), ranges, PLOT_SIZE)
    figure.update_layout(
        xaxis={"title": {"text": "rank (log)"}, "type": "log", "dtick": 1},
        yaxis={"title": {"text": score_title}},
    )
    return _with_legend(figure, is_hit)


def volcano_plot(
    effect: _FloatArray,
    p_value: _FloatArray,
    names: Sequence[str],
    is_extrapolated: NDArray[np.bool_],
    is_hit: NDArray[np.bool_],
    *,
    unit: str,
    n_calibration: Sequence[int] = (),
    addresses: Sequence[str] | None = None,
) -> go.Figure:
    """Effect size against -log10 of the conformal p-value.

    A conformal p-value that K calibration perturbations give is at least 1 / (K + 1), so that no point stands
    above log10(K + 1): dotted lines.

    Parameters
    ----------
    effect, p_value
        (N,) effect sizes, and p-values above 0; NaN leaves a condition out.
    names, is_extrapolated, is_hit
        (N,) as in `rank_plot`, strongest first.
    unit
        Unit of a response.
    n_calibration
        K of the strata; a line for each distinct one, at most three.
    addresses
        (N,) as in `rank_plot`.
    """
    known = np.isfinite(p_value)
    effect, height = effect[known], -np.log10(p_value[known])
    shown = [name for name, is_known in zip(names, known, strict=True) if is_known]
    hover = "effect %{x:.3g}<br>-log10 p %{y:.3g}"
    if addresses is not None:
        addresses = [address for address, is_known in zip(addresses, known, strict=True) if is_known]
    figure = go.Figure(
        _points(effect, height, shown, is_extrapolated[known], is_hit[known], hover, addresses)
    )
    floors = [float(np.log10(count + 1)) for count in sorted(set(n_calibration), reverse=True)[:3]]
    for floor in floors:
        figure.add_hline(y=floor, line={"color": GREY, "width": 1, "dash": "dot"}, layer="below")
    # Hits stand at the top, side by side: their labels need room above.
    ranges = padded_range(effect), padded_range(np.r_[height, floors], from_zero=True, share=0.3)
    _label(figure, effect, height, shown, range(len(shown)), ranges, PLOT_SIZE)
    figure.update_layout(
        xaxis={"title": {"text": f"effect size, rms over genes ({unit})"}},
        yaxis={"title": {"text": "-log10 conformal p"}},
    )
    return _with_legend(figure, is_hit[known])


def spread_plot(
    effect: _FloatArray,
    spread: _FloatArray,
    names: Sequence[str],
    is_extrapolated: NDArray[np.bool_],
    *,
    unit: str,
    addresses: Sequence[str] | None = None,
) -> go.Figure:
    """Effect size against effect over spread: how far a predicted mean stands out of single profiles.

    Parameters
    ----------
    effect, spread
        (N,) effect sizes and predicted sd of single profiles, root mean square over genes.
    names, is_extrapolated
        (N,) as in `rank_plot`, strongest first.
    unit
        Unit of a response.
    addresses
        (N,) as in `rank_plot`.
    """
    ratio = effect / np.where(spread > 0, spread, np.nan)
    hover = "effect %{x:.3g}<br>effect / sd %{y:.3g}"
    figure = go.Figure(_points(effect, ratio, names, is_extrapolated, None, hover, addresses))
    ranges = padded_range(effect, from_zero=True), padded_range(ratio, from_zero=True)
    _label(figure, effect, ratio, names, range(len(names)), ranges, PLOT_SIZE)
    figure.update_layout(
        xaxis={"title": {"text": f"effect size, rms over genes ({unit})"}},
        yaxis={"title": {"text": "effect size / predicted sd"}},
    )
    return figure


def profile_map(
    x: _FloatArray,
    y: _FloatArray,
    names: Sequence[str],
    groups: Sequence[str],
    *,
    share: tuple[float, float],
    addresses: Sequence[str] | None = None,
) -> go.Figure:
    """Draw profiles on a plane; colour and mark tell the five most frequent groups, the rest share one.

    Parameters
    ----------
    x, y
        (N,) coordinates.
    names, groups
        (N,) readable names and what the colour means.
    share
        Share of the variance on each axis.
    addresses
        (N,) as in `rank_plot`.
    """
    figure = go.Figure()
    group_of = np.array(groups, dtype=object)
    for number, (title, rows) in enumerate(_frequent_groups(group_of)):
        figure.add_trace(
            go.Scatter(
                x=np.round(x[rows], 4),
                y=np.round(y[rows], 4),
                name=escape(title, quote=False),
                mode="markers",
                hovertext=[f"{escape(names[row])}<br>{escape(str(group_of[row]))}" for row in rows],
                hovertemplate="%{hovertext}<extra></extra>",
                customdata=None if addresses is None else [addresses[row] for row in rows],
                marker={
                    "size": 6,
                    "color": CURVE_COLOURS[number],
                    "symbol": _SYMBOLS[number],
                    "opacity": 0.7,
                },
            )
        )
    middle = np.array([np.median(x), np.median(y)])
    spread = np.array([np.std(x) or 1.0, np.std(y) or 1.0])
    distance = np.linalg.norm((np.stack([x, y], axis=1) - middle) / spread, axis=1)
    outermost = np.argsort(-distance, kind="stable").tolist()
    _label(figure, x, y, names, outermost, (padded_range(x), padded_range(y)), _MAP_SIZE)
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": INK}},
        margin={"t": 48},
        xaxis={"title": {"text": f"axis 1 ({share[0]:.0%} of the variance)"}},
        yaxis={"title": {"text": f"axis 2 ({share[1]:.0%})"}},
    )
    return figure


def _frequent_groups(groups: NDArray[np.object_]) -> list[tuple[str, NDArray[np.int64]]]:
    """Return name and rows of each group, the most frequent first; the sixth holds all others."""
    names, counts = np.unique(groups.astype(str), return_counts=True)
    ordered = [str(names[place]) for place in np.argsort(-counts, kind="stable")]
    own = ordered if len(ordered) <= len(CURVE_COLOURS) else ordered[: len(CURVE_COLOURS) - 1]
    found = [(name, np.flatnonzero(groups == name)) for name in own]
    if len(own) < len(ordered):
        rest = np.flatnonzero(~np.isin(groups.astype(str), own))
        found.append((f"{len(ordered) - len(own):,} others", rest))
    return found


def _label(
    figure: go.Figure,
    x: _FloatArray,
    y: _FloatArray,
    names: Sequence[str],
    order: Sequence[int],
    ranges: tuple[list[float], list[float]],
    size: tuple[float, float],
) -> None:
    """Label the first points of `order`; of other points in one place, one stands for all of them."""
    first = list(order[:_TRIED])
    place = np.stack([_pixel(x, ranges[0], size[0]), _pixel(y, ranges[1], size[1])], axis=1)
    distinct = np.unique(place, axis=0, return_index=True)[1]
    kept = np.concatenate([np.array(first, dtype=np.int64), np.setdiff1d(distinct, first)])
    texts = _short([names[index] for index in kept.tolist()])
    label_points(figure, x[kept], y[kept], texts, range(len(first)), ranges=ranges, size=size)


def _pixel(values: _FloatArray, shown: Sequence[float], size: float) -> NDArray[np.int64]:
    """Return (N,) places on an axis, to two pixels; undefined ones share one."""
    place = (values - shown[0]) / (shown[1] - shown[0]) * size / 2
    return np.where(np.isfinite(place), place, -1.0).astype(np.int64)


def _short(names: Sequence[str]) -> list[str]:
    """Return labels: perturbation and dose, without the context."""
    return [shortened(name.split(", ")[0], _MOST_LETTERS) for name in names]


def _points(
    x: NDArray[Any],
    y: NDArray[Any],
    names: Sequence[str],
    is_extrapolated: NDArray[np.bool_],
    is_hit: NDArray[np.bool_] | None,
    hover: str,
    addresses: Sequence[str] | None,
) -> list[go.Scatter]:
    """Return a trace for each of (hit or not) x (seen in training or extrapolated) that has points."""
    coloured = np.ones(len(x), dtype=bool) if is_hit is None else is_hit
    traces = []
    for wanted, colour, title in ((False, GREY, "not told apart"), (True, ACCENT, "FDR at most 10 %")):
        for hollow in (False, True):
            rows = np.flatnonzero((coloured == wanted) & (is_extrapolated == hollow)).tolist()
            if not len(rows):
                continue
            line = {"color": colour, "width": 1.4 if hollow else 0}
            traces.append(
                go.Scatter(
                    x=x[rows],
                    y=y[rows],
                    name=f"{title}, extrapolated" if hollow else title,
                    text=[escape(names[row]) for row in rows],
                    customdata=None if addresses is None else [addresses[row] for row in rows],
                    mode="markers",
                    marker={"size": 7, "color": WHITE if hollow else colour, "line": line},
                    hovertemplate="%{text}<br>" + hover + "<extra></extra>",
                )
            )
    return traces


def _with_legend(figure: go.Figure, is_hit: NDArray[np.bool_] | None) -> go.Figure:
    if is_hit is None:
        return figure
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return figure.update_layout(
        showlegend=True, legend=legend | {"font": {"size": 11, "color": MUTED}}, margin={"t": 44}
    )

"""Figures that reports share: intervals by stratum, one score against another, labels that do not collide.

Each takes plain arrays and names its axes; hover tells what has no label. A hollow point is not
distinguishable from the reference line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pertcast.report.theme import ACCENT, INK, LINE, MUTED, WHITE

_LETTER_WIDTH: Final = 0.014
_LETTER_HEIGHT: Final = 0.05
_PLACES: Final = (
    ("middle right", 0.012, -0.5, 0.0),
    ("middle left", -0.012, -0.5, -1.0),
    ("top center", 0.0, 0.3, -0.5),
    ("bottom center", 0.0, -1.3, -0.5),
)


def _scaled(values: NDArray[Any]) -> NDArray[Any]:
    low, high = np.nanmin(values), np.nanmax(values)
    return (values - low) / (high - low) if high > low else np.zeros(len(values))


def place_labels(
    x: NDArray[Any], y: NDArray[Any], texts: Sequence[str], order: Sequence[int], most: int = 10
) -> dict[int, str]:
    """Choose which points get a label and on which side, so that labels overlap neither each other nor leave.

    Parameters
    ----------
    x, y
        (N,) positions of all points.
    texts
        (N,) labels.
    order
        Indices of the points, the most important first.
    most
        Largest number of labels.

    Returns
    -------
    dict
        Index -> Plotly text position; points without room are left out.
    """
    left, bottom = _scaled(x), _scaled(y)
    taken: list[tuple[float, float, float, float]] = []
    chosen: dict[int, str] = {}
    for i in order:
        if len(chosen) == most:
            break
        width = _LETTER_WIDTH * len(texts[i])
        for place, dx, dy, anchor in _PLACES:
            x0, y0 = left[i] + dx + anchor * width, bottom[i] + dy * _LETTER_HEIGHT
            box = (x0, y0, x0 + width, y0 + _LETTER_HEIGHT)
            inside = box[0] >= -0.02 and box[2] <= 1.02
            if inside and not any(
                box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken
            ):
                taken.append(box)
                chosen[i] = place
                break
    return chosen


def interval_forest(
    names: Sequence[str],
    means: NDArray[Any],
    lows: NDArray[Any],
    highs: NDArray[Any],
    *,
    axis_title: str,
    counts: Sequence[int] | None = None,
    reference: float = 0.0,
) -> go.Figure:
    """Draw one interval a row, the first on top; hollow where it holds the reference.

    Parameters
    ----------
    names
        Rows.
    means, lows, highs
        (N,) estimates and their bounds.
    axis_title
        What is on the horizontal axis.
    counts
        (N,) how many conditions a row holds, for its label.
    reference
        Where the vertical line stands.
    """
    held = [bool(low <= reference <= high) for low, high in zip(lows, highs, strict=True)]
    labels = [
        f"{name}  <span style='color:{MUTED}'>{counts[i]:,}</span>" if counts else name
        for i, name in enumerate(names)
    ]
    figure = go.Figure(
        go.Scatter(
            x=means,
            y=labels,
            mode="markers",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": np.asarray(highs) - means,
                "arrayminus": np.asarray(means) - lows,
                "color": ACCENT,
                "thickness": 2,
                "width": 0,
            },
            marker={
                "size": 11,
                "color": [WHITE if hollow else ACCENT for hollow in held],
                "line": {"color": ACCENT, "width": 2},
            },
            customdata=np.stack([lows, highs], axis=1),
            hovertemplate="%{y}: %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra></extra>",
            cliponaxis=False,
        )
    )
    figure.add_vline(x=reference, line={"color": "#9aa5b0", "width": 1.5})
    figure.update_layout(
        xaxis={"title": {"text": axis_title}, "zeroline": False},
        yaxis={"autorange": "reversed", "showgrid": False, "tickfont": {"color": INK, "size": 12}},
    )
    return figure


def score_scatter(
    x: NDArray[Any],
    y: NDArray[Any],
    labels: Sequence[str],
    *,
    x_title: str,
    y_title: str,
    colour: NDArray[Any] | None = None,
    colour_title: str = "",
) -> go.Figure:
    """Draw one point a condition, y against x, with the diagonal; the most distant from it are labelled.

    Parameters
    ----------
    x, y
        (N,) scores of two contenders on the same conditions; NaN in either leaves the point out.
    labels
        (N,) names of the conditions.
    x_title, y_title
        What the axes are.
    colour, colour_title
        (N,) a third value, and what it is.
    """
    kept = ~(np.isnan(x) | np.isnan(y))
    x, y, names = x[kept], y[kept], [label for label, keep in zip(labels, kept, strict=True) if keep]
    marker: dict[str, Any] = {"size": 7, "color": ACCENT, "opacity": 0.75, "line": {"width": 0}}
    if colour is not None:
        marker |= {
            "color": colour[kept],
            "colorscale": [[0, "#b9d6e0"], [1, "#08394a"]],
            "showscale": True,
            "colorbar": {
                "title": {"text": colour_title, "side": "right"},
                "thickness": 10,
                "outlinewidth": 0,
            },
        }
    distant = [int(i) for i in np.argsort(-np.abs(y - x), kind="stable")]
    places = place_labels(x, y, names, distant) if len(x) else {}
    figure = go.Figure(
        go.Scatter(
            x=x,
            y=y,
            mode="markers+text",
            text=[name if i in places else "" for i, name in enumerate(names)],
            textposition=[places.get(i, "middle right") for i in range(len(names))],
            textfont={"size": 11, "color": INK},
            hovertext=names,
            hovertemplate="%{hovertext}<br>x %{x:.3f}, y %{y:.3f}<extra></extra>",
            marker=marker,
        )
    )
    if len(x):
        ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
        figure.add_shape(
            type="line", x0=ends[0], y0=ends[0], x1=ends[1], y1=ends[1], line={"color": LINE, "width": 2}
        )
        figure.update_shapes(layer="below")
    figure.update_layout(xaxis={"title": {"text": x_title}}, yaxis={"title": {"text": y_title}})
    return figure

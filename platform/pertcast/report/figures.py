"""Figures of the trust report: intervals by stratum, one score against another.

Each takes plain arrays and names its axes; hover tells what has no label. A hollow point is not
distinguishable from the reference line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pertcast.report.labels import label_points, padded_range
from pertcast.report.theme import ACCENT, INK, MUTED, WHITE


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
    names: Sequence[str],
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
    names, labels
        (N,) names of the conditions for hover, and short ones for labels.
    x_title, y_title
        What the axes are.
    colour, colour_title
        (N,) a third value, and what it is.
    """
    kept = np.flatnonzero(~(np.isnan(x) | np.isnan(y))).tolist()
    x, y = x[kept], y[kept]
    marker: dict[str, Any] = {"size": 7, "color": ACCENT, "opacity": 0.75, "line": {"width": 0}}
    if colour is not None:
        marker |= {
            "color": colour[kept],
            "colorscale": [[0, "#b9d6e0"], [1, "#08394a"]],
            "showscale": True,
            "colorbar": {
                "title": {"text": colour_title, "side": "right", "font": {"size": 12, "color": MUTED}},
                "tickfont": {"size": 11, "color": MUTED},
                "thickness": 10,
                "outlinewidth": 0,
            },
        }
    figure = go.Figure(
        go.Scatter(
            x=x,
            y=y,
            mode="markers",
            hovertext=[names[index] for index in kept],
            hovertemplate="%{hovertext}<br>x %{x:.3f}, y %{y:.3f}<extra></extra>",
            marker=marker,
        )
    )
    ranges = padded_range(x), padded_range(y)
    low, high = max(span[0] for span in ranges), min(span[1] for span in ranges)
    if high > low:
        line = {"color": "#9aa5b0", "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line=line, layer="below")
    distant = [int(index) for index in np.argsort(-np.abs(y - x), kind="stable")]
    label_points(figure, x, y, [labels[index] for index in kept], distant, ranges=ranges, size=(400, 450))
    figure.update_layout(xaxis={"title": {"text": x_title}}, yaxis={"title": {"text": y_title}})
    return figure

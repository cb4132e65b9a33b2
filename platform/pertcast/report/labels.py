"""Labels of points that collide neither with one another nor with points, nor leave the plot.

Places are sought in pixels of a plot of the usual size: beside the point first, then farther off with a thin
leader line. What finds no room is left out; hover tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pertcast.report.theme import INK

MOST_LABELS: Final = 10

_LETTER_WIDTH: Final = 6.6
_LINE_HEIGHT: Final = 15.0
_POINT_RADIUS: Final = 4.0
_GAP: Final = 7.0
_LEADER_COLOUR: Final = "#9aa5b0"
_DIRECTIONS: Final = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_LEADER_ENDS: Final = tuple(
    sorted(
        ((right, up) for right in (8, -8, 24, -24, 48, -48) for up in range(-176, 177, 16) if up),
        key=lambda end: (end[0] ** 2 + end[1] ** 2, end),
    )
)
_MOST_CROSSED: Final = 2
_TRIES: Final = 3
"""Points that are tried for every label that is wanted."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Label:
    """A label that found room.

    Attributes
    ----------
    index
        The labelled point.
    dx, dy
        Pixels, up and right positive, from the point to the label's middle; with a leader to the end of it
        that the line reaches.
    has_leader
        Whether a line joins the two.
    box
        left, bottom, right, top in pixels of the plot.
    """

    index: int
    dx: float
    dy: float
    has_leader: bool
    box: Box


def place_labels(
    x: NDArray[Any],
    y: NDArray[Any],
    texts: Sequence[str],
    order: Sequence[int],
    size: tuple[float, float],
    most: int = MOST_LABELS,
) -> list[Label]:
    """Choose which points get a label, and where.

    Parameters
    ----------
    x, y
        (N,) positions of all points in pixels, from the lower left corner of the plot.
    texts
        (N,) labels.
    order
        Indices of the points, the most important first.
    size
        Width and height of the plot in pixels.
    most
        Largest number of labels.

    Returns
    -------
    list of Label
        Points without room, and texts that stand there already, are left out.
    """
    points = np.stack([x, y], axis=1)
    distinct: dict[str, int] = {}
    for index in order:
        distinct.setdefault(texts[index], index)
    tried = list(distinct.values())[: _TRIES * most]
    forwards = _place(points, texts, tried, size, most)
    if len(forwards) == min(most, len(tried)):
        return forwards
    backwards = _place(points, texts, tried[:most][::-1] + tried[most:], size, most)
    return max(forwards, backwards, key=len)


def _place(
    points: NDArray[Any], texts: Sequence[str], order: Sequence[int], size: tuple[float, float], most: int
) -> list[Label]:
    """Give each point in turn the first place that has room."""
    placed: list[Label] = []
    leaders = np.empty((0, 2))
    for index in order:
        if len(placed) == most:
            break
        others = np.delete(points, index, axis=0)
        for label in _candidates(index, points[index], _LETTER_WIDTH * len(texts[index]) + 4):
            leader = _leader(points[index], label)
            if _has_room(label, leader, others, leaders, placed, size):
                placed.append(label)
                leaders = np.concatenate([leaders, leader])
                break
    return placed


def _candidates(index: int, point: NDArray[Any], width: float) -> Iterator[Label]:
    """Yield places for one label, the nearest first."""

    def label(dx: float, dy: float, left: float, has_leader: bool) -> Label:
        x, y = float(point[0]) + left, float(point[1]) + dy - _LINE_HEIGHT / 2
        return Label(index, dx, dy, has_leader, (x, y, x + width, y + _LINE_HEIGHT))

    for right, up in _DIRECTIONS:
        dx = right * (_GAP + width / 2) if up == 0 else right * width / 2
        yield label(dx, up * (_GAP + _LINE_HEIGHT / 2), dx - width / 2, False)
    for dx, dy in _LEADER_ENDS:
        yield label(dx, dy, dx if dx > 0 else dx - width, True)


def _leader(point: NDArray[Any], label: Label) -> NDArray[Any]:
    """Return points along the line from a point to its label; none where there is no line."""
    if not label.has_leader:
        return np.empty((0, 2))
    steps = np.linspace(0.1, 1, 24)[:, None]
    along: NDArray[Any] = point + steps * np.array([[label.dx, label.dy]])
    return along


def _inside(points: NDArray[Any], box: Box, margin: float) -> NDArray[np.bool_]:
    left, bottom, right, top = box
    inside: NDArray[np.bool_] = (
        (points[:, 0] > left - margin)
        & (points[:, 0] < right + margin)
        & (points[:, 1] > bottom - margin)
        & (points[:, 1] < top + margin)
    )
    return inside


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _has_room(
    label: Label,
    leader: NDArray[Any],
    others: NDArray[Any],
    leaders: NDArray[Any],
    placed: Sequence[Label],
    size: tuple[float, float],
) -> bool:
    left, bottom, right, top = label.box
    if left < 0 or bottom < 0 or right > size[0] or top > size[1]:
        return False
    if any(_overlap(label.box, known.box) or _inside(leader, known.box, 1).any() for known in placed):
        return False
    if _inside(others, label.box, _POINT_RADIUS).any() or _inside(leaders, label.box, 2).any():
        return False
    if not len(leader):
        return True
    crossed = (np.abs(others[:, None] - leader[None]).max(axis=2) < _POINT_RADIUS).any(axis=1)
    if crossed.sum() > _MOST_CROSSED:
        return False
    return bool((np.abs(leader[:, None] - leaders[None]).max(axis=2) > 3).all())


def padded_range(values: NDArray[Any], *, from_zero: bool = False, share: float = 0.06) -> list[float]:
    """Return an axis range around finite values, with room beside the outermost points."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return [0.0, 1.0]
    low, high = float(finite.min()), float(finite.max())
    low = min(low, 0.0) if from_zero else low
    pad = share * (high - low) or 0.5
    return [low if from_zero and low == 0 else low - pad, high + pad]


def label_points(
    figure: go.Figure,
    x: NDArray[Any],
    y: NDArray[Any],
    texts: Sequence[str],
    order: Sequence[int],
    *,
    ranges: tuple[Sequence[float], Sequence[float]],
    size: tuple[float, float],
    most: int = MOST_LABELS,
) -> None:
    """Set the axes' ranges and label points of a figure where there is room.

    Parameters
    ----------
    figure
        Changed in place.
    x, y
        (N,) points as drawn: on a logarithmic axis their log10.
    texts, order, most
        See `place_labels`; the texts are shown as they are, without markup.
    ranges
        What the axes show, from `padded_range`: horizontal, vertical.
    size
        Usual width and height of the plot in pixels. On narrower screens the page hides what then collides.
    """
    x_range, y_range = ranges
    figure.update_layout(xaxis={"range": list(x_range)}, yaxis={"range": list(y_range)})
    left = (x - x_range[0]) / (x_range[1] - x_range[0]) * size[0]
    up = (y - y_range[0]) / (y_range[1] - y_range[0]) * size[1]
    seen = np.isfinite(left) & np.isfinite(up)
    kept = np.flatnonzero(seen).tolist()
    position = {index: place for place, index in enumerate(kept)}
    wanted = [position[index] for index in order if index in position]
    shown = [texts[index] for index in kept]
    for label in place_labels(left[kept], up[kept], shown, wanted, size, most):
        place: dict[str, Any] = {"xshift": label.dx, "yshift": label.dy}
        if label.has_leader:
            place = {"ax": label.dx, "ay": -label.dy, "xanchor": "left" if label.dx > 0 else "right"}
        figure.add_annotation(
            x=x[kept[label.index]],
            y=y[kept[label.index]],
            text=shown[label.index].replace("<", "&lt;"),
            showarrow=label.has_leader,
            arrowhead=0,
            arrowwidth=1,
            arrowcolor=_LEADER_COLOUR,
            standoff=4,
            borderpad=1,
            font={"size": 11, "color": INK},
            **place,
        )

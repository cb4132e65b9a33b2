"""Figures of a latent space: the map, drift along dose, and where middle doses lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from pertcast.analysis.association import FloatArray
from pertcast.analysis.latent_space import LatentSpace
from pertcast.analysis.latent_space.analyse import CONTROL
from pertcast.analysis.latent_space.profiles import MEASURED
from pertcast.analysis.latent_space.result import LatentMap
from pertcast.analysis.latent_space.walks import Walk
from pertcast.report.theme import ACCENT, CURVE_COLOURS, INK, MUTED

MOST_WALKS: Final = 12
"""Walks drawn one by one, the strongest first."""

_SMALLEST, _LARGEST = 4.0, 13.0
_MOST_TICKS: Final = 8


def colour_of_lines(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each cell line: the most frequent have their own, the rest share one."""
    counts = pl.Series(list(names)).value_counts(sort=True)
    ordered = sorted(counts.iter_rows(), key=lambda row: (-row[1], row[0]))
    own = len(CURVE_COLOURS) if len(ordered) <= len(CURVE_COLOURS) else len(CURVE_COLOURS) - 1
    return {row[0]: CURVE_COLOURS[min(place, own)] for place, row in enumerate(ordered)}


def _sizes(table: pl.DataFrame) -> FloatArray:
    """Return (N,) marker sizes that grow with log dose; the smallest where there is no dose."""
    dose = table["pert_dose"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    logs = np.log10(np.where(dose > 0, dose, np.nan))
    known = logs[np.isfinite(logs)]
    if not len(known) or known.max() == known.min():
        return np.full(len(logs), _SMALLEST + 2)
    share = (logs - known.min()) / (known.max() - known.min())
    found: FloatArray = _SMALLEST + (_LARGEST - _SMALLEST) * np.nan_to_num(share, nan=0.0)
    return found


def _hover(table: pl.DataFrame) -> list[str]:
    return [
        f"{row['pert_id']}, {row['cell_iname']}"
        + ("" if row["pert_dose"] is None else f", {row['pert_dose']:.4g} uM")
        + ("" if row["pert_time"] is None else f", {row['pert_time']:.4g} h")
        for row in table.select("pert_id", "cell_iname", "pert_dose", "pert_time").iter_rows(named=True)
    ]


def map_figure(result: LatentSpace, shown: LatentMap | None = None) -> go.Figure:
    """Draw measured and generated profiles on the same two axes: colour is the cell line, size the dose.

    Parameters
    ----------
    result
        A latent space.
    shown
        `result.map` where None, or `result.moved`.
    """
    shown = shown or result.map
    titles = [MEASURED, result.model]
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    lines = result.conditions["cell_iname"].fill_null("").to_list()
    colours = colour_of_lines(lines)
    sizes, hover = _sizes(result.conditions), np.array(_hover(result.conditions))
    for column, title in enumerate(titles, start=1):
        for name, colour in colours.items():
            rows = np.flatnonzero(np.array(lines) == name)
            trace = _points(shown.sides[title][rows], sizes[rows], hover[rows], colour, name)
            figure.add_trace(trace.update(showlegend=column == 1, legendgroup=name), row=1, col=column)
        figure.add_trace(_crosses(shown.sides[CONTROL], column == 1), row=1, col=column)
    share = shown.share
    figure.update_xaxes(title={"text": f"axis 1 ({share[0]:.0%} of the variance)"})
    figure.update_xaxes(matches="x", col=2)
    figure.update_yaxes(title={"text": f"axis 2 ({share[1]:.0%})"}, col=1)
    figure.update_annotations(font={"size": 12, "color": INK})
    return _legend(figure)


def _points(points: FloatArray, sizes: FloatArray, hover: Any, colour: str, name: str) -> go.Scatter:
    return go.Scatter(
        x=np.round(points[:, 0], 3),
        y=np.round(points[:, 1], 3),
        name=name or "no cell line",
        mode="markers",
        hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
        marker={"size": np.round(sizes, 1), "color": colour, "opacity": 0.65, "line": {"width": 0}},
    )


def _crosses(control: FloatArray, in_legend: bool) -> go.Scatter:
    distinct = np.unique(np.round(control, 3), axis=0)
    return go.Scatter(
        x=distinct[:, 0],
        y=distinct[:, 1],
        name="controls",
        legendgroup="controls",
        showlegend=in_legend,
        mode="markers",
        hovertemplate="control<extra></extra>",
        marker={"symbol": "x-thin", "size": 9, "line": {"color": INK, "width": 1.5}},
    )


def _legend(figure: go.Figure) -> go.Figure:
    return figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top", "font": {"color": INK}},
        margin={"t": 30, "b": 92},
    )


def strongest_walks(result: LatentSpace, most: int = MOST_WALKS) -> list[Walk]:
    """Return the walks of the largest measured distance from the control, the largest first."""
    far = result.distance[MEASURED]
    ranked = sorted(result.walks, key=lambda walk: (-float(np.square(far[walk.rows]).mean()), walk.name))
    return ranked[:most]


def _dose_axis(result: LatentSpace) -> dict[str, Any]:
    """Return a log axis with the tested doses as its ticks; with many of them, a tick a decade."""
    doses = result.conditions["pert_dose"].cast(pl.Float64).drop_nulls().unique().sort()
    tested = [dose for dose in doses.to_list() if dose > 0]
    is_few = 2 <= len(tested) <= _MOST_TICKS
    ticks = {"tickvals": tested, "ticktext": [f"{dose:.3g}" for dose in tested]} if is_few else {"dtick": 1}
    return {"title": {"text": "dose (uM, log scale)"}, "type": "log", **ticks}


def drift_figure(result: LatentSpace) -> go.Figure:
    """Draw the distance from the control against dose: thin lines single walks, thick ones their means."""
    figure = go.Figure()
    walks = strongest_walks(result)
    for title, colour in ((MEASURED, MUTED), (result.model, ACCENT)):
        far = result.distance[title]
        for place, walk in enumerate(walks):
            figure.add_trace(
                go.Scatter(
                    x=walk.values,
                    y=np.round(far[walk.rows], 4),
                    name=title,
                    legendgroup=title,
                    showlegend=place == 0,
                    mode="lines+markers",
                    line={"color": colour, "width": 1, "dash": "dot" if title == MEASURED else "solid"},
                    marker={"size": 5, "color": colour},
                    hovertext=walk.name,
                    hovertemplate=f"{title}<br>%{{hovertext}}<br>%{{x:.3g}} uM: %{{y:.3g}}<extra></extra>",
                )
            )
    figure.update_layout(
        xaxis=_dose_axis(result),
        yaxis={"title": {"text": "distance from the control, latent units"}, "rangemode": "tozero"},
    )
    return _legend(figure)


def between_figure(result: LatentSpace) -> go.Figure:
    """Draw where middle doses lie: place along the straight way against the distance from it."""
    figure = go.Figure()
    for found, colour in zip(result.between, (MUTED, ACCENT), strict=False):
        strong = found.is_strong
        figure.add_trace(
            go.Scatter(
                x=np.round(found.position, 4),
                y=np.round(found.off_axis, 4),
                name=found.title,
                mode="markers",
                marker={
                    "size": 7,
                    "color": [colour if each else "#ffffff" for each in strong],
                    "line": {"color": colour, "width": 1.5},
                    "opacity": 0.75,
                },
                hovertemplate=f"{found.title}<br>place %{{x:.2f}}, off the way %{{y:.2f}}<extra></extra>",
            )
        )
    for edge in (0.0, 1.0):
        figure.add_vline(x=edge, line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.update_layout(
        xaxis={"title": {"text": "place on the way from the lowest dose (0) to the highest (1)"}},
        yaxis={"title": {"text": "distance from the way / its length"}, "rangemode": "tozero"},
    )
    return _legend(figure)


def path_figure(result: LatentSpace) -> go.Figure:
    """Draw how far along its own way a model is at each of many doses, a line a curve."""
    figure = go.Figure()
    if result.paths is None:
        return figure
    for number, name in enumerate(result.paths.names[:MOST_WALKS]):
        points = result.paths.points[number].astype(np.float64)
        way = points[-1] - points[0]
        length = float(way @ way)
        if length > 0:
            figure.add_trace(
                go.Scatter(
                    x=np.round(result.paths.doses[number], 5),
                    y=np.round((points - points[0]) @ way / length, 4),
                    mode="lines",
                    line={"color": ACCENT, "width": 1},
                    hovertext=name,
                    hovertemplate="%{hovertext}<br>%{x:.3g} uM: %{y:.2f}<extra></extra>",
                )
            )
    return figure.update_layout(
        xaxis=_dose_axis(result),
        yaxis={"title": {"text": "place on the way, lowest dose 0, highest 1"}},
    )

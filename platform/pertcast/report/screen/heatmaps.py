"""Heatmaps of profiles and of other matrices: responses, correlation, scores, effects by cell line.

Each takes plain arrays; hover names row and column in full, and what is undefined stays blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from pertcast.report.profile_figures import shortened
from pertcast.report.theme import ACCENT, DIVERGING, MUTED, WHITE

SEQUENTIAL: Final = ((0.0, WHITE), (1.0, ACCENT))
"""Scale for values that are never negative."""

_MOST_UPRIGHT: Final = 10
"""Columns whose names have room side by side."""


def heatmap(
    values: NDArray[np.floating],
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    colour_title: str,
    limits: tuple[float, float],
    has_column_names: bool = True,
) -> go.Figure:
    """Draw a matrix: blue-white-red where the lower limit is negative, else white to one colour.

    Parameters
    ----------
    values
        (R, C); NaN stays blank.
    row_names, column_names
        Names of the rows, the first on top, and of the columns; repeated names stay apart.
    colour_title
        What a value is.
    limits
        Values of the ends of the colour scale.
    has_column_names
        Whether the columns are named on the axis; hover names them anyway.
    """
    scale = DIVERGING if limits[0] < 0 else SEQUENTIAL
    hover = [[f"{escape(row)}<br>{escape(column)}" for column in column_names] for row in row_names]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            text=hover,
            colorscale=[list(stop) for stop in scale],
            zmin=limits[0],
            zmax=limits[1],
            xgap=1,
            ygap=1,
            hoverongaps=False,
            colorbar={
                "title": {"text": colour_title, "side": "right", "font": {"size": 12, "color": MUTED}},
                "thickness": 10,
                "outlinewidth": 0,
            },
            hovertemplate=f"%{{text}}<br>{colour_title} %{{z:.3g}}<extra></extra>",
        )
    )
    columns = _named_axis(column_names) | {"showticklabels": has_column_names}
    columns["tickangle"] = -60 if len(column_names) > _MOST_UPRIGHT else 0
    figure.update_layout(xaxis=columns, yaxis=_named_axis(row_names) | {"autorange": "reversed"})
    return figure


def _named_axis(names: Sequence[str]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [escape(shortened(name), quote=False) for name in names],
        "ticks": "",
        "showgrid": False,
        "zeroline": False,
    }


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
    return heatmap(
        values, names, [genes[index] for index in chosen], colour_title=unit, limits=(-limit, limit)
    )


def correlation_heatmap(profiles: NDArray[np.floating], names: Sequence[str]) -> go.Figure:
    """Pearson correlation over genes of every two profiles, similar ones beside each other.

    Parameters
    ----------
    profiles
        (H, G) responses.
    names
        Readable names of the H profiles.
    """
    correlation = profile_correlation(profiles)
    order = clustered_order(correlation)
    ordered = [names[index] for index in order]
    return heatmap(
        correlation[np.ix_(order, order)],
        ordered,
        ordered,
        colour_title="correlation",
        limits=(-1.0, 1.0),
        has_column_names=False,
    )


def profile_correlation(profiles: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the (H, H) Pearson correlation over genes; NaN for a profile of one value only."""
    wide = profiles.astype(np.float64)
    centred = wide - wide.mean(axis=1, keepdims=True)
    length = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
    unit = np.divide(centred, length, out=np.full(centred.shape, np.nan), where=length > 0)
    correlation: NDArray[np.float64] = np.clip(unit @ unit.T, -1.0, 1.0)
    return correlation


def clustered_order(correlation: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an order in which similar profiles are neighbours.

    Average linkage of 1 - correlation, leaves ordered so that neighbours are as close as can be (Bar-Joseph
    et al. 2001). An undefined correlation counts as none.

    Parameters
    ----------
    correlation
        (H, H).
    """
    if len(correlation) < 3:
        return np.arange(len(correlation))
    distance = 1.0 - np.nan_to_num(correlation, nan=0.0)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)

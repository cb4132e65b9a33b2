"""Figures of pathway agreement: NES generated against measured, set by set, condition by condition."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pertcast.analysis.association import FloatArray
from pertcast.analysis.pathways import PathwayAgreement
from pertcast.naming import condition_name
from pertcast.report.labels import padded_range
from pertcast.report.theme import ACCENT, DIVERGING, INK, MUTED

GREY: Final = "#9aa5b0"
_NES: Final = "NES"


def condition_names(agreement: PathwayAgreement) -> list[str]:
    """Return the names of the scored conditions, for people."""
    return [condition_name(row) for row in agreement.conditions.iter_rows(named=True)]


def nes_scatter(agreement: PathwayAgreement) -> go.Figure:
    """Draw one point a condition and set: generated against measured NES, strong conditions in the accent."""
    measured, generated = agreement.measured.nes, agreement.generated[agreement.model.title].nes
    strong = np.repeat(agreement.conditions["is_strong"].to_numpy(), len(agreement.pathways))
    names = [f"{name}<br>{each}" for name in condition_names(agreement) for each in agreement.pathways]
    x, y = measured.ravel(), generated.ravel()
    known = np.isfinite(x) & np.isfinite(y)
    figure = go.Figure()
    for title, colour, chosen in (("other conditions", GREY, ~strong), ("strong conditions", ACCENT, strong)):
        rows = np.flatnonzero(chosen & known).tolist()
        if rows:
            figure.add_trace(_points(x[rows], y[rows], [names[row] for row in rows], title, colour))
    low, high = padded_range(np.concatenate([x[known], y[known]]))
    line = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line=line, layer="below")
    return figure.update_layout(
        xaxis={"title": {"text": f"measured {_NES}"}, "range": [low, high]},
        yaxis={"title": {"text": f"generated {_NES}"}, "range": [low, high]},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": INK}},
        margin={"t": 34},
    )


def _points(x: FloatArray, y: FloatArray, names: list[str], title: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=np.round(x, 3),
        y=np.round(y, 3),
        mode="markers",
        name=title,
        hovertext=names,
        hovertemplate="%{hovertext}<br>measured %{x:.2f}, generated %{y:.2f}<extra></extra>",
        marker={"size": 6, "color": colour, "opacity": 0.6, "line": {"width": 0}},
    )


def pathway_dots(agreement: PathwayAgreement, most: int) -> go.Figure:
    """Draw the mean measured and generated NES of each set, joined; most often significant on top."""
    frame = agreement.pathway_frame().head(most)
    names = frame["pathway"].to_list()
    figure = go.Figure()
    for row in frame.iter_rows(named=True):
        ends = [row["measured_nes"], row["generated_nes"]]
        figure.add_trace(
            go.Scatter(
                x=ends,
                y=[row["pathway"]] * 2,
                mode="lines",
                line={"color": GREY, "width": 2},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    for title, column, colour, symbol in (
        ("measured", "measured_nes", INK, "circle-open"),
        ("generated", "generated_nes", ACCENT, "circle"),
    ):
        figure.add_trace(
            go.Scatter(
                x=frame[column].round(3).to_list(),
                y=names,
                mode="markers",
                name=title,
                marker={"size": 10, "color": colour, "symbol": symbol, "line": {"color": colour, "width": 2}},
                hovertemplate=f"%{{y}}<br>mean {title} NES %{{x:.2f}}<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    return figure.update_layout(
        xaxis={"title": {"text": f"mean {_NES} over the scored conditions"}, "zeroline": False},
        yaxis={"autorange": "reversed", "dtick": 1, "showgrid": False, "tickfont": {"color": INK}},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"t": 34},
    )


def nes_heatmaps(agreement: PathwayAgreement, most_conditions: int, most_pathways: int) -> go.Figure:
    """Draw conditions x sets, measured and generated side by side on one scale."""
    frame = agreement.pathway_frame().head(most_pathways)
    place = {name: column for column, name in enumerate(agreement.pathways)}
    columns = [place[name] for name in frame["pathway"]]
    rows = slice(0, most_conditions)
    names = condition_names(agreement)[rows]
    panels = {"Measured": agreement.measured, "Generated": agreement.generated[agreement.model.title]}
    values = {title: scores.nes[rows][:, columns] for title, scores in panels.items()}
    known = np.concatenate([each[np.isfinite(each)] for each in values.values()])
    limit = float(np.quantile(np.abs(known), 0.98)) if len(known) else 1.0
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=list(values), horizontal_spacing=0.02, shared_yaxes=True
    )
    for column, (title, nes) in enumerate(values.items(), start=1):
        figure.add_trace(
            _heatmap(nes, frame["pathway"].to_list(), names, limit, title, column == 2), row=1, col=column
        )
    figure.update_xaxes(tickangle=-60, dtick=1, showgrid=False)
    figure.update_yaxes(
        autorange="reversed", tickvals=list(range(len(names))), ticktext=names, showgrid=False
    )
    figure.update_annotations(font={"size": 12, "color": INK})
    return figure.update_layout(margin={"t": 30})


def _heatmap(
    nes: FloatArray, pathways: list[str], names: list[str], limit: float, title: str, has_scale: bool
) -> go.Heatmap:
    scale: dict[str, Any] = {
        "title": {"text": _NES, "side": "right", "font": {"size": 12, "color": MUTED}},
        "thickness": 10,
        "outlinewidth": 0,
    }
    return go.Heatmap(
        z=np.round(nes, 3),
        x=pathways,
        y=list(range(len(names))),
        hovertext=[[name] * len(pathways) for name in names],
        colorscale=[list(stop) for stop in DIVERGING],
        zmin=-limit,
        zmax=limit,
        xgap=1,
        ygap=1,
        showscale=has_scale,
        colorbar=scale,
        hovertemplate=f"%{{hovertext}}<br>%{{x}}<br>{title.lower()} NES %{{z:.2f}}<extra></extra>",
    )

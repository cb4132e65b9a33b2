"""Figures of a trust report's parts: coverage, refusal, error against distance, gene structure, gene by gene.

Each takes a record of `pertcast.evaluation.parts` and names its axes. The model is drawn in the accent
colour, what it is compared with in grey; a hollow point is not distinguishable from its reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.parts import Calibration, ErrorCurve, GeneCorrelation, RiskCoverage, ShownCondition
from pertcast.report.theme import ACCENT, DIVERGING, INK, MUTED, WHITE

GREY: Final = "#9aa5b0"
_LABELLED_GENES: Final = 3
_LABEL_HEIGHT: Final = 0.1
"""Of the panel's range."""
_COLUMNS: Final = 3


def _error_bars(estimates: Sequence[Estimate], colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [e.high - e.mean for e in estimates],
        "arrayminus": [e.mean - e.low for e in estimates],
        "color": colour,
        "thickness": 2,
        "width": 0,
    }


def _intervals(
    x: Sequence[float], estimates: Sequence[Estimate], name: str, colour: str, hollow: Sequence[bool]
) -> go.Scatter:
    """Return points with intervals, joined by a thin line; undefined ones are left out."""
    kept = [i for i, e in enumerate(estimates) if not np.isnan(e.mean)]
    chosen = [estimates[i] for i in kept]
    return go.Scatter(
        x=[x[i] for i in kept],
        y=[e.mean for e in chosen],
        error_y=_error_bars(chosen, colour),
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": 1},
        marker={
            "size": 9,
            "color": [WHITE if hollow[i] else colour for i in kept],
            "line": {"color": colour, "width": 2},
        },
        customdata=[[e.low, e.high, e.n_defined] for e in chosen],
        hovertemplate=f"{name}<br>%{{x:.3g}}: %{{y:.3f}} [%{{customdata[0]:.3f}}, %{{customdata[1]:.3f}}], "
        "%{customdata[2]:,} conditions<extra></extra>",
    )


def _with_legend(figure: go.Figure, x_title: str, y_title: str) -> go.Figure:
    figure.update_layout(
        xaxis={"title": {"text": x_title}},
        yaxis={"title": {"text": y_title}},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": INK}},
        margin={"t": 34},
    )
    return figure


def coverage_figure(calibration: Calibration) -> go.Figure:
    """Draw the share of measured responses inside an interval against its nominal level; truth: the diagonal.

    A hollow point's interval holds the nominal level.
    """
    nominal = [entry.nominal for entry in calibration.coverage]
    diagonal = go.Scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot", "width": 1}, showlegend=False
    )
    figure = go.Figure(diagonal)
    for name, colour in (("gaussian", GREY), ("conformal", ACCENT)):
        found = [getattr(entry, name) for entry in calibration.coverage]
        if all(np.isnan(e.mean) for e in found):
            continue
        held = [e.low <= level <= e.high for e, level in zip(found, nominal, strict=True)]
        title = "the model's sd" if name == "gaussian" else "calibrated on the validation part"
        figure.add_trace(_intervals(nominal, found, title, colour, held))
    return _with_legend(figure, "nominal level of the interval", "share of measured responses inside")


def risk_figure(risk: RiskCoverage, unit: str) -> go.Figure:
    """Draw the error of the conditions kept against the share kept; dotted: the ideal order."""
    figure = go.Figure()
    named = "predicted sd" if risk.ordered_by == "sd" else "distance to training"
    for values, name, colour, dash in (
        (risk.error, f"refused by {named}", ACCENT, "solid"),
        (risk.oracle, "refused by true error", GREY, "dot"),
    ):
        figure.add_trace(
            go.Scatter(
                x=risk.kept,
                y=values,
                name=name,
                mode="lines",
                line={"color": colour, "dash": dash, "width": 2},
                hovertemplate=f"{name}<br>%{{x:.0%}} kept: %{{y:.3g}}<extra></extra>",
            )
        )
    _with_legend(figure, "share of conditions kept", f"error of those kept (rms, {unit})")
    return figure.update_layout(xaxis={"autorange": "reversed", "tickformat": ".0%"})


def error_curve_figure(curve: ErrorCurve, metric: str, model: str, baseline: str) -> go.Figure:
    """Draw the metric against distance to the nearest training perturbation, in bins, with intervals."""
    middle = ((curve.edges[:-1] + curve.edges[1:]) / 2).tolist()
    filled = [False] * len(middle)
    figure = go.Figure()
    if any(not np.isnan(e.mean) for e in curve.baseline):
        figure.add_trace(_intervals(middle, curve.baseline, baseline, GREY, filled))
    figure.add_trace(_intervals(middle, curve.model, model, ACCENT, filled))
    return _with_legend(figure, "distance to the nearest training perturbation", metric)


def correlation_heatmaps(correlation: GeneCorrelation, titles: dict[str, str]) -> go.Figure:
    """Draw the gene-gene correlation matrices side by side, one order of genes, one scale from -1 to 1."""
    names = list(correlation.matrices)
    figure = make_subplots(
        rows=1,
        cols=len(names),
        subplot_titles=[titles.get(n, n) for n in names],
        horizontal_spacing=0.03,
        shared_yaxes=True,
    )
    for column, name in enumerate(names, start=1):
        figure.add_trace(
            go.Heatmap(
                z=np.round(correlation.matrices[name], 3),
                x=list(correlation.genes),
                y=list(correlation.genes),
                colorscale=[list(stop) for stop in DIVERGING],
                zmin=-1,
                zmax=1,
                showscale=column == len(names),
                colorbar={"title": {"text": "r", "side": "right"}, "thickness": 10, "outlinewidth": 0},
                hovertemplate="%{y}<br>%{x}<br>r %{z:.2f}<extra></extra>",
            ),
            row=1,
            col=column,
        )
    figure.update_xaxes(showticklabels=False, showgrid=False, ticks="")
    figure.update_yaxes(autorange="reversed", showticklabels=False, showgrid=False, ticks="")
    figure.update_annotations(font={"size": 12, "color": INK})
    return figure.update_layout(margin={"t": 30, "l": 16, "b": 16})


def shown_conditions(
    shown: Sequence[ShownCondition], genes: Sequence[str], unit: str, baseline: str
) -> go.Figure:
    """Draw predicted against measured response, one point a gene, one panel a condition."""
    rows = -(-len(shown) // _COLUMNS)
    figure = make_subplots(
        rows=rows,
        cols=_COLUMNS,
        subplot_titles=[_title(condition) for condition in shown],
        horizontal_spacing=0.06,
        vertical_spacing=0.2 / max(rows, 1) + 0.06,
    )
    for place, condition in enumerate(shown):
        row, column = place // _COLUMNS + 1, place % _COLUMNS + 1
        _draw_genes(figure, condition, genes, row, column, baseline)
    figure.update_annotations(font={"size": 12, "color": INK})
    figure.update_xaxes(title={"text": f"measured ({unit})", "font": {"size": 12, "color": MUTED}}, row=rows)
    figure.update_yaxes(title={"text": f"predicted ({unit})", "font": {"size": 12, "color": MUTED}}, col=1)
    return figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.16 / rows, "yanchor": "top"},
        margin={"t": 48, "b": 72},
    )


def _title(condition: ShownCondition) -> str:
    scores = ", ".join(f"{who} {value:.2f}" for who, value in condition.scores.items())
    return f"{escape(condition.name)}<br><span style='color:{MUTED}'>{scores}</span>"


def _labelled_genes(x: FloatArray, y: FloatArray, height: float) -> set[int]:
    """Return the genes of largest measured response whose labels, written inwards, do not meet."""
    chosen: list[int] = []
    for gene in np.argsort(-np.abs(x), kind="stable")[: 3 * _LABELLED_GENES].tolist():
        same_side = [other for other in chosen if (x[other] > 0) == (x[gene] > 0)]
        if all(abs(y[other] - y[gene]) > _LABEL_HEIGHT * height for other in same_side):
            chosen.append(gene)
    return set(chosen[:_LABELLED_GENES])


def _draw_genes(
    figure: go.Figure,
    condition: ShownCondition,
    genes: Sequence[str],
    row: int,
    column: int,
    baseline: str,
) -> None:
    x = condition.truth
    low, high = float(min(x.min(), condition.model.min())), float(max(x.max(), condition.model.max()))
    figure.add_shape(
        type="line", x0=low, y0=low, x1=high, y1=high, line={"color": GREY, "width": 1, "dash": "dot"},
        row=row, col=column,
    )  # fmt: skip
    labelled = _labelled_genes(x, condition.model, high - low)
    for values, name, colour in ((condition.baseline, baseline, GREY), (condition.model, "model", ACCENT)):
        is_model = name == "model"
        figure.add_trace(
            go.Scatter(
                x=np.round(x, 4),
                y=np.round(values, 4),
                name=name,
                legendgroup=name,
                showlegend=row == column == 1,
                mode="markers+text" if is_model else "markers",
                text=[g if is_model and i in labelled else "" for i, g in enumerate(genes)],
                textposition=["middle right" if value < (low + high) / 2 else "middle left" for value in x],
                textfont={"size": 10, "color": INK},
                hovertext=list(genes),
                hovertemplate=f"%{{hovertext}}<br>measured %{{x:.3g}}, {name} %{{y:.3g}}<extra></extra>",
                marker={"size": 5, "color": colour, "opacity": 0.7},
            ),
            row=row,
            col=column,
        )

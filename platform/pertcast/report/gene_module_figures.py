"""The figure of gene modules: responses of conditions x modules, measured beside predicted on one scale."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pertcast.analysis.association import FloatArray
from pertcast.analysis.gene_modules import GeneModuleResult
from pertcast.naming import condition_name
from pertcast.report.theme import DIVERGING, INK, MUTED

MOST_MODULES: Final = 60
"""Modules drawn, those with the largest measured responses; the table holds all."""

_LONGEST_NAME: Final = 34
_LIMIT_QUANTILE: Final = 0.98


def shown_columns(result: GeneModuleResult) -> list[int]:
    """Return the places of the drawn modules in the heatmap, in its order."""
    size = np.square(result.heatmap.measured).mean(axis=0)
    return sorted(np.argsort(-size, kind="stable")[:MOST_MODULES].tolist())


def module_label(result: GeneModuleResult, module: int) -> str:
    """Return a module's number with its best gene set where that is significant, for axes."""
    number = result.modules.names[module].removeprefix("module ")
    found = () if result.names is None else result.names.significant(module)
    if not found:
        return number
    name = found[0].name
    return f"{number} {name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + '…'}"


def module_heatmaps(result: GeneModuleResult) -> go.Figure:
    """Draw conditions x modules, measured and predicted side by side, in the order of the measured ones."""
    heatmap, columns = result.heatmap, shown_columns(result)
    labels = [module_label(result, int(heatmap.columns[column])) for column in columns]
    names = [condition_name(row) for row in heatmap.conditions.iter_rows(named=True)]
    panels = {"Measured": heatmap.measured, f"Predicted by {result.model.title}": heatmap.generated}
    values = {title: side[:, columns] for title, side in panels.items()}
    every = np.abs(np.concatenate([side.ravel() for side in values.values()]))
    limit = float(np.quantile(every, _LIMIT_QUANTILE)) or 1.0
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=list(values), horizontal_spacing=0.02, shared_yaxes=True
    )
    for place, side in enumerate(values.values(), start=1):
        figure.add_trace(_panel(side, labels, names, limit, place == 2), row=1, col=place)
    figure.update_xaxes(tickangle=-60, tickvals=list(range(len(labels))), ticktext=labels, showgrid=False)
    figure.update_yaxes(
        autorange="reversed", tickvals=list(range(len(names))), ticktext=names, showgrid=False
    )
    figure.update_annotations(font={"size": 12, "color": INK})
    return figure.update_layout(margin={"t": 30})


def _panel(
    values: FloatArray, labels: list[str], names: list[str], limit: float, has_scale: bool
) -> go.Heatmap:
    scale: dict[str, Any] = {
        "title": {"text": "mean response", "side": "right", "font": {"size": 12, "color": MUTED}},
        "thickness": 10,
        "outlinewidth": 0,
    }
    return go.Heatmap(
        z=np.round(values, 3),
        x=list(range(len(labels))),
        y=list(range(len(names))),
        hovertext=[[f"{name}<br>module {label}" for label in labels] for name in names],
        colorscale=[list(stop) for stop in DIVERGING],
        zmin=-limit,
        zmax=limit,
        xgap=1,
        ygap=1,
        showscale=has_scale,
        colorbar=scale,
        hovertemplate="%{hovertext}<br>%{z:.2f}<extra></extra>",
    )

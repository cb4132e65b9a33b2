"""Held-out scores of a model beside its baselines, and where it gains: the tables and figure of its card."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from markupsafe import Markup
from pertcast.report.figures import interval_forest
from pertcast.report.tables import MISSING, fixed

from pertcast_serve.page.figures import figure
from pertcast_serve.page.html import table
from pertcast_serve.page.views.model_evaluation import Estimate, Evaluation

_LEADING: Final = ("pearson_delta_pert", "centroid_accuracy", "discrimination_l1")
_SHORT: Final = {
    "pearson_delta": "pearson delta",
    "pearson_delta_pert": "vs perturbed mean",
    "centroid_accuracy": "centroid acc.",
    "discrimination_l1": "discrimination",
}
_ROW_CLASSES: Final = {"model": "strong", "baseline": "", "control": "muted", "ceiling": "muted"}


def scores(evaluation: Evaluation) -> Markup:
    """Return the primary and leading metrics of the model and all that stands beside it."""
    rows = evaluation.table
    names = [evaluation.primary_metric]
    names += [name for name in _LEADING if name not in names and any(name in row.metrics for row in rows)]
    columns: dict[str, list[str]] = {"title": [row.title for row in rows]}
    for name in names:
        write = _plus_minus if name == evaluation.primary_metric else _mean
        columns[name] = [write(row.metrics.get(name)) for row in rows]
    titles = {
        name: _SHORT.get(name, evaluation.metrics[name].title if name in evaluation.metrics else name)
        for name in names
    }
    better = "; ".join(
        f"{titles[name]}: {evaluation.metrics[name].direction}"
        for name in names
        if name in evaluation.metrics
    )
    return table(
        pl.DataFrame(columns),
        headers={"title": "", **titles},
        row_classes=[_ROW_CLASSES[row.role] for row in rows],
        number_columns=names,
        caption="Mean over held-out conditions, ± half the 95 % interval. Baselines from strong to weak; "
        f"greyed: controls and ceilings. What is better: {better}.",
        download="held_out_metrics.csv",
    )


def _plus_minus(estimate: Estimate | None) -> str:
    """Write "0.412 ± .006", as trust reports do."""
    if estimate is None or estimate.mean is None:
        return MISSING
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:.3f}"
    half = f"{(estimate.high - estimate.low) / 2:.3f}"
    return f"{estimate.mean:.3f} ± {half.removeprefix('0')}"


def _mean(estimate: Estimate | None) -> str:
    return MISSING if estimate is None or estimate.mean is None else f"{estimate.mean:.3f}"


def gain_by_stratum(evaluation: Evaluation) -> dict[str, Any] | None:
    """Return the gain by kind of condition as a figure and a table; None where no gain is defined."""
    shown = [
        (stratum, stratum.gain.mean, stratum.gain.low, stratum.gain.high)
        for stratum in evaluation.strata
        if None not in (stratum.gain.mean, stratum.gain.low, stratum.gain.high)
    ]
    if not shown:
        return None
    metric = _SHORT.get(evaluation.primary_metric, evaluation.primary_metric)
    means, lows, highs = (np.array([row[place] for row in shown], dtype=float) for place in (1, 2, 3))
    drawn = interval_forest(
        [stratum.name for stratum, *_ in shown],
        means,
        lows,
        highs,
        axis_title=f"gain in {metric}",
        counts=[stratum.n_conditions for stratum, *_ in shown],
    )
    frame = pl.DataFrame(
        {
            "stratum": [stratum.name for stratum, *_ in shown],
            "conditions": [stratum.n_conditions for stratum, *_ in shown],
            "gain": means,
            "from": lows,
            "to": highs,
        }
    )
    said = "; ".join(f"{row[0].name} {row[1]:+.3f}" for row in shown)
    return {
        "figure": figure(drawn, f"Gain in {metric} by stratum: {said}", 90 + 34 * len(shown)),
        "table": table(frame, formats=dict.fromkeys(("gain", "from", "to"), fixed(3))),
    }

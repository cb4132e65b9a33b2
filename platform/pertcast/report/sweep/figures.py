"""Figures of the report of a sweep; a hollow point is not distinguishable from the best baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pertcast.report.labels import label_points, padded_range
from pertcast.report.sweep.content import SweepContent, SweepTrial, short_key
from pertcast.report.sweep.importance import Importance, is_number
from pertcast.report.tables import format_number
from pertcast.report.theme import ACCENT, CARE, INK, WHITE

MOST_PARAMETERS: Final = 8
"""At most this many parameters are drawn one by one."""

_GREY: Final = "#b4bec8"


def _is_hollow(trial: SweepTrial) -> bool:
    return not (trial.metric("advantage_low") > 0 or trial.metric("advantage_high") < 0)


def _told(trial: SweepTrial, content: SweepContent) -> str:
    """Return what hover says of a trial."""
    figures = [f"{name} {format_number(trial.metric(name))}" for name, _ in content.objectives]
    tried = [f"{short_key(key)} {_plain(value)}" for key, value in trial.values.items()]
    return "<br>".join([f"trial {trial.name}", *figures, *tried])


def _plain(value: Any) -> str:
    return format_number(value) if isinstance(value, float) else str(value)


def _marker(trials: Sequence[SweepTrial], best: str, is_compared: bool) -> dict[str, Any]:
    colours = [INK if trial.name == best else ACCENT for trial in trials]
    hollow = [is_compared and _is_hollow(trial) for trial in trials]
    return {
        "size": [11 if trial.name == best else 9 for trial in trials],
        "color": [WHITE if is_open else colour for is_open, colour in zip(hollow, colours, strict=True)],
        "line": {"color": colours, "width": 2},
    }


def by_trial(content: SweepContent) -> go.Figure:
    """Draw the first objective by trial in the order they were drawn, its interval, and the best so far."""
    metric, mode = content.objectives[0]
    trials = sorted(content.done, key=lambda trial: trial.name)
    x, y = [int(trial.name) for trial in trials], np.array([trial.metric(metric) for trial in trials])
    best = np.maximum.accumulate(y) if mode == "max" else np.minimum.accumulate(y)
    last = max(int(trial.name) for trial in content.trials)
    figure = go.Figure()
    figure.add_scatter(
        x=[*x, last],
        y=[*best, best[-1]],
        mode="lines",
        line={"color": _GREY, "width": 1.5, "shape": "hv"},
        hoverinfo="skip",
    )
    points = go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker=_marker(trials, content.best.name, metric == "advantage"),
        hovertext=[_told(trial, content) for trial in trials],
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
    )
    if metric == "advantage":
        points.error_y = _interval(trials)
        figure.add_hline(y=0, line={"color": CARE, "width": 1.5}, layer="below")
        figure.add_annotation(
            x=1, xref="paper", y=0, xanchor="right", yanchor="bottom", showarrow=False,
            text=content.best_baseline, font={"color": "#7d4e0c", "size": 12},
        )  # fmt: skip
    figure.add_trace(points)
    figure.update_layout(
        xaxis={
            "title": {"text": "trial, in the order drawn"},
            "dtick": max(1, math.ceil(last / 16)),
            "range": [-0.5, last + 0.5],
            "zeroline": False,
        },
        yaxis={"title": {"text": content.axis(metric)}, "zeroline": False},
    )
    return figure


def _interval(trials: Sequence[SweepTrial]) -> dict[str, Any]:
    advantage, low, high = (
        np.array([trial.metric(name) for trial in trials])
        for name in ("advantage", "advantage_low", "advantage_high")
    )
    return {
        "type": "data", "symmetric": False, "array": high - advantage, "arrayminus": advantage - low,
        "color": ACCENT, "thickness": 1.2, "width": 0,
    }  # fmt: skip


def trade_off(content: SweepContent) -> go.Figure:
    """Draw the first objective against the second, with the front; the trials on it are labelled."""
    (first, _), (second, _) = content.objectives[:2]
    trials = content.done
    x, y = (np.array([trial.metric(name) for trial in trials]) for name in (second, first))
    is_log = second in ("cost", "parameters", "seconds") and bool((x > 0).all())
    place = np.log10(x) if is_log else x
    figure = go.Figure()
    line = sorted((i for i in range(len(trials)) if trials[i].is_on_front), key=lambda i: x[i])
    figure.add_scatter(
        x=place[line],
        y=y[line],
        mode="lines",
        line={"color": _GREY, "width": 1.5, "shape": "hv"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=place,
        y=y,
        mode="markers",
        marker=_marker(trials, content.best.name, first == "advantage"),
        hovertext=[_told(trial, content) for trial in trials],
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
    )
    ranges = padded_range(place), padded_range(y)
    label_points(figure, place, y, [trial.name for trial in trials], line, ranges=ranges, size=(480, 290))
    figure.update_layout(
        xaxis={"title": {"text": content.axis(second)}, **(_logarithms(place) if is_log else {})},
        yaxis={"title": {"text": content.axis(first)}, "zeroline": first == "advantage"},
    )
    return figure


def _logarithms(place: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return ticks at round numbers for an axis that shows logarithms."""
    found = _round_ticks(float(place.min()), float(place.max()))
    return {**found, "tickvals": [math.log10(value) for value in found["tickvals"]]}


def _round_ticks(low: float, high: float) -> dict[str, Any]:
    """Return ticks around powers of ten from 10**low to 10**high, more of them in a narrow range."""
    steps = (1, 2, 5) if high - low < 1.5 else (1,)
    powers = range(math.floor(low) - 1, math.ceil(high) + 2)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return {
        "tickvals": ticks,
        "ticktext": [f"{tick:.0e}".replace("e+0", "e").replace("e-0", "e-") for tick in ticks],
    }


def by_parameter(content: SweepContent, keys: Sequence[str]) -> go.Figure:
    """Draw the first objective against each parameter, side by side on one vertical axis."""
    metric, _ = content.objectives[0]
    columns = min(4, len(keys))
    figure = make_subplots(
        rows=math.ceil(len(keys) / columns), cols=columns, shared_yaxes=True,
        horizontal_spacing=0.03, vertical_spacing=0.24,
    )  # fmt: skip
    for place, key in enumerate(keys):
        row, column = place // columns + 1, place % columns + 1
        trials = [trial for trial in content.done if key in trial.values]
        values = [trial.values[key] for trial in trials]
        figure.add_scatter(
            row=row,
            col=column,
            x=values if all(map(is_number, values)) else [str(value) for value in values],
            y=[trial.metric(metric) for trial in trials],
            mode="markers",
            marker=_marker(trials, content.best.name, metric == "advantage"),
            hovertext=[_told(trial, content) for trial in trials],
            hovertemplate="%{hovertext}<extra></extra>",
        )
        figure.update_xaxes(title={"text": short_key(key)}, row=row, col=column, **_scale(values))
    figure.update_yaxes(title={"text": content.axis(metric).split(" (")[0]}, col=1)
    return figure


def _scale(values: Sequence[Any]) -> dict[str, Any]:
    """Return a logarithmic axis for numbers over more than a decade, and places in order for a few values."""
    if not all(map(is_number, values)):
        return {"type": "category"}
    distinct = sorted(set(values))
    if min(distinct) > 0 and max(distinct) / min(distinct) > 8:
        return {"type": "log", **_round_ticks(math.log10(distinct[0]), math.log10(distinct[-1]))}
    return {"nticks": 5}


def importance_bars(found: Importance) -> go.Figure:
    """Draw the association of the objective with each parameter, beside what chance reaches."""
    names = [short_key(key) for key in found.strength]
    strengths = list(found.strength.values())
    figure = go.Figure(
        go.Bar(
            x=strengths,
            y=names,
            orientation="h",
            width=0.45,
            marker={"color": [ACCENT if each > found.chance else _GREY for each in strengths]},
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    figure.add_vline(x=found.chance, line={"color": CARE, "width": 1.5, "dash": "dot"})
    figure.update_layout(
        xaxis={"title": {"text": f"size of the rank correlation, {found.n_trials} trials"}, "range": [0, 1]},
        yaxis={"autorange": "reversed", "showgrid": False, "tickfont": {"color": INK, "size": 12}},
    )
    return figure


def learning_curves(content: SweepContent) -> go.Figure:
    """Draw the held-out loss of every trial by epoch; the best in colour, stopped ones to where they got."""
    figure = go.Figure()
    for trial in sorted(content.trials, key=lambda trial: trial.name == content.best.name):
        if not trial.curve:
            continue
        is_best = trial.name == content.best.name
        figure.add_scatter(
            x=[epoch for epoch, _ in trial.curve],
            y=[loss for _, loss in trial.curve],
            mode="lines" if len(trial.curve) > 1 else "markers",
            line={
                "color": ACCENT if is_best else _GREY if trial.is_done else CARE,
                "width": 2.5 if is_best else 1.2,
                "dash": "solid" if trial.is_done else "dot",
            },
            hovertemplate=f"trial {trial.name}, epoch %{{x}}: %{{y:.4g}}<extra></extra>",
        )
    losses = [loss for trial in content.trials for _, loss in trial.curve]
    is_wide = bool(losses) and min(losses) > 0 and max(losses) / min(losses) > 10
    figure.update_layout(
        xaxis={"title": {"text": "epoch of the last stage"}},
        yaxis={"title": {"text": "held-out loss"}, **({"type": "log"} if is_wide else {})},
    )
    return figure

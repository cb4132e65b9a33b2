"""The trust report: verdict first, the table beside where the gain lies, then what it does not show."""

from __future__ import annotations

import math
from html import escape
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl

from pertcast.evaluation.bootstrap import LEVEL, Estimate
from pertcast.evaluation.metrics import METRICS, get_metric, metrics_of_level
from pertcast.evaluation.text import MISSING
from pertcast.evaluation.trust import TrustTable
from pertcast.evaluation.trust_lines import provenance
from pertcast.naming import condition_name
from pertcast.report.figures import interval_forest, score_scatter
from pertcast.report.page import Section, badge_html, figure_html, list_html, paragraph_html, render_page
from pertcast.report.tables import csv_link, fixed, table_html
from pertcast.report.theme import Tone

_TONES: Final = MappingProxyType({"better": "good", "not distinguishable": "care", "worse": "bad"})
_LEADING: Final = ("pearson_delta_pert", "centroid_accuracy", "discrimination_l1")
_EXTREMES: Final = 5
_HEADERS: Final = MappingProxyType(
    {
        "pearson_delta": "pearson delta",
        "pearson_delta_pert": "vs perturbed mean",
        "centroid_accuracy": "centroid acc.",
        "discrimination_l1": "discrimination",
    }
)
_ROW_CLASSES: Final = MappingProxyType(
    {"model": "strong", "baseline": "", "control": "muted", "ceiling": "muted"}
)


def _tone(trust: TrustTable) -> Tone:
    return _TONES[trust.verdict.outcome]  # type: ignore[return-value]


def _verdict(trust: TrustTable) -> Section:
    words = {"better": "better than every baseline", "worse": "worse than a baseline"}
    badge = badge_html(words.get(trust.verdict.outcome, trust.verdict.outcome), _tone(trust))
    sentence = f"{trust.facts.title} is {trust.verdict.text}."
    return Section("", f'<p class="lead">{badge} {escape(sentence)}</p>', tone=_tone(trust))


def _row_classes(trust: TrustTable) -> list[str]:
    return [_ROW_CLASSES[contender.role] for contender in trust.order]


def plus_minus(estimate: Estimate) -> str:
    """Write "0.412 ± .006": the mean and half the width of its interval; a dash where undefined."""
    if math.isnan(estimate.mean):
        return MISSING
    half = f"{(estimate.high - estimate.low) / 2:.3f}"
    return f"{estimate.mean:.3f} ± {half.removeprefix('0')}"


def _main_table(trust: TrustTable) -> Section:
    scored = {metric.name for metric in trust.board.metrics}
    columns: dict[str, list[str] | list[float]] = {"": [trust.shown_title(c) for c in trust.order]}
    columns[trust.primary] = [plus_minus(trust.summary[c.name][trust.primary]) for c in trust.order]
    for name in _LEADING:
        if name in scored and name != trust.primary:
            columns[name] = [trust.summary[c.name][name].mean for c in trust.order]
    html = table_html(
        pl.DataFrame(columns),
        headers={name: _HEADERS.get(name, get_metric(name).title) for name in columns if name},
        formats={name: fixed(3) for name in _LEADING},
        row_classes=_row_classes(trust),
        number_columns=[trust.primary],
        caption=f"Mean over held-out conditions ± half the {LEVEL:.0%} interval ({trust.n_draws:,} "
        "resamplings of the held-out perturbations). Baselines from strong to weak; greyed: controls and "
        "ceiling.",
    )
    link = csv_link(_long_table(trust), "trust_table.csv")
    return Section("Beside what could have produced it", html + link, width="wide")


def _long_table(trust: TrustTable) -> pl.DataFrame:
    """Return every metric of every contender with its interval, one a row."""
    return pl.DataFrame(
        [
            {
                "contender": c.title,
                "role": c.role,
                "metric": name,
                "mean": e.mean,
                "low": e.low,
                "high": e.high,
            }
            for c in trust.order
            for name, e in trust.summary[c.name].items()
        ]
    )


def _strata(trust: TrustTable) -> Section:
    if trust.strongest is None:
        return Section("Where it gains", paragraph_html("No baseline could be scored."), width="narrow")
    estimates = [stratum.gain for stratum in trust.strata]
    figure = interval_forest(
        [stratum.name for stratum in trust.strata],
        np.array([e.mean for e in estimates]),
        np.array([e.low for e in estimates]),
        np.array([e.high for e in estimates]),
        axis_title=f"gain in {trust.primary}",
        counts=[stratum.n_conditions for stratum in trust.strata],
    )
    label = f"Gain in {trust.primary} over {trust.strongest.title} by stratum"
    html = figure_html(figure, height=90 + 42 * len(trust.strata), label=label)
    subtitle = (
        f"over {trust.strongest.title}; {LEVEL:.0%} interval; hollow: not distinguishable from 0; grey: "
        "number of conditions"
    )
    return Section("Gain by stratum", html, subtitle=subtitle, width="narrow")


def _scatter(trust: TrustTable) -> Section | None:
    if trust.strongest is None:
        return None
    board = trust.board
    names = _condition_names(board.conditions)
    short = [name.split(",")[0] for name in names]
    x, y = (board.scores[c.name][trust.primary] for c in (trust.strongest, board.model))
    colour = None
    if "nn_train_dist" in board.conditions.columns and board.conditions["nn_train_dist"].n_unique() > 1:
        colour = board.conditions["nn_train_dist"].cast(pl.Float64).to_numpy()
    figure = score_scatter(
        x,
        y,
        names,
        short,
        x_title=f"{trust.primary}, {trust.strongest.title}",
        y_title=f"{trust.primary}, {trust.facts.title}",
        colour=colour,
        colour_title="distance to training",
    )
    dropped = int((np.isnan(x) | np.isnan(y)).sum())
    subtitle = (
        f"{len(x) - dropped:,} shown, {dropped:,} undefined left out; above the line the model is better"
    )
    return Section(
        "Every condition", figure_html(figure, 540, "Model against baseline"), subtitle, width="half"
    )


def _condition_names(conditions: pl.DataFrame) -> list[str]:
    """Return readable names where the table tells enough, else the ids."""
    if {"pert_id", "pert_type", "cell_iname"} <= set(conditions.columns):
        return [condition_name(row) for row in conditions.iter_rows(named=True)]
    return [str(name) for name in conditions["condition_id"]]


def _extremes(trust: TrustTable) -> Section | None:
    if trust.strongest is None:
        return None
    board = trust.board
    facts = [c for c in ("n_rows", "effect_size", "nn_train_dist") if c in board.conditions.columns]
    scores = {"model": board.model.name, "baseline": trust.strongest.name}
    frame = board.conditions.select(
        pl.Series("condition", _condition_names(board.conditions)),
        *facts,
        *(pl.Series(who, board.scores[name][trust.primary]) for who, name in scores.items()),
        pl.Series("gain", board.gain(trust.primary, trust.strongest.name)),
    )
    frame = frame.filter(pl.col("gain").is_not_nan()).sort("gain", "condition", descending=[True, False])
    shown = frame
    if frame.height > 2 * _EXTREMES:
        shown = pl.concat([frame.head(_EXTREMES), frame.tail(_EXTREMES)])
    headers = {"n_rows": "profiles", "effect_size": "effect (rms)", "nn_train_dist": "distance"}
    caption = (
        f"{shown.height} of {frame.height} conditions: the largest gains and losses in {trust.primary} over "
        f"{trust.strongest.title}. Distance: to the nearest training perturbation."
    )
    formats = {"gain": fixed(3), "model": fixed(3), "baseline": fixed(3), "effect_size": fixed(3)}
    html = table_html(shown.drop("n_rows", strict=False), headers=headers, formats=formats, caption=caption)
    link = csv_link(frame, "conditions.csv")
    return Section("Where it wins and where it loses", html + link, width="half")


def _all_metrics(trust: TrustTable) -> Section:
    rows = [
        {
            "": trust.shown_title(c),
            **{m.name: trust.summary[c.name][m.name].mean for m in trust.board.metrics},
        }
        for c in trust.order
    ]
    headers = {metric.name: metric.title for metric in trust.board.metrics}
    if trust.dynamic_range:
        rows.append({"": "Dynamic range fraction", **{m: trust.dynamic_range[m] for m in headers}})
    html = table_html(
        pl.DataFrame(rows),
        headers=headers,
        formats={name: fixed(3) for name in headers},
        row_classes=[*_row_classes(trust), *(["muted"] if trust.dynamic_range else [])],
        caption="A dash is undefined. Dynamic range fraction: (duplicate - mean) / (perfect - mean); "
        "below 0.1 a metric cannot rank models on this data.",
        download="every_metric.csv",
    )
    return Section("Every metric", html, subtitle="mean over held-out conditions")


def _wells(trust: TrustTable) -> Section | None:
    if not trust.well_summary:
        return None
    rows = [
        {"": c.title, **{n: e.mean for n, e in trust.well_summary[c.name].items()}}
        for c in trust.order
        if c.name in trust.well_summary
    ]
    titles = {metric.name: metric.title for metric in metrics_of_level("well")}
    html = table_html(
        pl.DataFrame(rows),
        headers=titles,
        formats={"well_pearson": fixed(4), "well_r2": fixed(4), "well_mse": fixed(3)},
        row_classes=[_ROW_CLASSES[c.role] for c in trust.order if c.name in trust.well_summary],
        caption=f"Predicted profile: mean of the plate's controls plus the predicted response; "
        f"{len(trust.board.well_cluster):,} held-out profiles one by one. All are near one another because "
        "any profile of the same cells is: small differences are all there is.",
    )
    return Section("Absolute profiles", html, width="half")


def _definitions(trust: TrustTable) -> Section:
    scored = {metric.name for metric in trust.board.metrics} | set(
        next(iter(trust.well_summary.values()), {})
    )
    rows = [
        {"metric": m.title, "name": m.name, "better": m.direction, "best value": m.best, "formula": m.formula,
         "source": m.source}
        for m in METRICS.values()
        if m.name in scored
    ]  # fmt: skip
    html = table_html(pl.DataFrame(rows), formats={"best value": lambda value: f"{value:g}"})
    intro = paragraph_html(
        f"Decided beforehand: the verdict is about the mean of {trust.primary} over conditions. Better means "
        "better than each baseline at the 95 % level; worse is corrected for the number of baselines. Where "
        "one of two compared values is undefined it counts as no information.",
        muted=True,
    )
    return Section("How it was measured", intro + html)


def trust_report(trust: TrustTable, command: str = "") -> str:
    """Return the trust report as one self-contained HTML document.

    Parameters
    ----------
    trust
        The result of an evaluation.
    command
        The command that reproduces it, for the last line.
    """
    sections = [
        _verdict(trust),
        _main_table(trust),
        _strata(trust),
        Section("What this does not show", list_html(trust.not_shown), tone="care"),
        _scatter(trust),
        _extremes(trust),
        _all_metrics(trust),
        _wells(trust),
        Section("Notes", list_html(trust.notes), width="half") if trust.notes else None,
        _definitions(trust),
    ]
    return render_page(
        title=f"Trust report: {trust.facts.title}",
        provenance=provenance(trust),
        sections=[section for section in sections if section is not None],
        footer=command,
    )

"""The tables of a trust report: beside the baselines, metric by metric, absolute profiles, definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

import polars as pl

from pertcast.evaluation.bootstrap import LEVEL, Estimate
from pertcast.evaluation.ceilings.ceiling import RELIABLE_FRACTION
from pertcast.evaluation.metrics import METRICS, get_metric, metrics_of_level
from pertcast.evaluation.metrics.across import ACROSS
from pertcast.evaluation.parts import Skill
from pertcast.evaluation.text import MISSING, PARTIAL
from pertcast.evaluation.trust.table import TrustTable
from pertcast.report.page import Section, paragraph_html
from pertcast.report.tables import csv_link, fixed, format_number, table_html

_LEADING: Final = ("pearson_delta_pert", "centroid_accuracy", "discrimination_l1")
_HEADERS: Final = MappingProxyType(
    {
        "pearson_delta": "pearson delta",
        "pearson_delta_pert": "vs perturbed mean",
        "centroid_accuracy": "centroid acc.",
        "discrimination_l1": "discrimination",
    }
)
_PARTIAL_WORDS: Final = f"{PARTIAL}: defined for fewer than nine in ten conditions, so not a mean of all."
_ROW_CLASSES: Final = MappingProxyType(
    {"model": "strong", "baseline": "", "control": "muted", "ceiling": "muted"}
)


def plus_minus(estimate: Estimate) -> str:
    """Write "0.412 ± .006": the mean and half the width of its interval; a dash where undefined."""
    if math.isnan(estimate.mean):
        return MISSING
    half = f"{(estimate.high - estimate.low) / 2:.3f}"
    return f"{estimate.mean:.3f} ± {half.removeprefix('0')}"


def main_table(trust: TrustTable) -> Section:
    """Return the primary and leading metrics of every contender."""
    scored = {metric.name for metric in trust.board.metrics}
    columns: dict[str, list[str]] = {"": [trust.shown_title(c) for c in trust.order]}
    columns[trust.primary] = [plus_minus(trust.summary[c.name][trust.primary]) for c in trust.order]
    for name in _LEADING:
        if name in scored and name != trust.primary:
            columns[name] = [_marked(trust.summary[c.name][name], fixed(3)) for c in trust.order]
    html = table_html(
        pl.DataFrame(columns),
        headers={name: _HEADERS.get(name, get_metric(name).title) for name in columns if name},
        row_classes=[_ROW_CLASSES[c.role] for c in trust.order],
        number_columns=[trust.primary, *_LEADING],
        caption=f"Mean over held-out conditions ± half the {LEVEL:.0%} interval ({trust.n_draws:,} "
        "resamplings of the held-out perturbations). Baselines from strong to weak; greyed: controls and "
        f"ceilings. {_PARTIAL_WORDS}",
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


def _marked(estimate: Estimate, write: Callable[[float], str] = format_number) -> str:
    """Write a mean, and mark it where it is one of too few conditions."""
    return write(estimate.mean) + (PARTIAL if estimate.is_partial else "")


def skill_words(skill: Skill | None) -> str:
    """Write "0.26 [0.21, 0.31]", or a dash where skill is undefined."""
    if skill is None or math.isnan(skill.value):
        return MISSING
    return f"{skill.value:.2f} [{skill.low:.2f}, {skill.high:.2f}]"


def _interval_words(estimate: Estimate) -> str:
    if math.isnan(estimate.mean):
        return MISSING
    return f"{format_number(estimate.mean)} [{format_number(estimate.low)}, {format_number(estimate.high)}]"


def _ceiling_words(estimate: Estimate | None) -> str:
    return MISSING if estimate is None else _marked(estimate)


def metric_reliability(trust: TrustTable) -> Section:
    """Return every metric: model, strongest baseline, gain, skill, and whether it can rank models here."""
    ceiling = next((c for c in trust.order if c.role == "ceiling" and c.name == "perfect"), None)
    rows, classes = [], []
    for metric in trust.board.metrics:
        own = trust.summary[trust.board.model.name][metric.name]
        fraction = trust.dynamic_range.get(metric.name, math.nan)
        row: dict[str, str | float] = {"metric": metric.title, "name": metric.name}
        row |= {"better": metric.direction, "model": _marked(own)}
        if trust.strongest is not None:
            row["baseline"] = _marked(trust.summary[trust.strongest.name][metric.name])
            row["gain"] = _interval_words(trust.gains[metric.name][trust.strongest.name])
        row["skill"] = skill_words(trust.parts.skill.get(metric.name))
        if ceiling is not None:
            row["ceiling"] = _ceiling_words(trust.summary[ceiling.name].get(metric.name))
        row["dynamic range"] = fraction
        rows.append(row)
        classes.append("muted" if fraction < RELIABLE_FRACTION else "")
    headers = {"baseline": trust.strongest.title} if trust.strongest else {}
    html = table_html(
        pl.DataFrame(rows).drop("name"),
        headers={**headers, "dynamic range": "dynamic range fraction"},
        formats={"dynamic range": fixed(2)},
        row_classes=classes,
        number_columns=["model", "baseline", "gain", "skill", "ceiling"],
        caption=f"Means over held-out conditions; a dash is undefined. {_PARTIAL_WORDS} Gain: model minus "
        "the strongest baseline by the primary metric, positive where the model is better. Skill: 0 as good "
        "as the strongest baseline of that metric, 1 as good as the ceiling. Dynamic range fraction: "
        f"(duplicate - mean) / (perfect - mean); below {RELIABLE_FRACTION:g}, greyed, a metric cannot rank "
        "models here.",
    )
    link = csv_link(pl.DataFrame(rows), "metrics.csv")
    return Section("Every metric, and what it is worth here", html + link)


def strength_of_effects(trust: TrustTable) -> Section | None:
    """Return the metrics over conditions of every contender; None where no cells were scored."""
    if not trust.across:
        return None
    shown = [c for c in trust.order if c.name in trust.across]
    rows = [
        {"": c.title, **{name: _interval_words(e) for name, e in trust.across[c.name].items()}} for c in shown
    ]
    html = table_html(
        pl.DataFrame(rows),
        headers={name: metric.title for name, metric in ACROSS.items()},
        row_classes=[_ROW_CLASSES[c.role] for c in shown],
        number_columns=list(ACROSS),
        caption=" ".join(f"{m.title}: {m.formula}" for m in ACROSS.values()),
    )
    return Section("Are strong perturbations predicted to be strong?", html, width="half")


def absolute_profiles(trust: TrustTable) -> Section | None:
    """Return the scores of single wells on the absolute scale; None where wells were not scored."""
    if not trust.well_summary:
        return None
    shown = [c for c in trust.order if c.name in trust.well_summary]
    rows = [{"": c.title, **{n: e.mean for n, e in trust.well_summary[c.name].items()}} for c in shown]
    html = table_html(
        pl.DataFrame(rows),
        headers={metric.name: metric.title for metric in metrics_of_level("well")},
        formats={"well_pearson": fixed(4), "well_r2": fixed(4), "well_mse": fixed(3)},
        row_classes=[_ROW_CLASSES[c.role] for c in shown],
        caption=f"Predicted profile: mean of the plate's controls plus the predicted response; "
        f"{len(trust.board.well_cluster):,} held-out profiles one by one. All are near one another because "
        "any profile of the same cells is: small differences are all there is.",
    )
    return Section("Absolute profiles", html, width="half")


def definitions(trust: TrustTable) -> Section:
    """Return the registered definition of every metric that was scored."""
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

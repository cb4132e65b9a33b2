"""The trust table on a terminal: verdict, provenance, one aligned table, what stands beside it, limits."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Final

from pertcast.evaluation.ceilings.ceiling import RELIABLE_FRACTION
from pertcast.evaluation.metrics import get_metric, metrics_of_level
from pertcast.evaluation.metrics.across import ACROSS
from pertcast.evaluation.scores.score_board import Contender
from pertcast.evaluation.text import PARTIAL, decimal, text_table, with_interval
from pertcast.evaluation.trust.result import TrustResult
from pertcast.evaluation.trust.scored_strata import ScoredStratum

SHOWN: Final = (
    "pearson_delta_pert",
    "centroid_accuracy",
    "mse",
    "pearson_delta_top20",
    "discrimination_cosine",
    "discrimination_l1",
    "r2",
)
"""Metrics with a column on the terminal, as many as fit; JSON and HTML hold all."""

_BY_MEMBERS: Final = ("pearson_delta", "pearson_delta_top20", "centroid_accuracy", "discrimination_l1")
"""Columns of the table by members, beside the primary metric."""

_BY_TYPE: Final = ("pearson_delta", "pearson_delta_pert", "r2_train_mean_pooled", "retrieval_rank")
"""Columns of the table by perturbation type, beside the primary metric."""

WIDTH: Final = 110
_TITLE_WIDTH: Final = 37
_STRATUM_TITLE_WIDTH: Final = 32
_MARKS: Final = {"model": "> ", "baseline": "  ", "control": "- ", "ceiling": "^ "}


def provenance(trust: TrustResult) -> str:
    """Return one line: model, bundle, data, split, counts."""
    facts, board = trust.facts, trust.board
    folds = ", ".join(str(fold) for fold in facts.folds)
    split = f"{facts.split_kind} fold {folds}" if facts.folds else facts.split_kind
    clusters = board.conditions["cluster"].n_unique()
    parts = [
        facts.title,
        facts.bundle and _bundles(facts.bundle),
        facts.store and f"{facts.store} {facts.data_hash[:8]}".strip(),
        split and f"{split} {facts.split_hash[:8]}".strip(),
        f"{board.conditions.height:,} held-out conditions of {clusters:,} perturbations",
        facts.n_held_out_rows and f"{facts.n_held_out_rows:,} profiles",
        facts.n_training_conditions and f"{facts.n_training_conditions:,} training conditions",
        facts.n_genes and f"{facts.n_genes:,} genes",
    ]
    return " · ".join(str(part) for part in parts if part)


def _bundles(names: str) -> str:
    """Name a bundle; count those of several trainings."""
    several = names.count(",") + 1
    return f"bundle {names}" if several == 1 else f"{several} bundles"


def _clipped(title: str, width: int = _TITLE_WIDTH) -> str:
    return title if len(title) <= width else f"{title[: width - 1]}…"


def _column(trust: TrustResult, name: str) -> list[str]:
    """Return a metric's column, its header first; the primary metric's with intervals."""
    weak = trust.dynamic_range.get(name, 1.0) < RELIABLE_FRACTION
    estimates = [trust.summary[contender.name][name] for contender in trust.order]
    other = " " if any(found.is_partial for found in estimates) else ""
    cells = []
    for found in estimates:
        with_bounds = with_interval(found.mean, found.low, found.high)
        shown = with_bounds if name == trust.primary else decimal(found.mean)
        cells.append(shown + (PARTIAL if found.is_partial else other))
    return [get_metric(name).title + (" ~" if weak else ""), *cells]


def _skill_column(trust: TrustResult) -> list[str]:
    """Return the model's skill beside the two contenders that stand at 0 and at 1; [] where undefined."""
    skill = trust.parts.skill.get(trust.primary)
    if skill is None or math.isnan(skill.value):
        return []
    stand = {skill.baseline: "0", skill.ceiling: "1", trust.board.model.name: decimal(skill.value, 2)}
    return ["skill", *(stand.get(contender.name, "") for contender in trust.order)]


def _table(trust: TrustResult) -> list[str]:
    titles = ["", *(_MARKS[c.role] + _clipped(trust.shown_title(c)) for c in trust.order)]
    columns = [titles, _column(trust, trust.primary)]
    if skill := _skill_column(trust):
        columns.append(skill)
    scored = {metric.name for metric in trust.board.metrics}
    for name in SHOWN:
        if name == trust.primary or name not in scored:
            continue
        column = _column(trust, name)
        if 2 + sum(2 + max(map(len, each)) for each in (*columns, column)) - 2 <= WIDTH:
            columns.append(column)
    header, *rows = (list(row) for row in zip(*columns, strict=True))
    return text_table(header, rows)


def _held_out_line(trust: TrustResult) -> list[str]:
    counts = trust.parts.held_out
    if counts is None:
        return []
    parts = [
        f"{part} {found['conditions']:,} conditions of {found['perturbations']:,} perturbations in "
        f"{found['contexts']:,} contexts ({found['profiles']:,} profiles)"
        for part, found in counts.parts.items()
    ]
    new = ", ".join(f"{number:,} with new {word}" for word, number in counts.new_in_test.items() if number)
    return _wrapped([f"held out: {parts[-1]}{'; ' + new if new else ''}"], "  ", "    ")


def _coverage_line(trust: TrustResult) -> list[str]:
    calibration = trust.parts.calibration
    if calibration is None:
        return []
    words = []
    for level in calibration.coverage:
        stated = [
            f"{estimate.mean:.0%} {name}"
            for name, estimate in (("as stated", level.gaussian), ("calibrated", level.conformal))
            if not math.isnan(estimate.mean)
        ]
        words.append(f"{level.nominal:.0%} intervals hold {' / '.join(stated)}")
    promise = "" if calibration.exchangeable else " (not promised: see the report)"
    return _wrapped([f"coverage: {'; '.join(words)}{promise}"], "  ", "    ") if words else []


def _seed_line(trust: TrustResult) -> list[str]:
    spread = trust.parts.seeds
    if spread is None or trust.board.model.name not in spread.means:
        return []
    means = spread.means[trust.board.model.name]
    named = ", ".join(decimal(float(mean)) for mean in means)
    return [f"  seeds: {trust.primary} of {len(means)} trainings {named} (sd {means.std(ddof=1):.3f})"]


def _ensemble_line(trust: TrustResult) -> list[str]:
    found = trust.parts.ensemble
    if found is None:
        return []
    named = ", ".join(f"{name} {decimal(each.mean)}" for name, each in found.members.items())
    gain = found.gain
    text = (
        f"ensemble: {found.metric} {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over the mean of its "
        f"members ({named})"
    )
    return _wrapped([text], "  ", "    ")


def _function_line(trust: TrustResult) -> list[str]:
    found = trust.parts.function
    if found is None:
        return []
    rows = [
        f"{name} {decimal(area.mean)} [{decimal(area.low)}, {decimal(area.high)}]"
        for name, area in found.rows.items()
    ]
    line = f"gene function ({found.source}, {found.n_genes:,} genes), ROC area: {'; '.join(rows)}"
    return _wrapped([line], "  ", "    ")


def _wrapped(sentences: Sequence[str], first: str, following: str) -> list[str]:
    folded = (
        textwrap.wrap(each, WIDTH, initial_indent=first, subsequent_indent=following) for each in sentences
    )
    return [line for lines in folded for line in lines]


def _well_table(trust: TrustResult) -> list[str]:
    metrics = metrics_of_level("well")
    rows = [
        [
            _MARKS[contender.role] + _clipped(contender.title),
            *(decimal(trust.well_summary[contender.name][metric.name].mean, 4) for metric in metrics),
        ]
        for contender in trust.order
        if contender.name in trust.well_summary
    ]
    return text_table(["absolute profiles, well by well", *(metric.title for metric in metrics)], rows)


def _across_table(trust: TrustResult) -> list[str]:
    rows = []
    for contender in trust.order:
        if contender.name in trust.across:
            found = [trust.across[contender.name][name] for name in ACROSS]
            cells = [with_interval(each.mean, each.low, each.high) for each in found]
            rows.append([_MARKS[contender.role] + _clipped(contender.title), *cells])
    return text_table(["strength of effects, over conditions", *(m.title for m in ACROSS.values())], rows)


def _stratum_table(
    trust: TrustResult, strata: Sequence[ScoredStratum], title: str, columns: Sequence[str]
) -> list[str]:
    """Return the model and the strongest baseline of each stratum, the primary metric first."""
    scored_metrics = {metric.name for metric in trust.board.metrics} - {trust.primary}
    names = [trust.primary, *(name for name in columns if name in scored_metrics)]
    header = [title, "conditions", *(get_metric(name).title for name in names)]
    rows = []
    for stratum in strata:
        rows.append([stratum.name, f"{stratum.n_conditions:,}", *([""] * len(names))])
        for contender in _judged(trust, stratum):
            scored = stratum.scores[contender.name]
            first = scored[trust.primary]
            cells = [
                with_interval(first.mean, first.low, first.high),
                *(decimal(scored[name].mean) for name in names[1:]),
            ]
            rows.append(
                [_MARKS[contender.role] + _clipped(contender.title, _STRATUM_TITLE_WIDTH), "", *cells]
            )
    return text_table(header, rows)


def _judged(trust: TrustResult, stratum: ScoredStratum) -> list[Contender]:
    """Return the model and the baseline that is strongest in the stratum by the primary metric."""
    sign = get_metric(trust.primary).sign

    def strength(contender: Contender) -> float:
        mean = stratum.scores[contender.name][trust.primary].mean
        return -math.inf if math.isnan(mean) else sign * mean

    baselines = [contender for contender in trust.order if contender.role == "baseline"]
    return [trust.board.model, *([max(baselines, key=strength)] if baselines else [])]


def _legend(trust: TrustResult) -> str:
    weak = any(fraction < RELIABLE_FRACTION for fraction in trust.dynamic_range.values())
    resampled = "perturbations and seeds" if trust.board.n_seeds > 1 else "perturbations"
    partial = any(found.is_partial for scored in trust.summary.values() for found in scored.values())
    marks = ", ~ too little range" if weak else ""
    marks += f", {PARTIAL} of fewer than 9 in 10 conditions" if partial else ""
    line = f"> model, - negative control, ^ ceiling{marks}; mean over conditions [95 %, over {resampled}]"
    return "\n".join(_wrapped([line], "  ", "    "))


def to_lines(trust: TrustResult) -> list[str]:
    """Return the lines; see `TrustTable.lines`."""
    lines = [
        f"Verdict: {trust.facts.title} is {trust.verdict.text}",
        *_wrapped([provenance(trust)], "", "  "),
        "",
        *_table(trust),
        _legend(trust),
    ]
    if trust.by_members:
        lines += ["", *_stratum_table(trust, trust.by_members, "by members seen in training", _BY_MEMBERS)]
    if trust.by_type:
        lines += ["", *_stratum_table(trust, trust.by_type, "by perturbation type", _BY_TYPE)]
    if trust.well_summary:
        lines += ["", *_well_table(trust)]
    if trust.across:
        lines += ["", *_across_table(trust)]
    beside = [
        *_held_out_line(trust),
        *_coverage_line(trust),
        *_seed_line(trust),
        *_ensemble_line(trust),
        *_function_line(trust),
    ]
    if beside:
        lines += ["", *beside]
    if trust.notes:
        lines += ["", *_wrapped(trust.notes, "  ", "    ")]
    if trust.not_shown:
        lines += ["", "What this does not show", *_wrapped(trust.not_shown, "  - ", "    ")]
    return lines

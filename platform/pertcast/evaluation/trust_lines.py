"""The trust table on a terminal: verdict, provenance, one aligned table, notes."""

from __future__ import annotations

from typing import Final

from pertcast.evaluation.ceiling import RELIABLE_FRACTION
from pertcast.evaluation.metrics import get_metric, metrics_of_level
from pertcast.evaluation.text import decimal, text_table, with_interval
from pertcast.evaluation.trust_result import TrustResult

SHOWN: Final = (
    "pearson_delta",
    "pearson_delta_top20",
    "pearson_delta_pert",
    "r2",
    "mse",
    "centroid_accuracy",
    "discrimination_l1",
    "discrimination_cosine",
)
"""Metrics with a column on the terminal; JSON and HTML hold all."""

_MARKS: Final = {"model": "> ", "baseline": "  ", "control": "- ", "ceiling": "^ "}


def provenance(trust: TrustResult) -> str:
    """Return one line: model, bundle, data, split, counts."""
    facts, board = trust.facts, trust.board
    folds = ", ".join(str(fold) for fold in facts.folds)
    split = f"{facts.split_kind} fold {folds}" if facts.folds else facts.split_kind
    clusters = board.conditions["cluster"].n_unique()
    parts = [
        facts.title,
        facts.bundle and f"bundle {facts.bundle}",
        facts.store and f"{facts.store} {facts.data_hash[:8]}".strip(),
        split and f"{split} {facts.split_hash[:8]}".strip(),
        f"{board.conditions.height:,} held-out conditions of {clusters:,} perturbations",
        facts.n_held_out_rows and f"{facts.n_held_out_rows:,} profiles",
        facts.n_training_conditions and f"{facts.n_training_conditions:,} training conditions",
        facts.n_genes and f"{facts.n_genes:,} genes",
    ]
    return " · ".join(str(part) for part in parts if part)


def _table(trust: TrustResult) -> list[str]:
    scored = {metric.name for metric in trust.board.metrics}
    names = [trust.primary, *(name for name in SHOWN if name != trust.primary and name in scored)]
    header = [""]
    for name in names:
        weak = trust.dynamic_range.get(name, 1.0) < RELIABLE_FRACTION
        header.append(get_metric(name).title + (" ~" if weak else ""))
    rows = []
    for contender in trust.order:
        summary = trust.summary[contender.name]
        first = summary[trust.primary]
        cells = [
            _MARKS[contender.role] + trust.shown_title(contender),
            with_interval(first.mean, first.low, first.high),
        ]
        rows.append([*cells, *(decimal(summary[name].mean) for name in names[1:])])
    return text_table(header, rows)


def _well_table(trust: TrustResult) -> list[str]:
    metrics = metrics_of_level("well")
    rows = [
        [
            _MARKS[contender.role] + contender.title,
            *(decimal(trust.well_summary[contender.name][metric.name].mean, 4) for metric in metrics),
        ]
        for contender in trust.order
        if contender.name in trust.well_summary
    ]
    return text_table(["absolute profiles, well by well", *(metric.title for metric in metrics)], rows)


def to_lines(trust: TrustResult) -> list[str]:
    """Return the lines; see `TrustTable.lines`."""
    marks = "> model, - negative control, ^ ceiling"
    weak = (
        ", ~ too little dynamic range"
        if any(f < RELIABLE_FRACTION for f in trust.dynamic_range.values())
        else ""
    )
    lines = [
        f"Verdict: {trust.facts.title} is {trust.verdict.text}",
        provenance(trust),
        "",
        *_table(trust),
        f"  {marks}{weak}; mean over conditions [95 % interval, bootstrap over perturbations]",
    ]
    if trust.well_summary:
        lines += ["", *_well_table(trust)]
    if trust.notes:
        lines += ["", *(f"  {note}" for note in trust.notes)]
    return lines

"""The model card: what a model is, what it was trained on, what it is worth, and what it is not for.

Plain markdown made from facts of the bundle and the run, the trust result and its biology; no figure is new.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.text import PARTIAL, decimal, with_interval
from pertcast.evaluation.trust.lines import provenance
from pertcast.evaluation.trust.table import TrustTable
from pertcast.naming import facts_in_words, kind_word, response_unit
from pertcast.report.biology import Biology

COLUMNS: Final = ("pearson_delta_pert", "centroid_accuracy", "discrimination_cosine", "mse")
"""Metrics beside the primary one."""

_ROLES: Final = {
    "model": "model",
    "baseline": "baseline",
    "control": "negative control",
    "ceiling": "ceiling",
}
_UNTOLD: Final = ("betas", "warmup_steps", "final_lr_share", "weight_decay")
"""Details of optimisers that the run's config.yaml holds."""


@dataclass(frozen=True)
class CardTraining:
    """One training of the model.

    Attributes
    ----------
    run
        Name of its folder.
    bundle
        Short content hash.
    fold, seed
        What it was trained on, and with.
    stages
        One a stage: name, epochs, steps, stopped_early, best_epoch, validation, facts.
    seconds
        Wall time.
    where
        Engine, launcher and workers, in words.
    version
        Of Pertcast.
    """

    run: str
    bundle: str
    fold: int
    seed: int
    stages: tuple[Mapping[str, Any], ...]
    seconds: float
    where: str
    version: str


@dataclass(frozen=True)
class CardFacts:
    """What is known of a model beside its evaluation.

    Attributes
    ----------
    family
        Name in the registry.
    config
        Of the model, plain.
    n_parameters
        Numbers in its weights.
    licence
        Of the training data.
    pert_types, contexts
        Kinds of perturbation, and cell lines or types, of training.
    trainings
        One, or several that were pooled.
    commands
        Command lines that make it again.
    """

    family: str
    config: Mapping[str, Any]
    n_parameters: int
    licence: str
    pert_types: tuple[str, ...]
    contexts: tuple[str, ...]
    trainings: tuple[CardTraining, ...]
    commands: tuple[str, ...]


def model_card(trust: TrustTable, facts: CardFacts, biology: Biology | None = None) -> str:
    """Return the card as markdown, the answer first.

    Parameters
    ----------
    trust
        The evaluation.
    facts
        What is known of the model.
    biology
        Pathways, dose response and the like; None where they were not asked for.
    """
    sections = [
        _head(trust),
        _model(trust, facts),
        _data(trust, facts),
        *(_training(training) for training in facts.trainings),
        _results(trust),
        _calibration(trust),
        _biology(biology),
        _list("What this does not show", trust.not_shown),
        _intended_use(trust, facts),
        _reproduce(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], n_words: int = 1) -> str:
    """Return a markdown table; the first `n_words` columns to the left, the others, numbers, to the right."""
    rule = ["---"] * n_words + ["---:"] * (len(header) - n_words)
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _list(title: str, items: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in items) if items else ""


def _head(trust: TrustTable) -> str:
    return (
        f"# Model card: {trust.facts.title}\n\n"
        f"**{trust.facts.title} is {trust.verdict.text}.**\n\n{provenance(trust)}"
    )


def _model(trust: TrustTable, facts: CardFacts) -> str:
    rows = [(name, str(value)) for name, value in _flat(facts.config)]
    said = (
        f"## The model\n\n{trust.facts.title} (`{facts.family}`), {facts.n_parameters:,} parameters. It "
        f"predicts the response of {trust.facts.n_genes:,} genes: perturbed minus matched control."
    )
    return f"{said}\n\n{_table(('configuration', 'value'), rows, 2)}" if rows else said


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif name not in _UNTOLD:
            yield f"{prefix}{name}", value


def _data(trust: TrustTable, facts: CardFacts) -> str:
    known = trust.facts
    folds = ", ".join(str(fold) for fold in known.folds)
    rows = [
        ("store", f"{known.store}, data hash `{known.data_hash}`"),
        ("measure", f"{known.measure}, {known.normalisation}"),
        ("licence", facts.licence),
        ("perturbations", _kinds(facts)),
        ("contexts", _named(facts.contexts)),
        ("held out", f"{known.split_kind}, fold {folds}, split hash `{known.split_hash}`"),
    ]
    text = f"## Data\n\n{_table(('', ''), rows, 2)}"
    counts = trust.parts.held_out
    if counts is None:
        return text
    columns = list(next(iter(counts.parts.values())))
    parts = [(part, *(f"{found.get(name, 0):,}" for name in columns)) for part, found in counts.parts.items()]
    return f"{text}\n\n{_table(('part', *columns), parts)}"


def _kinds(facts: CardFacts) -> str:
    return ", ".join(kind_word(kind) for kind in facts.pert_types)


def _named(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{len(names):,}: {', '.join(names[:most])}{more}"


def _training(training: CardTraining) -> str:
    rows = [
        (
            str(stage["name"]).replace("_", " "),
            f"{stage['epochs']}" if stage["epochs"] else "closed form",
            "–" if stage["best_epoch"] is None else f"{stage['best_epoch'] + 1}",
            f"{stage['steps']:,}",
            facts_in_words(stage["validation"] or {}) or "–",
            facts_in_words(stage["facts"]) or "–",
        )
        for stage in training.stages
    ]
    header = ("stage", "epochs", "best epoch", "steps", "validation", "found out")
    return (
        f"## Training: {training.run}\n\nFold {training.fold}, seed {training.seed}, bundle "
        f"`{training.bundle}`, {training.where}, {training.seconds:,.0f} s, Pertcast {training.version}."
        f"\n\n{_table(header, rows, len(header))}"
    )


def _results(trust: TrustTable) -> str:
    scored = {metric.name for metric in trust.board.metrics}
    names = [trust.primary, *(name for name in COLUMNS if name in scored and name != trust.primary)]
    rows = []
    for contender in trust.order:
        found = trust.summary[contender.name]
        first = found[trust.primary]
        cells = [with_interval(first.mean, first.low, first.high)]
        cells += [decimal(found[name].mean) for name in names[1:]]
        cells = [cell + PARTIAL * found[name].is_partial for name, cell in zip(names, cells, strict=True)]
        title = trust.shown_title(contender)
        shown = f"**{title}**" if contender.role == "model" else title
        rows.append((shown, _ROLES[contender.role], *cells))
    skill = trust.parts.skill.get(trust.primary)
    notes = [f"Means over held-out conditions; 95 % intervals over perturbations. {_better(names)}"]
    if skill is not None and not math.isnan(skill.value):
        notes.append(
            f"Of what lies between the strongest baseline (0) and the ceiling (1) it takes {skill.value:.2f} "
            f"[{skill.low:.2f}, {skill.high:.2f}]."
        )
    header = ("", "role", *(get_metric(name).title for name in names))
    text = f"## Results\n\n{_table(header, rows, 2)}\n\n{' '.join(notes)}"
    return f"{text}\n\n" + "\n".join(f"- {note}" for note in trust.notes) if trust.notes else text


def _better(names: Sequence[str]) -> str:
    return (
        "; ".join(f"{get_metric(name).title}: {get_metric(name).direction} is better" for name in names) + "."
    )


def _calibration(trust: TrustTable) -> str:
    found = trust.parts.calibration
    if found is None:
        return ""
    rows = [
        (f"{each.nominal:.0%}", decimal(each.gaussian.mean), decimal(each.conformal.mean))
        for each in found.coverage
    ]
    promise = "" if found.exchangeable else " Calibration and test are not exchangeable: nothing is promised."
    return (
        f"## Are its intervals true?\n\n{_table(('level', 'as stated', 'calibrated'), rows)}\n\nShare of "
        f"measured responses inside; {found.n_calibration:,} conditions calibrated, {found.n_test:,} judged."
        f"{promise}"
    )


def _biology(biology: Biology | None) -> str:
    if biology is None:
        return ""
    said = [f"**{title}.** {answer}" for title, answer in biology.answers().items()]
    return _list("Biology", [*said, *biology.notes])


def _intended_use(trust: TrustTable, facts: CardFacts) -> str:
    known = trust.facts
    uses = [
        f"Ranking perturbations of the kinds it was trained on ({_kinds(facts)}) by their predicted response "
        f"({response_unit(known.normalisation)}), to choose what to measure next.",
        f"Questions like the one it was judged on ({known.split_kind}); predictions say how far they are "
        "from training.",
    ]
    against = [
        "Decisions about patients, or replacing a measurement that can be made.",
        f"Cell lines, assays and scales other than those of the training store ({len(facts.contexts):,} "
        "contexts), unless judged there: `pertcast evaluate --bundle BUNDLE --store STORE`.",
        "Doses and times beyond those of training.",
    ]
    if trust.verdict.outcome != "better" and trust.strongest is not None:
        against.insert(0, f"Anything that {trust.strongest.title} does as well: it is {trust.verdict.text}.")
    return f"{_list('Intended use', uses)}\n\n{_list('Not for', against)}"


def _reproduce(facts: CardFacts) -> str:
    return "## How to reproduce\n\n```\n" + "\n".join(facts.commands) + "\n```"

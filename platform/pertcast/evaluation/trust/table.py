"""The trust table: the model beside every baseline, control and ceiling, with intervals and a verdict.

`evaluate` makes one from predictions on plain arrays; `trust_table` from a score board (also pooled).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pertcast_data.errors import ConfigError

from pertcast.evaluation.bootstrap import N_DRAWS, Estimate, estimates, estimates_over_seeds
from pertcast.evaluation.ceilings.ceiling import (
    RELIABLE_FRACTION,
    Ceilings,
    SplitHalves,
    dynamic_range,
    score_ceiling,
)
from pertcast.evaluation.cells.across_summary import across_estimates
from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.evaluation.metrics import PRIMARY_METRIC, get_metric, metrics_of_level
from pertcast.evaluation.parts import TrustParts
from pertcast.evaluation.scores.score_board import (
    Contender,
    Role,
    ScoreBoard,
    amplitudes,
    condition_facts,
    score_conditions,
)
from pertcast.evaluation.trust.evidence import Evidence
from pertcast.evaluation.trust.filling import fill_parts
from pertcast.evaluation.trust.json_text import to_json
from pertcast.evaluation.trust.limits import not_shown
from pertcast.evaluation.trust.lines import to_lines
from pertcast.evaluation.trust.members import by_members
from pertcast.evaluation.trust.notes import notes
from pertcast.evaluation.trust.result import TrustFacts, TrustResult
from pertcast.evaluation.trust.strata import strata
from pertcast.evaluation.trust.type_strata import by_type
from pertcast.evaluation.trust.verdict import decide

__all__ = ["CEILING", "TrustFacts", "TrustTable", "evaluate", "make_board", "trust_table"]

CEILING = "split_half"


@dataclass(frozen=True)
class TrustTable(TrustResult):
    """The result of an evaluation, as text for a terminal and as JSON."""

    def lines(self) -> list[str]:
        """Return the table as lines for a terminal, the verdict first."""
        return to_lines(self)

    def to_json(self) -> str:
        """Return everything as JSON: keys sorted, six digits, the same bytes for the same scores."""
        return to_json(self)


def _summaries(board: ScoreBoard, n_draws: int, seed: int) -> dict[str, dict[str, Estimate]]:
    everyone, names = [c.name for c in board.contenders], [metric.name for metric in board.metrics]
    columns = np.stack([board.by_seed(who, name) for who in everyone for name in names], axis=2)
    found = iter(estimates_over_seeds(columns, board.cluster, n_draws, seed))
    return {who: {name: next(found) for name in names} for who in everyone}


def _well_summaries(board: ScoreBoard, n_draws: int, seed: int) -> dict[str, dict[str, Estimate]]:
    if not board.well_scores:
        return {}
    labels = np.unique(np.array(board.well_cluster), return_inverse=True)[1].astype(np.int64)
    names = [metric.name for metric in metrics_of_level("well")]
    columns = np.stack([board.well_scores[who][name] for who in board.well_scores for name in names], axis=1)
    found = iter(estimates(columns, labels, n_draws, seed))
    return {who: {name: next(found) for name in names} for who in board.well_scores}


def _gains(board: ScoreBoard, n_draws: int, seed: int) -> dict[str, dict[str, Estimate]]:
    others = [c.name for c in board.of_role("baseline", "control")]
    if not others:
        return {metric.name: {} for metric in board.metrics}
    result = {}
    for metric in board.metrics:
        columns = np.stack([board.gain_by_seed(metric.name, other) for other in others], axis=2)
        found = estimates_over_seeds(columns, board.cluster, n_draws, seed)
        result[metric.name] = dict(zip(others, found, strict=True))
    return result


def _order(board: ScoreBoard, gains: Mapping[str, Estimate]) -> tuple[Contender, ...]:
    baselines = sorted(
        board.of_role("baseline"),
        key=lambda c: (np.inf if np.isnan(gains[c.name].mean) else gains[c.name].mean, c.name),
    )
    return (*board.of_role("model"), *baselines, *board.of_role("control"), *board.of_role("ceiling"))


def trust_table(
    board: ScoreBoard,
    facts: TrustFacts,
    *,
    primary: str = PRIMARY_METRIC,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    parts: TrustParts | None = None,
    evidence: Evidence | None = None,
) -> TrustTable:
    """Summarise a score board: intervals, differences, verdict, strata, and what all this does not show.

    Parameters
    ----------
    board, facts
        Scores, and where they come from.
    primary
        The metric that the verdict is about.
    n_draws, seed
        Of the bootstrap.
    parts
        What was found beside the scores (calibration, counts, false hits); skill, curves and gene structure
        are added here.
    evidence
        Truth and predictions over the board's conditions; without them no profile and no gene structure is
        shown.

    Raises
    ------
    ConfigError
        The primary metric was not scored.
    """
    if primary not in board.scores[board.model.name]:
        raise ConfigError(f"The primary metric {primary!r} was not scored; score it or choose another.")
    gains = _gains(board, n_draws, seed)
    baseline_gains = {c.name: gains[primary][c.name] for c in board.of_role("baseline")}
    verdict = decide(
        baseline_gains,
        metric=get_metric(primary).name,
        n_clusters=len(np.unique(board.cluster)),
        titles={c.name: c.title for c in board.contenders},
    )
    ceiling = board.scores.get(CEILING)
    fractions = dynamic_range(ceiling, board.mean_on_halves) if ceiling and board.mean_on_halves else {}
    found = strata(board, primary, verdict.against, n_draws, seed) if verdict.against else ()
    wells = _well_summaries(board, n_draws, seed)
    everything = fill_parts(
        parts or TrustParts(), board, primary, verdict.against, evidence, n_draws=n_draws, seed=seed
    )
    unreliable = [name for name, fraction in fractions.items() if fraction < RELIABLE_FRACTION]
    return TrustTable(
        facts=facts,
        board=board,
        primary=primary,
        order=_order(board, gains[primary]),
        summary=_summaries(board, n_draws, seed),
        gains=gains,
        well_summary=wells,
        dynamic_range=fractions,
        verdict=verdict,
        strata=found,
        notes=notes(board, primary, gains, verdict.against, unreliable, facts),
        not_shown=not_shown(board, facts, found, everything),
        n_draws=n_draws,
        seed=seed,
        parts=everything,
        across=across_estimates(board, n_draws, seed),
        by_members=by_members(board, n_draws, seed),
        by_type=by_type(board, n_draws, seed),
    )


def make_board(
    held: HeldOut,
    predictions: Mapping[str, FloatArray],
    contenders: Sequence[Contender],
    halves: SplitHalves | None = None,
    ceilings: Ceilings | None = None,
) -> ScoreBoard:
    """Score predictions (N, G) by contender, and set the ceilings beside them.

    Parameters
    ----------
    held
        The truth.
    predictions
        Contender -> (N, G).
    contenders
        The model first.
    halves
        Split halves of the truth: the only ceiling where `ceilings` are not given.
    ceilings
        From `score_ceilings`.
    """
    scores = {c.name: score_conditions(predictions[c.name], held, c.name) for c in contenders}
    mean_on_halves = None
    everyone = tuple(contenders)
    if ceilings is not None:
        scores |= {name: dict(found) for name, found in ceilings.scores.items()}
        everyone += ceilings.contenders
        mean_on_halves = ceilings.mean_on_halves
    elif halves is not None and len(halves.index):
        scores[CEILING], mean_on_halves = score_ceiling(halves, held)
        everyone += (Contender(CEILING, "Split halves", "ceiling"),)
    return ScoreBoard(
        condition_facts(held),
        everyone,
        scores,
        mean_on_halves=mean_on_halves,
        amplitude={c.name: amplitudes(predictions[c.name], held) for c in contenders},
    )


def evaluate(
    held: HeldOut,
    predictions: Mapping[str, FloatArray],
    *,
    model: str,
    facts: TrustFacts | None = None,
    titles: Mapping[str, str] | None = None,
    controls: Sequence[str] = (),
    halves: SplitHalves | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> TrustTable:
    """Score predictions against the truth and say what they are worth.

    Parameters
    ----------
    held
        The truth.
    predictions
        Contender -> (N, G) predicted responses. All but `model` and `controls` are baselines.
    model
        Which of them is judged.
    facts
        Where the numbers come from.
    titles
        Contender -> title for people.
    controls
        Which of them are negative controls: shown, but nothing to be beaten.
    halves
        Split halves of the truth, for the ceiling.
    n_draws, seed
        Of the bootstrap.
    """
    if model not in predictions:
        raise ConfigError(f"No prediction of {model!r}; there are: {', '.join(predictions)}.")
    names = [model, *(name for name in predictions if name != model)]
    known = facts or TrustFacts(model=model, title=(titles or {}).get(model, model))

    def contender(name: str) -> Contender:
        role: Role = "model" if name == model else "control" if name in controls else "baseline"
        return Contender(name, known.title if name == model else (titles or {}).get(name, name), role)

    board = make_board(held, predictions, [contender(name) for name in names], halves)
    evidence = Evidence(held, halves, predictions)
    return trust_table(board, known, n_draws=n_draws, seed=seed, evidence=evidence)

"""Several evaluated runs together: folds stacked, seeds averaged, models side by side and compared.

Runs belong together where they differ in fold and seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from pertcast.evaluation.bootstrap import N_DRAWS
from pertcast.evaluation.from_store.held_out_counts import pool_counts
from pertcast.evaluation.parts import TrustParts
from pertcast.evaluation.scores.pooled_boards import average_seeds, pool_boards
from pertcast.evaluation.scores.score_board import CLUSTER, ScoreBoard
from pertcast.evaluation.text import text_table, with_interval
from pertcast.evaluation.trust.comparison import Comparison, compare_boards
from pertcast.evaluation.trust.evidence import join_uncertainties, stack_evidence
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, trust_table
from pertcast_data.errors import ConfigError

from pertcast_jobs.evaluate.saving import Evaluation, save_trust

Kin = tuple[str, str, str, str]


def _kin(facts: TrustFacts) -> Kin:
    """Return what runs that may be pooled have in common."""
    return (facts.model, facts.config_hash, facts.data_hash, facts.split_hash)


def _command(evaluations: Sequence[Evaluation]) -> str:
    return "pertcast evaluate " + " ".join(evaluation.name for evaluation in evaluations)


def _runs(evaluations: Sequence[Evaluation]) -> tuple[Path, ...]:
    return tuple(run for evaluation in evaluations for run in evaluation.runs)


def _together(evaluations: Sequence[Evaluation]) -> TrustFacts:
    """Return the facts of several runs as one."""
    facts = [evaluation.trust.facts for evaluation in evaluations]
    rows = {fact.folds: fact.n_held_out_rows for fact in facts}
    return facts[0].model_copy(
        update={
            "folds": tuple(sorted({fold for fact in facts for fold in fact.folds})),
            "seeds": tuple(sorted({seed for fact in facts for seed in fact.seeds})),
            "bundle": ", ".join(fact.bundle for fact in facts),
            "n_held_out_rows": sum(rows.values()),
            "n_training_conditions": facts[0].n_training_conditions if len(rows) == 1 else 0,
            "left_out": tuple(dict.fromkeys(name for fact in facts for name in fact.left_out)),
            "remarks": tuple(dict.fromkeys(remark for fact in facts for remark in fact.remarks)),
        }
    )


def pool_seeds(
    evaluations: Sequence[Evaluation], folder: Path, *, n_draws: int = N_DRAWS, seed: int = 0
) -> Evaluation:
    """Average runs of one fold that differ in their training seed alone; intervals cover both.

    Profiles that are drawn, and gene structure, are those of the first seed.

    Raises
    ------
    ConfigError
        The runs differ in more than their seed, or share one.
    """
    facts = [evaluation.trust.facts for evaluation in evaluations]
    seeds = [seed for fact in facts for seed in fact.seeds]
    if len({(_kin(fact), fact.folds) for fact in facts}) != 1 or len(set(seeds)) != len(seeds):
        raise ConfigError(
            "Only runs of one configuration and one fold that differ in their seed can be averaged; these "
            f"have folds {[list(fact.folds) for fact in facts]} and seeds {seeds}."
        )
    ordered = sorted(evaluations, key=lambda evaluation: evaluation.trust.facts.seeds)
    board = average_seeds([evaluation.trust.board for evaluation in ordered], sorted(seeds))
    first = ordered[0]
    kept = [evaluation.evidence for evaluation in ordered if evaluation.evidence is not None]
    evidence = replace(kept[0], uncertainty=join_uncertainties(kept)) if kept else None
    trust = trust_table(
        board,
        _together(ordered),
        n_draws=n_draws,
        seed=seed,
        parts=_shared_parts(first.trust.parts),
        evidence=evidence,
    )
    command = _command(ordered)
    save_trust(trust, folder, command)
    return Evaluation(f"{len(seeds)} seeds", folder, trust, evidence, _runs(ordered), command)


def pool_folds(
    evaluations: Sequence[Evaluation], folder: Path, seed: int = 0, n_draws: int = N_DRAWS
) -> Evaluation:
    """Pool evaluations of one model on different folds of one split; write the result to `folder`.

    Raises
    ------
    ConfigError
        The runs differ in model, configuration or split, or share a fold.
    """
    facts = [evaluation.trust.facts for evaluation in evaluations]
    folds = [fold for fact in facts for fold in fact.folds]
    if len({_kin(fact) for fact in facts}) != 1 or len(set(folds)) != len(folds):
        named = sorted({(fact.model, fact.config_hash[:8], fact.split_hash[:8]) for fact in facts})
        raise ConfigError(
            "Only runs of one model and configuration on different folds of one split can be pooled; these "
            f"are {named} with folds {folds}."
        )
    names = [", ".join(map(str, fact.folds)) for fact in facts]
    board = pool_boards([evaluation.trust.board for evaluation in evaluations], names)
    kept = [evaluation.evidence for evaluation in evaluations if evaluation.evidence is not None]
    evidence = stack_evidence(kept) if len(kept) == len(evaluations) else None
    parts = _fold_parts(evaluations, board)
    trust = trust_table(
        board, _together(evaluations), n_draws=n_draws, seed=seed, parts=parts, evidence=evidence
    )
    command = _command(evaluations)
    save_trust(trust, folder, command)
    return Evaluation("pooled", folder, trust, evidence, _runs(evaluations), command)


def _shared_parts(first: TrustParts) -> TrustParts:
    """Return the parts that do not follow from scores and predictions, for runs of one fold."""
    return TrustParts(control_hits=first.control_hits, held_out=first.held_out)


def _fold_parts(evaluations: Sequence[Evaluation], board: ScoreBoard) -> TrustParts:
    """Return the parts that do not follow from scores and predictions, for runs of several folds."""
    counts = {
        evaluation.trust.facts.folds[0]: evaluation.trust.parts.held_out
        for evaluation in evaluations
        if evaluation.trust.parts.held_out is not None
    }
    held_out = None
    if len(counts) == len(evaluations):
        conditions = board.conditions
        held_out = pool_counts(counts, conditions[CLUSTER].n_unique(), conditions["cell_iname"].n_unique())
    return TrustParts(control_hits=evaluations[0].trust.parts.control_hits, held_out=held_out)


def can_be_pooled(evaluations: Sequence[Evaluation]) -> bool:
    """Whether these are several folds, or several seeds, of one model, configuration and split."""
    facts = [evaluation.trust.facts for evaluation in evaluations]
    places = [(fact.folds, fact.seeds) for fact in facts]
    return len(facts) > 1 and len({_kin(fact) for fact in facts}) == 1 and len(set(places)) == len(places)


def pool(
    evaluations: Sequence[Evaluation], folder: Path, *, n_draws: int = N_DRAWS, seed: int = 0
) -> Evaluation:
    """Pool runs that differ in fold and seed alone: seeds averaged within each fold, then folds stacked.

    Where the folds were trained with different seeds only those that all folds share are averaged; where
    each fold has a single training its seed does not matter.

    Raises
    ------
    ConfigError
        The runs do not belong together, or folds with several seeds share none.
    """
    by_fold: dict[tuple[int, ...], list[Evaluation]] = {}
    for evaluation in evaluations:
        by_fold.setdefault(evaluation.trust.facts.folds, []).append(evaluation)
    if len(by_fold) == 1:
        return pool_seeds(evaluations, folder, n_draws=n_draws, seed=seed)
    if all(len(members) == 1 for members in by_fold.values()):
        return pool_folds(evaluations, folder, n_draws=n_draws, seed=seed)
    averaged = []
    for folds, members in by_fold.items():
        kept = _of_seeds(members, _shared_seeds(list(by_fold.values())))
        place = folder / f"fold{folds[0]}"
        averaged.append(pool_seeds(kept, place, n_draws=n_draws, seed=seed) if len(kept) > 1 else kept[0])
    return pool_folds(averaged, folder, n_draws=n_draws, seed=seed)


def _shared_seeds(folds: Sequence[Sequence[Evaluation]]) -> set[int]:
    seeds = [{seed for member in members for seed in member.trust.facts.seeds} for members in folds]
    shared = set.intersection(*seeds)
    if not shared:
        raise ConfigError(
            f"No seed was trained on every fold (by fold: {[sorted(each) for each in seeds]}). Train the "
            "folds with the same seeds."
        )
    return shared


def _of_seeds(members: Sequence[Evaluation], seeds: set[int]) -> list[Evaluation]:
    return [member for member in members if seeds.issuperset(member.trust.facts.seeds)]


def groups(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Return the evaluations sorted into runs that differ in fold and seed alone, in the order given."""
    found: dict[Kin, list[Evaluation]] = {}
    for evaluation in evaluations:
        found.setdefault(_kin(evaluation.trust.facts), []).append(evaluation)
    return list(found.values())


def compare(evaluations: Sequence[Evaluation], *, n_draws: int = N_DRAWS, seed: int = 0) -> list[Comparison]:
    """Compare every two models that share folds of one split, condition by condition."""
    pairs = [
        (one, two) for one, two in combinations(evaluations, 2) if _share_conditions(one.trust, two.trust)
    ]
    return [
        compare_boards(
            (one.name, two.name), one.trust.board, two.trust.board, metric=one.trust.primary,
            n_draws=n_draws, seed=seed, n_comparisons=len(pairs),
        )
        for one, two in pairs
    ]  # fmt: skip


def _share_conditions(one: TrustTable, two: TrustTable) -> bool:
    same = (one.facts.data_hash, one.facts.split_hash, one.primary) == (
        two.facts.data_hash,
        two.facts.split_hash,
        two.primary,
    )
    if not same or set(one.facts.folds).isdisjoint(two.facts.folds):
        return False
    judged = set(one.board.conditions["condition_id"].to_list())
    return not judged.isdisjoint(two.board.conditions["condition_id"].to_list())


def side_by_side(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return one line a run: its primary metric, the strongest baseline's, and the outcome."""
    rows = []
    for evaluation in evaluations:
        trust = evaluation.trust
        own = trust.summary[trust.board.model.name][trust.primary]
        against = trust.strongest
        other = trust.summary[against.name][trust.primary] if against else None
        rows.append(
            [
                evaluation.name,
                trust.facts.title,
                ", ".join(str(fold) for fold in trust.facts.folds),
                ", ".join(str(seed) for seed in trust.facts.seeds),
                with_interval(own.mean, own.low, own.high),
                against.title if against else "",
                with_interval(other.mean, other.low, other.high) if other else "",
                trust.verdict.outcome,
            ]
        )
    primary = evaluations[0].trust.primary
    header = ["run", "model", "fold", "seed", primary, "strongest baseline", "its", "verdict"]
    return text_table(header, rows)

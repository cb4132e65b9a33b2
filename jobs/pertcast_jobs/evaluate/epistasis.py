"""Epistasis of a run's held-out pairs: measured against their singles, and as the model and baselines say.

Pairs come from what the fold held out; their singles may be training or held-out conditions, for they are
only what the measured pair is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import torch
from pertcast.analysis.epistasis import (
    InteractionAgreement,
    PairEpistasis,
    PairInteractions,
    PairMembers,
    finding_strongest,
    interaction_agreement,
    pair_interactions,
)
from pertcast.encoding import ConditionEncoder, make_training_data
from pertcast.evaluation.from_store.contenders import HeldOutInputs, SharedSums, forecast, solve
from pertcast.evaluation.from_store.held_out_part import first_units
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.trust.members import N_MEMBERS
from pertcast.evaluation.units import Units, lay_out_units
from pertcast.models.registry import baselines_for
from pertcast_data.errors import SchemaError
from pertcast_data.loading import pair_controls
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits.identity import Identity

from pertcast_jobs.evaluate.epistasis_blocks import PairControls, can_be_split, replicate_blocks
from pertcast_jobs.evaluate.runs import BASELINE_BATCH, OpenRun, open_run
from pertcast_jobs.evaluate.saving import Evaluation

MOST_PAIRS: Final = 500
"""Held-out pairs that are looked at, evenly spaced where there are more."""

ADDITIVE_RULE: Final = "additive"
_PAIR: Final = 2


@dataclass
class _Chosen:
    """Held-out pairs with their singles, by condition id, and what was left out."""

    n_held_out: int = 0
    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    members: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def keep(self, kept: Sequence[bool], reason: str) -> None:
        """Leave out the pairs that are not kept, and say why."""
        lost = len(kept) - sum(kept)
        if lost:
            self.remarks.append(f"{lost:,} of {len(kept):,} pairs left out: {reason}.")
        self.pairs = [pair for pair, keep in zip(self.pairs, kept, strict=True) if keep]
        self.members = [names for names, keep in zip(self.members, kept, strict=True) if keep]

    @property
    def conditions(self) -> list[str]:
        """Distinct condition ids of pairs and singles."""
        return list(dict.fromkeys(name for pair in self.pairs for name in pair))


def has_pairs(evaluation: Evaluation) -> bool:
    """Return whether an evaluation holds out combinations of two perturbations."""
    evidence = evaluation.evidence
    if evidence is None or N_MEMBERS not in evidence.held.conditions.columns:
        return False
    return bool((evidence.held.conditions[N_MEMBERS] == _PAIR).any())


def _held_out_pairs(run: OpenRun) -> _Chosen:
    """Find the pairs of the fold's test part whose two singles the store holds, in the same context."""
    identity = Identity.of(run.store)
    ids = identity.treated["condition_id"].to_list()
    columns = (identity.contexts, identity.treated["pert_type"].to_list(), identity.doses, identity.times)
    where = list(zip(*columns, strict=True))
    singles = {
        (place, members[0]): name
        for place, members, name in zip(where, identity.members, ids, strict=True)
        if len(members) == 1
    }
    tested = set(run.split.fold(run.fold).test)
    found = _Chosen()
    for place, members, name in zip(where, identity.members, ids, strict=True):
        if name not in tested or len(members) != _PAIR:
            continue
        found.n_held_out += 1
        own = [singles.get((place, member)) for member in members]
        if own[0] is not None and own[1] is not None:
            found.pairs.append((name, own[0], own[1]))
            found.members.append((members[0], members[1]))
    lost = found.n_held_out - len(found.pairs)
    if lost:
        found.remarks.append(
            f"{lost:,} of {found.n_held_out:,} held-out pairs left out: a single is not measured in the same "
            "context, by the same means, at the same dose and time."
        )
    if len(found.pairs) > MOST_PAIRS:
        chosen = np.linspace(0, len(found.pairs) - 1, MOST_PAIRS).astype(np.int64)
        kept = np.isin(np.arange(len(found.pairs)), chosen).tolist()
        found.keep(kept, f"{MOST_PAIRS:,} evenly spaced ones are looked at")
    return found


@dataclass(frozen=True)
class _Laid:
    """Units of the conditions of the chosen pairs, and their place among them by condition id."""

    units: Units
    controls: PairControls | None
    place: dict[str, int]


def _lay_out(run: OpenRun, chosen: _Chosen) -> _Laid:
    """Lay out the rows of pairs and singles; pairs that cannot be measured or predicted are left out."""
    pairing = pair_controls(run.store) if run.store.measure == "expression" else None
    controls = None if pairing is None else PairControls(pairing, pairing.means(run.reader))
    wanted = run.store.conditions.filter(pl.col("condition_id").is_in(chosen.conditions))
    rows = np.flatnonzero(np.isin(run.store.condition_of_row, wanted["condition_index"].to_numpy()))
    if pairing is not None:
        rows = rows[pairing.group_of_row[rows] >= 0]
    units = lay_out_units(run.store, rows.astype(np.int64), pairing)
    can_split = can_be_split(units, pairing)
    can_tell = _can_be_told(units, run.predictor.encoder)
    ids = units.conditions["condition_id"].to_list()
    for mask, reason in (
        (can_split, "a condition has a single replicate, or is compared with a single control"),
        (can_tell, "the model cannot name a perturbation"),
    ):
        good = {name for name, keep in zip(ids, mask.tolist(), strict=True) if keep}
        chosen.keep([good.issuperset(pair) for pair in chosen.pairs], reason)
    needed = set(chosen.conditions)
    if not needed:
        raise SchemaError(f"No held-out pair can be set against its singles. {' '.join(chosen.remarks)}")
    units = units.select_conditions(np.array([name in needed for name in ids]))
    place = {name: number for number, name in enumerate(units.conditions["condition_id"])}
    return _Laid(units, controls, place)


def _can_be_told(units: Units, encoder: ConditionEncoder) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return (N,) whether the model's encoder can name a condition."""
    _, good, _ = encoder.encode_lenient(units.table)
    unit_is_good = np.zeros(units.n_units, dtype=bool)
    unit_is_good[np.asarray(good)] = True
    found = np.ones(units.n_conditions, dtype=bool)
    found[units.condition[~unit_is_good]] = False
    return found


def _members_of(chosen: _Chosen, laid: _Laid, own_gene: FloatArray) -> PairMembers:
    """Return the pairs as places among the laid-out conditions."""
    places = np.array([[laid.place[name] for name in pair] for pair in chosen.pairs], dtype=np.int64)
    conditions = laid.units.conditions[places[:, 0]]
    table = conditions.select("condition_id", "cell_iname", "pert_type").with_columns(
        pl.Series("first", [first for first, _ in chosen.members]),
        pl.Series("second", [second for _, second in chosen.members]),
    )
    return PairMembers(
        table=table,
        both=places[:, 0],
        first=places[:, 1],
        second=places[:, 2],
        own_genes=own_gene[places[:, 0]].astype(np.int64),
    )


def _predictions(
    run: OpenRun, evaluation: Evaluation, inputs: HeldOutInputs, seed: int, progress: ProgressCallback
) -> dict[str, FloatArray]:
    """Return title -> (C, G) responses of pairs and singles: the model, its strongest baselines, the sum."""
    encoder, own = run.predictor.encoder, run.predictor.bundle.model_name
    kept = () if evaluation.evidence is None else tuple(evaluation.evidence.predictions)
    wanted = {*kept, ADDITIVE_RULE} - {own}
    found = {run.predictor.bundle.title: forecast(run.predictor.model, inputs.conditions, inputs).mean}
    data = make_training_data(
        run.store, run.split, run.fold, encoder, batch_size=BASELINE_BATCH, seed=seed, rank=0, world_size=1,
        reader=run.reader,
    )  # fmt: skip
    sums = SharedSums(data.statistics, progress)
    for entry in baselines_for(encoder.space):
        if entry.name in wanted:
            baseline = solve(entry, encoder.space, encoder.training_conditions, sums)
            found[entry.title] = forecast(baseline, inputs.conditions, inputs).mean
    return found


def epistasis_of_run(
    evaluation: Evaluation,
    *,
    n_draws: int,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> PairEpistasis | None:
    """Set the held-out pairs of an evaluated run against their singles, measured and predicted.

    Parameters
    ----------
    evaluation
        Of one run.
    n_draws, seed
        Of the intervals over pairs; the seed also deals replicates to blocks and resamples them.
    progress
        Told of training rows summed, then of pairs done.

    Returns
    -------
    PairEpistasis or None
        None where no pair is held out.

    Raises
    ------
    ConfigError
        There is no finished run.
    LeakageError
        Store or split are not those of the training.
    SchemaError
        No held-out pair has measured singles.
    """
    if not has_pairs(evaluation):
        return None
    run = open_run(evaluation.runs[0])
    chosen = _held_out_pairs(run)
    if not chosen.pairs:
        raise SchemaError(f"No held-out pair can be set against its singles. {' '.join(chosen.remarks)}")
    laid = _lay_out(run, chosen)
    units, controls = laid.units, laid.controls
    conditions = run.predictor.encoder.encode(units.table)
    first = torch.from_numpy(first_units(units))
    pairs = _members_of(chosen, laid, conditions.own_gene[first].numpy())
    blocks = replicate_blocks(units, run.reader, run.store.n_genes, controls, seed)
    measured = pair_interactions(pairs, blocks, seed=seed, progress=progress)
    inputs = HeldOutInputs(
        units, conditions, None if controls is None else controls.means, np.empty(0, np.int64), run.reader
    )
    said = _predictions(run, evaluation, inputs, seed, progress)
    contenders = tuple(
        interaction_agreement(title, pairs, measured, responses, n_draws=n_draws, seed=seed)
        for title, responses in said.items()
    )
    return _result(run, chosen, measured, contenders, n_draws, seed)


def _result(
    run: OpenRun,
    chosen: _Chosen,
    measured: PairInteractions,
    contenders: tuple[InteractionAgreement, ...],
    n_draws: int,
    seed: int,
) -> PairEpistasis:
    """Put the parts together, with what the size of the singles alone tells of the strongest pairs."""
    lengths = np.linalg.norm(measured.sum_of_singles, axis=1)
    area, precision = finding_strongest(measured, lengths, n_draws, seed)
    singles = {name for _, one, other in chosen.pairs for name in (one, other)}
    return PairEpistasis(
        measured=measured,
        contenders=contenders,
        sum_area=area,
        sum_precision=precision,
        n_held_out=chosen.n_held_out,
        n_singles=len(singles),
        n_training_singles=len(singles & set(run.split.fold(run.fold).train)),
        remarks=tuple(chosen.remarks),
        seed=seed,
    )

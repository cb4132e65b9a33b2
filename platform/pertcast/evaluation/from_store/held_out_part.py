"""From a store and a fold to the truth of its test part, in the terms of an encoder.

Conditions that the encoder cannot name (no structure, unknown gene) are left out for every contender, and
said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
import torch
from pertcast_data.errors import SchemaError
from pertcast_data.loading import ControlPairing, pair_controls
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits.identity import perturbation_members
from pertcast_data.store import ExpressionStore, RowReader
from pertcast_data.vocabulary import PAIR_SEPARATOR

from pertcast.encoding import ConditionEncoder
from pertcast.evaluation.from_store.contenders import HeldOutInputs
from pertcast.evaluation.from_store.replicates import pseudobulk_tests, replicate_tests
from pertcast.evaluation.from_store.store_cells import StoreCells
from pertcast.evaluation.from_store.store_truth import MeasuredResponses, measure_responses
from pertcast.evaluation.from_store.training_facts import (
    mean_rows,
    mean_training_responses,
    pools,
    train_mean_index,
    with_other_types,
)
from pertcast.evaluation.gene_tests.differential import cell_tests
from pertcast.evaluation.held_out import GeneTests, HeldOut, IndexArray
from pertcast.evaluation.scores.score_board import CLUSTER
from pertcast.evaluation.trust.members import N_MEMBERS, N_UNSEEN
from pertcast.evaluation.units import Units, lay_out_units
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.naming import condition_name

MOST_WELLS: Final = 20_000
"""At most this many single profiles are scored one by one; more are thinned out evenly."""

_FEWEST_CONDITIONS: Final = 2
_CARRIED: Final = (
    "condition_id",
    "cell_iname",
    "pert_type",
    "pert_id",
    "cmap_name",
    "pert_dose",
    "pert_time",
)


@dataclass(frozen=True)
class HeldOutPart:
    """The test part of a fold.

    Attributes
    ----------
    held
        The truth.
    measured
        The truth with its halves and its noise, for the ceilings.
    inputs
        What contenders are given.
    left_out
        Names of the held-out conditions that no features can be made for.
    remarks
        Sentences about what was thinned out.
    pairing
        The controls of each row of the store; None for measure "response".
    """

    held: HeldOut
    measured: MeasuredResponses
    inputs: HeldOutInputs
    left_out: tuple[str, ...]
    remarks: tuple[str, ...]
    pairing: ControlPairing | None = None

    @property
    def well_cluster(self) -> tuple[str, ...]:
        """The held-out perturbation of each scored well."""
        labels = self.held.conditions[CLUSTER].to_numpy()
        return tuple(labels[self.inputs.units.condition_of_row[self.inputs.wells]].tolist())


def _predictable(units: Units, encoder: ConditionEncoder) -> tuple[Units, tuple[str, ...]]:
    """Return the units of the conditions that the encoder can name, and the names of the other conditions."""
    _, good, problems = encoder.encode_lenient(units.table)
    if not problems:
        return units, ()
    can = np.zeros(units.n_units, dtype=bool)
    can[np.asarray(good)] = True
    keep = np.ones(units.n_conditions, dtype=bool)
    keep[units.condition[~can]] = False
    if keep.sum() < _FEWEST_CONDITIONS:
        raise SchemaError(
            f"{_how_many(int(keep.sum()))} of the {units.n_conditions} held-out conditions can be predicted, "
            f"and {_FEWEST_CONDITIONS} are needed to judge a model; the first that cannot: "
            f"{problems[0].message} Hold out something that has features, for example with "
            "`data split --kind random`."
        )
    rows = units.conditions.filter(pl.Series(~keep)).iter_rows(named=True)
    return units.select_conditions(keep), tuple(condition_name(row) for row in rows)


def _how_many(count: int) -> str:
    return "None" if count == 0 else f"Only {count}"


def first_units(units: Units) -> IndexArray:
    """Return (N,) the first unit of each condition."""
    return np.unique(units.condition, return_index=True)[1].astype(np.int64)


def held_out_table(units: Units, encoder: ConditionEncoder) -> pl.DataFrame:
    """Return what is known of the N conditions: identity, perturbation, replicates, applicability."""
    conditions = units.conditions
    clusters = [PAIR_SEPARATOR.join(members) for members in perturbation_members(conditions)]
    rows = np.bincount(units.condition, units.n_rows, units.n_conditions).astype(np.int64)
    applicability = encoder.applicability(units.table[first_units(units)])
    known = [name for name in applicability.columns if name not in (*_CARRIED, "n_rows", CLUSTER)]
    return conditions.select(_CARRIED).with_columns(
        pl.Series("n_rows", rows), pl.Series(CLUSTER, clusters), *applicability.select(known)
    )


def _wells(store: ExpressionStore, n_rows: int) -> tuple[IndexArray, tuple[str, ...]]:
    if store.info.layout != "dense" or store.measure != "expression":
        return np.empty(0, dtype=np.int64), ()
    if n_rows <= MOST_WELLS:
        return np.arange(n_rows), ()
    chosen = np.linspace(0, n_rows - 1, MOST_WELLS).astype(np.int64)
    return chosen, (f"Single profiles: {MOST_WELLS:,} of {n_rows:,} scored, evenly spaced.",)


def held_out_part(
    store: ExpressionStore,
    reader: RowReader,
    rows: IndexArray,
    encoder: ConditionEncoder,
    statistics: ConditionStatistics,
    seed: int = 0,
) -> HeldOutPart:
    """Measure the truth of held-out rows and lay out what contenders are given.

    Parameters
    ----------
    store, reader
        The truth; controls are the store's own.
    rows
        Held-out treated rows.
    encoder
        The model's.
    statistics
        Sums over the training rows: give the mean training response of each context and perturbation type.
    seed
        Of the split halves.

    Raises
    ------
    SchemaError
        There are no rows, fewer than two conditions can be predicted, or the genes differ.
    ControlsMissing
        A row has no controls.
    """
    if store.genes != encoder.space.genes:
        raise SchemaError(
            f"{store.path} has other genes than the model ({store.n_genes} and {encoder.space.n_genes}); "
            "evaluate on the store that it was trained on."
        )
    pairing = pair_controls(store) if store.measure == "expression" else None
    units, left_out = _predictable(lay_out_units(store, rows, pairing), encoder)
    control_means = pairing.means(reader) if pairing else None
    measured = measure_responses(units, reader, store.n_genes, pairing, control_means, seed)
    encoded = encoder.encode(units.table)
    first = torch.from_numpy(first_units(units))
    asked = encoded.take(first)
    means = mean_training_responses(statistics, encoder)
    table = with_other_types(held_out_table(units, encoder), asked, encoder)
    wells, thinned = _wells(store, len(units.rows))
    held = HeldOut(
        conditions=table,
        genes=store.genes,
        truth=measured.truth,
        control=measured.control,
        train_perturbed_mean=mean_rows(means, encoder.space),
        train_mean_index=train_mean_index(asked, encoder.space),
        pool=pools(table),
        cluster=np.unique(table[CLUSTER].to_numpy(), return_inverse=True)[1],
        own_gene=asked.own_gene.numpy(),
    )
    inputs = HeldOutInputs(units, encoded, control_means, wells, reader)
    return HeldOutPart(held, measured, inputs, left_out, thinned, pairing)


def with_seen_members(part: HeldOutPart, seen: Mapping[str, int]) -> HeldOutPart:
    """Return the part with `n_members` and `n_unseen_members` of each condition in its table.

    Parameters
    ----------
    part
        With `seen_pert` in its table, which decides for single perturbations.
    seen
        Combination's condition id -> how many of its members training shows alone (`Split.seen`); the number
        is null for a combination that is not told of.
    """
    table = part.held.conditions
    n_members = [len(members) for members in perturbation_members(table)]
    columns = zip(table["condition_id"], n_members, table["seen_pert"], strict=True)
    n_unseen = [
        (int(not is_seen) if count == 1 else None if name not in seen else count - seen[name])
        for name, count, is_seen in columns
    ]
    table = table.with_columns(
        pl.Series(N_MEMBERS, n_members, pl.Int64), pl.Series(N_UNSEEN, n_unseen, pl.Int64)
    )
    return replace(part, held=replace(part.held, conditions=table))


def measured_cells(
    part: HeldOutPart, store: ExpressionStore, reader: RowReader, seed: int = 0
) -> StoreCells | None:
    """Return the cells of a part; None where the store holds wells, signatures or responses."""
    if store.info.layout == "dense" or part.pairing is None:
        return None
    return StoreCells(store, reader, part.inputs.units, part.pairing, seed=seed)


def with_tests(
    part: HeldOutPart,
    reader: RowReader,
    cells: StoreCells | None,
    progress: ProgressCallback = no_progress,
) -> tuple[HeldOutPart, GeneTests | None]:
    """Test which genes truly respond, and keep the tests with the truth.

    Replicate profiles are tested against their controls. Cells are tested over batches where every condition
    has several (cells of one culture are no replicates), else one by one.

    Returns
    -------
    tuple
        The part, and the tests of single cells that populations are scored with; None without cells.
    """
    units, means, n_genes = part.inputs.units, part.inputs.control_means, part.held.n_genes
    if cells is None:
        tests = replicate_tests(units, reader, part.pairing, means, n_genes)
        return replace(part, held=replace(part.held, tests=tests)), None
    by_cell = cell_tests(cells, progress)
    by_batch = pseudobulk_tests(units, reader, means, n_genes)
    return replace(part, held=replace(part.held, tests=of_one_kind(by_batch, by_cell))), by_cell


def of_one_kind(by_batch: GeneTests | None, by_cell: GeneTests) -> GeneTests:
    """Return the tests over batches if they test every condition, else those of cells for all alike."""
    if by_batch is None or np.isnan(by_batch.q_value).all(axis=1).any():
        return by_cell
    return by_batch

"""A prediction and its truth, each an h5ad file of cells, as the held-out conditions everything scores.

Controls come from the truth file alone: what a submission says about unperturbed cells changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.evaluation.from_store.store_truth import MeasuredResponses
from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.other_tools.checks import (
    check_profiles,
    control_remarks,
    match_conditions,
    require_controls,
    scale_remarks,
    shared_genes,
)
from pertcast.evaluation.other_tools.file import CellFile, group_means, open_cells
from pertcast.evaluation.other_tools.labels import Columns, gene_positions
from pertcast.evaluation.other_tools.staged_cells import StagedCells
from pertcast.evaluation.other_tools.truth import context_of_condition, control_groups, measure_cells
from pertcast.evaluation.scores.score_board import CLUSTER


@dataclass(frozen=True)
class FileCells:
    """Cells of N conditions and of their controls, read from a file one condition at a time.

    Serves as the measured population (with the truth file's controls) and as the predicted one.
    """

    conditions: pl.DataFrame
    genes: tuple[str, ...]
    control_group: IndexArray
    staged: StagedCells
    rows_of_condition: tuple[IndexArray, ...]
    rows_of_control_group: tuple[IndexArray, ...] = ()

    def cells(self, condition: int) -> FloatArray:
        """Return (n, G) float32 cells of a condition."""
        return self.staged.take(self.rows_of_condition[condition])

    def controls(self, group: int) -> FloatArray:
        """Return (m, G) float32 control cells of a context."""
        return self.staged.take(self.rows_of_control_group[group])


@dataclass(frozen=True)
class AnndataPair:
    """A prediction beside its truth.

    Attributes
    ----------
    held
        The truth. Its training means are NaN: nothing is known about the training.
    responses
        The truth again with its halves, for the ceiling.
    prediction
        (N, G) float32 predicted mean responses, against the truth's controls.
    measured
        Cells of the truth.
    predicted
        Predicted cells; None for bulk predictions (one row a condition).
    columns
        Resolved names of the columns.
    contexts
        Names of the contexts; `held.pool` counts them.
    target_total
        What counts of a cell are scaled to.
    n_rows
        Treated cells of the truth.
    remarks
        What was aligned, converted or ignored, as sentences.
    """

    held: HeldOut
    responses: MeasuredResponses
    prediction: FloatArray
    measured: FileCells
    predicted: FileCells | None
    columns: Columns
    contexts: tuple[str, ...]
    target_total: float
    n_rows: int
    remarks: tuple[str, ...]


def open_pair(
    prediction: Path,
    truth: Path,
    columns: Columns | None = None,
    *,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> AnndataPair:
    """Read the two files that cell-eval takes.

    Parameters
    ----------
    prediction
        Predicted cells (or one profile) of every condition of the truth.
    truth
        Measured cells, with controls of every context.
    columns
        Names of the columns, common to both files.
    seed
        Of the split halves of the truth.
    progress
        Told of the rows read.

    Raises
    ------
    FormatError, SchemaError, UnitError
        A file cannot be read, lacks a column, a perturbation or the truth's genes, or its values are on no
        known scale.
    ControlsMissing
        The truth has no controls, or none in a context.
    """
    true = open_cells(truth, columns or Columns(), progress)
    said = open_cells(prediction, true.columns, progress)
    require_controls(true)
    remarks = [*match_conditions(said, true), *scale_remarks(said, true)]
    genes, gene_remarks = shared_genes(said, true)
    target = true.values.typical_total
    staged = true.stage(genes, target, progress)
    measured = _measured(true, staged, genes)
    responses = measure_cells(true, staged, seed)
    order = _places(said, true)
    predicted = FileCells(
        conditions=measured.conditions,
        genes=genes,
        control_group=measured.control_group,
        staged=said.stage(genes, target, progress),
        rows_of_condition=tuple(_rows_by_group(order, true.labels.conditions.height)),
    )
    means = group_means(predicted.staged, order, true.labels.conditions.height)
    profile_remarks = check_profiles(said, means, responses)
    is_bulk = said.rows_per_condition.max() == 1
    return AnndataPair(
        held=_held(true, genes, responses),
        responses=responses,
        prediction=(means - responses.control).astype(np.float32),
        measured=measured,
        predicted=None if is_bulk else predicted,
        columns=true.columns,
        contexts=true.labels.contexts,
        target_total=target,
        n_rows=int(true.rows_per_condition.sum()),
        remarks=(*gene_remarks, *remarks, *profile_remarks, *control_remarks(said, is_bulk)),
    )


def _rows_by_group(group_of_row: IndexArray, n_groups: int) -> list[IndexArray]:
    order = np.argsort(group_of_row, kind="stable")
    bounds = np.searchsorted(group_of_row[order], np.arange(n_groups + 1))
    return [order[low:high] for low, high in pairwise(bounds)]


def _places(said: CellFile, true: CellFile) -> IndexArray:
    """Return (M,) the truth's condition of each predicted cell, -1 for controls and what is ignored."""
    place = {name: number for number, name in enumerate(true.labels.conditions["condition_id"])}
    known = [place.get(name, -1) for name in said.labels.conditions["condition_id"]]
    result: IndexArray = np.array([*known, -1], dtype=np.int64)[said.labels.condition_of_row]
    return result


def _measured(true: CellFile, staged: StagedCells, genes: tuple[str, ...]) -> FileCells:
    return FileCells(
        conditions=_condition_table(true),
        genes=genes,
        control_group=context_of_condition(true),
        staged=staged,
        rows_of_condition=tuple(_rows_by_group(true.labels.condition_of_row, true.labels.conditions.height)),
        rows_of_control_group=tuple(_rows_by_group(control_groups(true), len(true.labels.contexts))),
    )


def _condition_table(true: CellFile) -> pl.DataFrame:
    conditions = true.labels.conditions
    return conditions.with_columns(
        pl.col("pert_id").alias("cmap_name"),
        pl.Series("n_rows", true.rows_per_condition),
        pl.col("pert_id").alias(CLUSTER),
    )


def _held(true: CellFile, genes: tuple[str, ...], responses: MeasuredResponses) -> HeldOut:
    table = _condition_table(true)
    n = table.height
    unknown: NDArray[np.float32] = np.full((1, len(genes)), np.nan, dtype=np.float32)
    return HeldOut(
        conditions=table,
        genes=genes,
        truth=responses.truth,
        control=responses.control,
        train_perturbed_mean=unknown,
        train_mean_index=np.zeros(n, dtype=np.int64),
        pool=context_of_condition(true),
        cluster=np.unique(table[CLUSTER].to_numpy(), return_inverse=True)[1].astype(np.int64),
        own_gene=gene_positions(genes, table),
    )

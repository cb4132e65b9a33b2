"""Mean responses of the cells of a truth file, with what its cells say about their noise."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse

from pertcast.evaluation.ceilings.ceiling import SplitHalves, halve
from pertcast.evaluation.ceilings.replicate_noise import FEWEST_DEGREES, POOL_ROWS, ReplicateNoise
from pertcast.evaluation.from_store.store_truth import MeasuredResponses
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.other_tools.file import CellFile, group_means
from pertcast.evaluation.other_tools.staged_cells import StagedCells


def measure_cells(true: CellFile, staged: StagedCells, seed: int) -> MeasuredResponses:
    """Measure the truth and its halves, every condition against the controls of its context."""
    condition, group = true.labels.condition_of_row, control_groups(true)
    n, n_contexts = true.labels.conditions.height, len(true.labels.contexts)
    context = context_of_condition(true)
    controls, means = group_means(staged, group, n_contexts), group_means(staged, condition, n)
    half = _half_of_row(true, seed)
    halves = [
        group_means(staged, np.where(half == side, condition, -1), n)
        - group_means(staged, np.where(half == side, group, -1), n_contexts)[context]
        for side in (0, 1)
    ]
    index = _splittable(true, half)
    return MeasuredResponses(
        truth=(means - controls[context]).astype(np.float32),
        control=controls[context].astype(np.float32),
        halves=SplitHalves(index, *(side[index].astype(np.float32) for side in halves)),
        noise=_noise(true, staged, means, controls),
    )


def _noise(
    true: CellFile, staged: StagedCells, means: FloatArray, controls: FloatArray
) -> ReplicateNoise | None:
    """Estimate the noise of the means from the scatter of cells; None where too few cells repeat another."""
    n_rows, groups = true.rows_per_condition, control_groups(true)
    if int((n_rows - 1).sum()) < FEWEST_DEGREES:
        return None
    rows = _residuals(staged, true.labels.condition_of_row, means)
    of_controls = _residuals(staged, groups, controls)
    shape = (len(n_rows), len(controls))
    share = (np.ones(len(n_rows)), (np.arange(len(n_rows)), context_of_condition(true)))
    return ReplicateNoise(
        row_residuals=rows,
        control_residuals=of_controls if len(of_controls) else rows,
        n_rows=n_rows,
        group_share=sparse.csr_matrix(share, shape),
        n_controls=np.bincount(groups[groups >= 0], minlength=len(controls)).astype(np.int64),
    )


def _residuals(staged: StagedCells, group_of_row: IndexArray, means: FloatArray) -> FloatArray:
    """Return (K, G) float32 residuals of evenly chosen cells from their group's mean, for its lost degree."""
    sizes = np.bincount(group_of_row[group_of_row >= 0], minlength=len(means))
    usable = np.flatnonzero((group_of_row >= 0) & (sizes[group_of_row] > 1))
    if len(usable) > POOL_ROWS:
        usable = usable[np.linspace(0, len(usable) - 1, POOL_ROWS).astype(np.int64)]
    own = group_of_row[usable]
    residuals = (staged.take(usable) - means[own]) * np.sqrt(sizes[own] / (sizes[own] - 1))[:, None]
    result: FloatArray = residuals.astype(np.float32)
    return result


def _half_of_row(true: CellFile, seed: int) -> IndexArray:
    """Return (M,) halves 0 and 1 of the cells of every condition and of every context's controls; -1 else."""
    treated, controls = halve(true.labels.condition_of_row, seed), halve(control_groups(true), seed)
    return np.where(true.labels.control_rows, controls, treated)


def _splittable(true: CellFile, half: IndexArray) -> IndexArray:
    """Return the conditions that have two halves, and so have the controls of their context."""
    condition = np.where(half < 0, -1, true.labels.condition_of_row)
    group = np.where(half < 0, -1, control_groups(true))
    has_halves = np.bincount(condition[condition >= 0], minlength=true.labels.conditions.height) > 0
    controls = np.bincount(group[group >= 0], minlength=len(true.labels.contexts)) > 0
    return np.flatnonzero(has_halves & controls[context_of_condition(true)]).astype(np.int64)


def context_of_condition(true: CellFile) -> IndexArray:
    """Return (N,) the context of each condition."""
    contexts = true.labels.conditions["cell_iname"].to_numpy()
    return np.searchsorted(true.labels.contexts, contexts).astype(np.int64)


def control_groups(true: CellFile) -> IndexArray:
    """Return (M,) the context of each control, -1 for treated cells."""
    return np.where(true.labels.control_rows, true.labels.context_of_row, -1)

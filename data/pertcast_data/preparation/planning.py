"""What a preparation will take and give, told before a value is read: for dry runs, and to fail early."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pertcast_data.preparation.config import (
    GeneSubset,
    LogNormalise,
    PreparationConfig,
    RobustZ,
    VariableGenes,
)
from pertcast_data.preparation.control_levels import choose_controls, line_controls, training_control_rows
from pertcast_data.preparation.fitting import (
    Fitting,
    require_enough_genes,
    require_fitting_steps,
    subset_genes,
)
from pertcast_data.progress import no_progress
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore

_BLOCK_BYTES = 4 * (32 << 20)


@dataclass(frozen=True, slots=True)
class PreparationPlan:
    """What would be done.

    Attributes
    ----------
    n_rows, n_training_rows
        Rows written, and rows looked at in each pass of the fit.
    n_passes
        Passes over the training rows.
    n_genes, n_genes_kept
        Genes of the store, and of the prepared one.
    n_plates, n_lines, n_rows_by_line
        For robust z: plates and cell lines that rows are measured against, and rows of the latter.
    estimated_bytes
        About what the prepared values take before compression.
    estimated_memory_bytes
        About what fitting and writing take beyond a store that is held in memory.
    """

    n_rows: int
    n_training_rows: int
    n_passes: int
    n_genes: int
    n_genes_kept: int
    n_plates: int
    n_lines: int
    n_rows_by_line: int
    estimated_bytes: int
    estimated_memory_bytes: int


def plan_preparation(
    store: ExpressionStore, split: Split, fold: int, config: PreparationConfig
) -> PreparationPlan:
    """Check what tables alone can tell, and count; errors as in `fit_preparation` and `prepare_store`."""
    split.check(store, fold)
    require_fitting_steps(store, config)
    n_kept = _kept(store, config)
    plates = lines = by_line = 0
    for step in config.steps:
        if isinstance(step, RobustZ):
            controls = line_controls(store, training_control_rows(store, split, fold))
            known = tuple(line for line, rows in controls.items() if len(rows) >= step.min_controls)
            choice = choose_controls(store, split, fold, known, step.min_controls)
            plates, lines = len(choice.plates), len(choice.lines)
            by_line = int((choice.group_of_row >= plates).sum())
    is_dense = store.info.layout == "dense" or config.steps[-1].step == "robust_z"
    share = n_kept / max(store.n_genes, 1)
    size = 4 * store.n_rows * n_kept if is_dense else int(8 * store.info.n_values * share)
    levels = 8 * (plates + lines) * n_kept
    return PreparationPlan(
        n_rows=store.n_rows,
        n_training_rows=len(Fitting(store, split, fold, no_progress).rows),
        n_passes=sum(_passes(step) for step in config.steps),
        n_genes=store.n_genes,
        n_genes_kept=n_kept,
        n_plates=plates,
        n_lines=lines,
        n_rows_by_line=by_line,
        estimated_bytes=size,
        estimated_memory_bytes=_BLOCK_BYTES + levels + min(size, 1 << 28),
    )


def _kept(store: ExpressionStore, config: PreparationConfig) -> int:
    """Return how many genes are left; at most so many where genes are named after a choice by variance."""
    places = np.arange(store.n_genes, dtype=np.int64)
    n_top: int | None = None
    for step in config.steps:
        if isinstance(step, GeneSubset) and n_top is None:
            places = places[subset_genes(store, places, step).kept]
        elif isinstance(step, VariableGenes):
            require_enough_genes(step.n_top, len(places))
            n_top = step.n_top
    return len(places) if n_top is None else n_top


def _passes(step: object) -> int:
    if isinstance(step, LogNormalise):
        return int(step.exclude_highly_expressed) + int(step.target_sum == "median")
    if isinstance(step, VariableGenes):
        return 2 if step.flavour == "seurat_v3" else 1
    return 0

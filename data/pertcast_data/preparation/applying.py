"""A store in its prepared form: a new store, the split that goes with it, the record of what was done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pertcast_data.preparation.blocks import Values, as_dense, read_block, stream
from pertcast_data.preparation.config import GeneSubset, LogNormalise, RobustZ, Step, VariableGenes
from pertcast_data.preparation.control_levels import (
    MAD_TO_SD,
    ControlChoice,
    RowLevels,
    choose_controls,
    median_and_mad,
)
from pertcast_data.preparation.fitted import FittedRobustZ, row_steps
from pertcast_data.preparation.preparation import Preparation, require_place, save_preparation
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.readers.source import rows_per_batch
from pertcast_data.splits import Fold, Split
from pertcast_data.splits.gene_names import perturbation_parts
from pertcast_data.splits.identity import Identity
from pertcast_data.store import ExpressionStore, RowReader, commit_manifest, create_store, read_manifest
from pertcast_data.store.staging import require_free


@dataclass(frozen=True)
class PreparedStore:
    """What `prepare_store` wrote.

    Attributes
    ----------
    store
        The prepared store, opened.
    split, split_path
        The same folds for it, and the file.
    preparation_path
        The fitted preparation, beside the split.
    n_plates, n_lines, n_rows_by_line
        For robust z: plates and cell lines that rows were measured against, and rows of the latter.
    """

    store: ExpressionStore
    split: Split
    split_path: Path
    preparation_path: Path
    n_plates: int = 0
    n_lines: int = 0
    n_rows_by_line: int = 0


def prepared_split_path(out: Path | str) -> Path:
    """Return where the split of a prepared store is written: `OUT.split.json`."""
    path = Path(out)
    return path.with_name(f"{path.name}.split.json")


def prepare_store(
    store: ExpressionStore,
    preparation: Preparation,
    out: Path | str,
    split: Split,
    progress: ProgressCallback = no_progress,
) -> PreparedStore:
    """Apply a preparation to every row of its store and write the result as a new store.

    Rows keep their observations and conditions; within a condition they are shuffled anew, so that a row is
    found by its `sig_id`. The folds of the split hold conditions and are written for the new store with its
    data hash, to `OUT.split.json`. Steps that training rows decided are recorded as fitted on that fold of
    that split: the auditor accepts it, and refuses every other split and fold.

    Robust z: see `choose_controls` for the controls that a row is measured against. The result is a store of
    responses (z_score), dense; otherwise the layout stays.

    Parameters
    ----------
    store, preparation, split
        They must belong together.
    out
        The store to create; must not exist, nor `OUT.split.json`.
    progress
        Told rows.

    Raises
    ------
    LeakageError
        The preparation belongs to another store or split.
    ConfigError
        `out` or its split exists, or another preparation lies beside them.
    ControlsMissing
        A row has too few controls for robust z.
    """
    target, split_path = Path(out), prepared_split_path(out)
    preparation.require(store, split)
    require_free(target)
    require_free(split_path)
    require_place(split_path, preparation)
    reader = store.reader("auto")
    levels = _row_levels(store, split, preparation, reader, progress)
    # Bound to the old split until the new one has its hash: a writer killed in between leaves a store that no
    # split is accepted for, never one that hides what was fitted.
    made = create_store(
        target,
        obs=store.obs,
        var=store.var[preparation.kept.tolist()],
        batches=_prepared_blocks(store, preparation, reader, levels),
        measure=preparation.measure,
        normalisation=preparation.normalisation,
        layout="dense" if levels is not None else store.info.layout,
        codec=None if levels is not None else store.info.codec,
        seed=store.info.seed,
        sources=store.info.sources,
        preprocessing=_recorded(store, split, preparation, split.hash),
        progress=progress,
    )
    try:
        renewed = _renewed(split, store, made)
        # Declared first: the audit looks at what the store says of itself.
        declared = _declare(made, _recorded(store, split, preparation, renewed.hash))
        renewed.check(declared, preparation.fold)
        renewed.save(split_path)
        preparation_path = save_preparation(split_path, preparation)
    except BaseException:
        split_path.unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        raise
    counts = (levels.n_plates, levels.n_lines, levels.n_rows_by_line) if levels else (0, 0, 0)
    return PreparedStore(declared, renewed, split_path, preparation_path, *counts)


def _prepared_blocks(
    store: ExpressionStore, preparation: Preparation, reader: RowReader, levels: RowLevels | None
) -> Iterator[Values]:
    steps = row_steps(preparation.fitted)
    rows = np.arange(store.n_rows, dtype=np.int64)
    if levels is None:
        yield from stream(reader, rows, store.n_genes, steps)
        return
    floor = _robust_z(preparation).min_mad
    size = rows_per_batch(store.n_genes)
    for start in range(0, store.n_rows, size):
        chosen = rows[start : start + size]
        yield _measured(as_dense(read_block(reader, chosen, steps)), levels, chosen, floor)


def _measured(
    values: NDArray[np.float32], levels: RowLevels, rows: NDArray[np.int64], floor: float
) -> NDArray[np.float32]:
    level = levels.level_of_row[rows]
    spread = np.float32(MAD_TO_SD) * np.maximum(levels.mad, np.float32(floor))
    scores: NDArray[np.float32] = (values - levels.centre[level]) / spread[level]
    return scores


def _row_levels(
    store: ExpressionStore,
    split: Split,
    preparation: Preparation,
    reader: RowReader,
    progress: ProgressCallback,
) -> RowLevels | None:
    fitted = preparation.fitted[-1]
    if not isinstance(fitted, FittedRobustZ):
        return None
    choice = choose_controls(
        store, split, preparation.fold, fitted.lines, _robust_z(preparation).min_controls
    )
    steps, n_genes = row_steps(preparation.fitted), len(preparation.kept)
    centre, mad = np.empty((2, len(choice.plates) + len(choice.lines), n_genes), np.float32)

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return as_dense(read_block(reader, rows, steps))

    for number, rows in enumerate(choice.plates):
        centre[number], mad[number] = median_and_mad(read, rows, n_genes)
        progress(number + 1, len(choice.plates), "controls of plates")
    for number, line in enumerate(choice.lines, start=len(choice.plates)):
        if line in choice.own:
            centre[number], mad[number] = median_and_mad(read, choice.own[line], n_genes)
        else:
            place = fitted.lines.index(line)
            centre[number], mad[number] = fitted.centre[place], fitted.mad[place]
    return _counted(choice, centre, mad)


def _counted(choice: ControlChoice, centre: NDArray[np.float32], mad: NDArray[np.float32]) -> RowLevels:
    n_plates = len(choice.plates)
    by_line = int((choice.group_of_row >= n_plates).sum())
    return RowLevels(choice.group_of_row, centre, mad, n_plates, len(choice.lines), by_line)


def _robust_z(preparation: Preparation) -> RobustZ:
    return next(step for step in preparation.config.steps if isinstance(step, RobustZ))


def _recorded(
    store: ExpressionStore, split: Split, preparation: Preparation, split_hash: str
) -> tuple[PreprocessingStep, ...]:
    """Return what was declared of the source (of this fold under the new hash), and what was done now."""
    fold = preparation.fold
    carried = tuple(
        step.model_copy(update={"split": split_hash})
        if step.split == split.hash and step.fold in (None, fold)
        else step
        for step in store.preprocessing
    )
    done = tuple(_step_record(step, split, split_hash, fold) for step in preparation.config.steps)
    return (*carried, *done)


def _step_record(step: Step, split: Split, split_hash: str, fold: int) -> PreprocessingStep:
    note = step.model_dump_json(exclude={"step", "genes"})
    bound = PreprocessingStep(step=step.step, fitted_on="train", split=split_hash, fold=fold, note=note)
    match step:
        case LogNormalise(target_sum=target, exclude_highly_expressed=excludes):
            if target == "median" or excludes:
                return bound
            return PreprocessingStep(step=step.step, fitted_on="nothing", note=note)
        case VariableGenes():
            return bound
        case GeneSubset():
            return PreprocessingStep(step="gene_subset", fitted_on="nothing", note=note)
        case RobustZ():
            named = {"step": "robust_z_score"}
            if split.controls == "separate":
                return bound.model_copy(update=named)
            return PreprocessingStep(**named, fitted_on="controls", note=note)


def _renewed(split: Split, store: ExpressionStore, made: ExpressionStore) -> Split:
    """Return the split with the conditions of each part in the new store's order, and its data hash."""
    place = {name: number for number, name in enumerate(made.conditions["condition_id"].to_list())}
    folds = tuple(_ordered(fold, place) for fold in split.folds)
    aliases = (*split.aliases, *_lost_names(split, store, made))
    return split.model_copy(update={"data_hash": made.data_hash, "folds": folds, "aliases": aliases})


def _lost_names(split: Split, store: ExpressionStore, made: ExpressionStore) -> list[tuple[str, str]]:
    """Return what perturbed genes are called, as aliases, where only genes that were left out told it."""
    before = Identity.of(store, split.aliases)
    after = Identity.of(made, split.aliases)
    parts = {
        part
        for text, compound in zip(before.written, before.compounds, strict=True)
        if compound is None
        for part in perturbation_parts(text)
    }
    named = [(part, before.genes.canonical(part), after.genes.canonical(part)) for part in sorted(parts)]
    return [(part, meant) for part, meant, now in named if meant != now]


def _ordered(fold: Fold, place: dict[str, int]) -> Fold:
    parts = {
        name: tuple(sorted(getattr(fold, name), key=place.__getitem__))
        for name in ("train", "validation", "test")
    }
    return fold.model_copy(update=parts)


def _declare(store: ExpressionStore, steps: tuple[PreprocessingStep, ...]) -> ExpressionStore:
    """Put `steps` into the facts of a store that has just been made, and open it anew."""
    manifest = read_manifest(store.path)
    info = store.info.model_copy(update={"preprocessing": steps})
    commit_manifest(
        store.path, manifest.records, {**manifest.facts, "store": info.model_dump()}, consolidate=False
    )
    return ExpressionStore.open(store.path)

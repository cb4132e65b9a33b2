"""Fit a preparation on training rows: treated rows of the training part, and controls that it trains with.

Nothing else of the store is read, so that no test row can have a say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError, LeakageError, SchemaError, UnknownGene
from pertcast_data.preparation.blocks import Values, as_dense, library_sizes, read_block, stream
from pertcast_data.preparation.config import (
    GeneSubset,
    LogNormalise,
    PreparationConfig,
    RobustZ,
    VariableGenes,
)
from pertcast_data.preparation.control_levels import line_controls, median_and_mad, training_control_rows
from pertcast_data.preparation.fitted import (
    FittedGenes,
    FittedLogNormalise,
    FittedRobustZ,
    FittedStep,
    gene_steps,
    kept_genes,
    row_steps,
)
from pertcast_data.preparation.preparation import Preparation
from pertcast_data.preparation.variability import best_genes, normalised_dispersion, standardised_variance
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits import Split
from pertcast_data.splits.provenance import row_hash
from pertcast_data.store import ExpressionStore, RowReader
from pertcast_data.store.genes import gene_names
from pertcast_data.vocabulary import Measure, Normalisation

_TRUE_WORDS = ("true", "1", "1.0", "yes")


def fit_preparation(
    store: ExpressionStore,
    split: Split,
    fold: int,
    config: PreparationConfig,
    progress: ProgressCallback = no_progress,
) -> Preparation:
    """Fit every step of `config`, in order, each on the values that the steps before it make.

    A pure function of the training rows: the treated rows of the fold's training part, and the controls that
    may be trained with (all of them, or with `--controls separate` those of groups that are not tested).

    Parameters
    ----------
    store, split, fold
        What is prepared, and for which fold; audited first.
    config
        From `preparation_config`.
    progress
        Told rows of each pass.

    Raises
    ------
    LeakageError
        The split does not belong to the store, leaks, or the genes were chosen on all rows before.
    ConfigError
        A step does not fit what the values are.
    UnknownGene, SchemaError
        Genes that are named are not there; values are missing.
    """
    split.check(store, fold)
    require_fitting_steps(store, config)
    fitting = Fitting(store, split, fold, progress)
    for step in config.steps:
        match step:
            case LogNormalise():
                fitting = fitting.after(fitting.log_normalise(step), "log1p_cpm")
            case VariableGenes():
                fitting = fitting.after(fitting.variable_genes(step))
            case GeneSubset():
                fitting = fitting.after(subset_genes(store, fitting.genes, step))
            case RobustZ():
                fitting = fitting.after(fitting.robust_z(step), "z_score")
    measure: Measure = "response" if fitting.normalisation == "z_score" else store.measure
    rows = fitting.rows
    return Preparation(
        config=config,
        data_hash=store.data_hash,
        split_hash=split.hash,
        fold=fold,
        n_rows=len(rows),
        rows_hash=row_hash(rows),
        n_genes=store.n_genes,
        genes=gene_names(store.var[fitting.genes.tolist()]),
        measure=measure,
        normalisation=fitting.normalisation,
        fitted=fitting.fitted,
    )


def require_fitting_steps(store: ExpressionStore, config: PreparationConfig) -> None:
    """Raise ConfigError where a step does not fit the values as they are when its turn comes."""
    normalisation: Normalisation = store.normalisation
    for step in config.steps:
        if isinstance(step, LogNormalise):
            _require(normalisation == "counts", store, "log_normalise (--log1p) needs counts; leave it out")
            normalisation = "log1p_cpm"
        elif isinstance(step, VariableGenes) and step.flavour == "seurat_v3":
            told = "flavour seurat_v3 needs counts; use flavour dispersion on log1p values"
            _require(store.normalisation == "counts", store, told)
        elif isinstance(step, VariableGenes):
            told = "flavour dispersion needs log1p values; put log_normalise (--log1p) before it"
            _require(normalisation == "log1p_cpm", store, told)
        elif isinstance(step, RobustZ):
            told = "robust_z needs expression levels on a log scale; responses are relative already"
            _require(store.measure == "expression", store, told)
            told = "robust_z needs expression levels on a log scale; put log_normalise (--log1p) before it"
            _require(normalisation in ("log1p_cpm", "log2_intensity"), store, told)


def require_enough_genes(n_top: int, n_genes: int) -> None:
    """Raise ConfigError where more variable genes are asked than there are genes."""
    if n_top > n_genes:
        raise ConfigError(
            f"{n_top} variable genes are asked of {n_genes}. Ask for fewer (--hvg), or leave it out."
        )


def _require(fits: bool, store: ExpressionStore, told: str) -> None:
    if not fits:
        raise ConfigError(f"{store.path} holds {store.normalisation} ({store.measure}): {told}.")


@dataclass(frozen=True)
class Fitting:
    """Steps fitted so far, and what the next one needs.

    Attributes
    ----------
    store, split, fold, progress
        As `fit_preparation` got them.
    fitted
        Steps fitted so far.
    """

    store: ExpressionStore
    split: Split
    fold: int
    progress: ProgressCallback
    fitted: tuple[FittedStep, ...] = ()
    now: Normalisation | None = None
    opened: RowReader | None = None

    @property
    def normalisation(self) -> Normalisation:
        """What the values are after the steps so far."""
        return self.now or self.store.normalisation

    @property
    def genes(self) -> NDArray[np.int64]:
        """Places of the genes left, among the store's."""
        return kept_genes(self.fitted, self.store.n_genes)

    @property
    def reader(self) -> RowReader:
        """The store's reader."""
        return self.opened or self.store.reader("auto")

    @property
    def rows(self) -> NDArray[np.int64]:
        """Training rows, ascending: treated ones and controls."""
        treated = self.split.rows(self.store, self.fold, "train")
        controls = training_control_rows(self.store, self.split, self.fold)
        return np.union1d(treated, controls).astype(np.int64)

    def after(self, step: FittedStep, now: Normalisation | None = None) -> Fitting:
        """Return the state after `step`."""
        return replace(self, fitted=(*self.fitted, step), now=now or self.now, opened=self.reader)

    def log_normalise(self, step: LogNormalise) -> FittedLogNormalise:
        """Fit library sizes: which genes count, and their median where that is the target."""
        counted = np.ones(len(self.genes), bool)
        if step.exclude_highly_expressed:
            for block in self._pass("highly expressed genes", gene_steps(self.fitted)):
                counted &= ~_dominating(block, step.max_fraction)
        if step.target_sum != "median":
            return FittedLogNormalise(float(step.target_sum), counted)
        blocks = self._pass("library sizes", gene_steps(self.fitted))
        sizes = np.concatenate([library_sizes(block, counted) for block in blocks])
        filled = sizes[sizes > 0]
        if not len(filled):
            raise SchemaError(f"{self.store.path}: every training row is empty. Check the counts.")
        return FittedLogNormalise(float(np.median(filled)), counted)

    def variable_genes(self, step: VariableGenes) -> FittedGenes:
        """Fit the genes that vary most."""
        n_genes, n_rows = len(self.genes), len(self.rows)
        require_enough_genes(step.n_top, n_genes)
        if step.flavour == "seurat_v3":
            counts = gene_steps(self.fitted)
            scores = standardised_variance(
                lambda: self._pass("variance of counts", counts), n_rows, n_genes, step.span
            )
        else:
            steps = row_steps(self.fitted)
            scores = normalised_dispersion(
                lambda: self._pass("dispersion", steps), n_rows, n_genes, step.n_bins
            )
        return FittedGenes(best_genes(scores, step.n_top))

    def robust_z(self, step: RobustZ) -> FittedRobustZ:
        """Fit the levels of each cell line that has enough training controls."""
        steps, reader = row_steps(self.fitted), self.reader
        controls = training_control_rows(self.store, self.split, self.fold)
        lines = {
            line: rows
            for line, rows in line_controls(self.store, controls).items()
            if len(rows) >= step.min_controls
        }
        n_genes = len(self.genes)
        centre, mad = np.empty((2, len(lines), n_genes), np.float32)
        for number, rows in enumerate(lines.values()):
            centre[number], mad[number] = median_and_mad(
                lambda chosen: as_dense(read_block(reader, chosen, steps)), rows, n_genes
            )
            self.progress(number + 1, len(lines), "controls of cell lines")
        return FittedRobustZ(tuple(lines), centre, mad)

    def _pass(self, note: str, steps: Iterable[FittedGenes | FittedLogNormalise]) -> Iterable[Values]:
        return stream(self.reader, self.rows, self.store.n_genes, steps, self.progress, note)


def _dominating(block: Values, max_fraction: float) -> NDArray[np.bool_]:
    """Return the genes that hold more than a share of the counts of at least one row."""
    totals = library_sizes(block)
    found: NDArray[np.bool_] = np.any(as_dense(block) > max_fraction * totals[:, None], axis=0)
    return found


def subset_genes(store: ExpressionStore, places: NDArray[np.int64], step: GeneSubset) -> FittedGenes:
    """Find the genes that a user names among those left.

    Raises
    ------
    UnknownGene
        A gene is not there and `missing` is "refuse".
    LeakageError
        The column is a selection by variance that somebody made before, on rows nobody knows.
    SchemaError
        The column is not there, or no gene is left.
    """
    var = store.var[places.tolist()]
    chosen = _by_column(store, var, step.column) if step.column else _by_name(store, var, step)
    if not chosen.any():
        raise SchemaError(
            f"No gene of {store.path} is left by {step.column or 'the list of genes'}. Check it."
        )
    return FittedGenes(np.flatnonzero(chosen).astype(np.int64))


def _by_name(store: ExpressionStore, var: pl.DataFrame, step: GeneSubset) -> NDArray[np.bool_]:
    wanted = set(step.genes)
    aliases = [var[name].cast(pl.String).to_list() for name in ("gene_id", "gene_symbol")]
    names = list(zip(gene_names(var), *aliases, strict=True))
    known = {name for each in names for name in each if name}
    lost = [name for name in step.genes if name not in known]
    if lost and step.missing == "refuse":
        raise UnknownGene(
            lost[0],
            known,
            where=f"the list of genes to keep ({len(lost)} of {len(wanted)} are not in {store.path})",
            remedy="Correct the list, or leave them out knowingly with --omit-missing-genes.",
        )
    return np.array([any(name in wanted for name in each if name) for each in names], dtype=np.bool_)


def _by_column(store: ExpressionStore, var: pl.DataFrame, column: str) -> NDArray[np.bool_]:
    if column not in var.columns:
        raise SchemaError(
            f"The gene table of {store.path} has no column {column!r}; it has {', '.join(var.columns)}."
        )
    if PreprocessingStep(step=column, fitted_on="all").role == "gene_selection":
        raise LeakageError(
            f"Column {column!r} of {store.path} is a selection that was made before, probably on all "
            "profiles, tested ones among them. Choose variable genes on training rows instead: --hvg N."
        )
    words = var[column].cast(pl.String).str.to_lowercase().fill_null("")
    return words.is_in(_TRUE_WORDS).to_numpy().astype(np.bool_)

"""One opened h5ad file of cells: its values, labels and genes, and the means of its conditions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pertcast_data.errors import SchemaError, UnitError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.readers.anndata.h5ad import H5adSource

from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.other_tools.labels import CellLabels, Columns, read_labels
from pertcast.evaluation.other_tools.staged_cells import LOG_CEILING, StagedCells, ValueSurvey, stage, survey
from pertcast.evaluation.units import add_by_label


@dataclass(frozen=True)
class CellFile:
    """A file whose columns were found and whose values were surveyed.

    Attributes
    ----------
    path
        The file.
    source
        Its reader.
    columns
        Resolved names.
    labels
        What each cell is.
    genes
        Names of its genes.
    values
        What its values look like.
    """

    path: Path
    source: H5adSource
    columns: Columns
    labels: CellLabels
    genes: tuple[str, ...]
    values: ValueSurvey

    @property
    def n_cells(self) -> int:
        """M."""
        return len(self.labels.condition_of_row)

    @property
    def rows_per_condition(self) -> IndexArray:
        """(K,) cells of each condition."""
        rows = self.labels.condition_of_row
        return np.bincount(rows[rows >= 0], minlength=self.labels.conditions.height).astype(np.int64)

    def stage(self, genes: tuple[str, ...], target_total: float, progress: ProgressCallback) -> StagedCells:
        """Copy the cells over `genes` (all in the file) to a temporary file, as log1p."""
        place = {gene: number for number, gene in enumerate(self.genes)}
        kept = np.array([place[gene] for gene in genes], dtype=np.int64)
        return stage(self.source, self.values, kept, target_total, progress)


def open_cells(path: Path, columns: Columns, progress: ProgressCallback = no_progress) -> CellFile:
    """Open an h5ad file of cells.

    Parameters
    ----------
    path
        The file.
    columns
        Names of its columns; those left open are decided by what the file has.
    progress
        Told of the rows surveyed.

    Raises
    ------
    FormatError
        It is no whole h5ad file.
    SchemaError
        A column is absent or has gaps, a gene stands twice, a value is missing.
    UnitError
        A value is too large for a logarithm, in a file that holds no counts.
    """
    source = H5adSource(path)
    obs = source.obs()
    resolved = columns.resolve(obs, path)
    genes = tuple(source.var()["source_id"].to_list())
    distinct, counts = np.unique(np.array(genes, dtype=str), return_counts=True)
    if (counts > 1).any():
        raise SchemaError(
            f"{path}: gene {str(distinct[counts > 1][0])!r} stands {int(counts.max())} times in var. Make "
            "the names unique (anndata: var_names_make_unique) in the same way in both files."
        )
    labels = read_labels(obs, resolved, path)
    values = survey(source, progress)
    if values.scale == "log1p" and values.maximum >= LOG_CEILING:
        raise UnitError(
            f"{path}: X reaches {values.maximum:.4g}, too much for log1p values, and holds fractions, so it "
            "is no table of counts. Write counts of every cell, or log1p of normalised counts of every cell."
        )
    return CellFile(path, source, resolved, labels, genes, values)


def group_means(cells: StagedCells, group_of_row: IndexArray, n_groups: int) -> FloatArray:
    """Return (n_groups, G) float64 means of groups of cells; zeros for empty ones, -1 is left out."""
    sums = np.zeros((n_groups, cells.n_genes))
    for block in read_blocks(len(group_of_row)):
        rows = np.arange(block.start, block.stop)
        kept = rows[group_of_row[block] >= 0]
        if len(kept):
            add_by_label(sums, group_of_row[kept], cells.take(kept))
    counts = np.bincount(group_of_row[group_of_row >= 0], minlength=n_groups)
    means: FloatArray = sums / np.maximum(counts, 1)[:, None]
    return means

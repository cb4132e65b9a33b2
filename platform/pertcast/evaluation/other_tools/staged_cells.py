"""Cells of one h5ad file, on one scale and one list of genes, ready to be read condition by condition.

Two passes over the file: one surveys the values, one copies them uncompressed into an unnamed temporary
file. Memory stays bounded by a batch of the reader and by the largest condition that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import scipy.sparse as sparse
from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.readers.anndata.h5ad import H5adSource
from pertcast_data.readers.source import ProfileBatch, as_dense, stored_values
from pertcast_data.readers.spill import scratch_array

from pertcast.evaluation.held_out import FloatArray, IndexArray

Scale = Literal["counts", "log1p"]

FRACTION: Final = 1e-3
"""Values farther than this from every whole number are no counts."""

LOG_CEILING: Final = 25.0
"""Logarithms do not reach this: log1p of cells stays below 15, log2 intensities of bulk assays below 17."""

_EXP_CEILING: Final = 50.0


@dataclass(frozen=True)
class ValueSurvey:
    """What the values of a file look like.

    Attributes
    ----------
    minimum, maximum
        Of all values.
    share_negative
        Of all values, 0..1.
    scale
        "counts" where every value is whole, "log1p" otherwise.
    totals
        (M,) float64 sum of each cell in natural space: of counts, or of exp(x) - 1.
    n_stored
        Values that the file stores.
    """

    minimum: float
    maximum: float
    share_negative: float
    scale: Scale
    totals: FloatArray
    n_stored: int

    @property
    def typical_total(self) -> float:
        """Median over cells that are not empty."""
        filled = self.totals[self.totals > 0]
        return float(np.median(filled)) if len(filled) else 1.0


def survey(source: H5adSource, progress: ProgressCallback = no_progress) -> ValueSurvey:
    """Look at every value of a file once.

    Raises
    ------
    SchemaError
        A value is missing or infinite.
    """
    n_rows, n_genes = source.schema().n_rows, source.schema().n_genes
    low, high, negative, stored, fractional, first = 0.0, 0.0, 0, 0, False, 0
    sums, natural = np.zeros(n_rows), np.zeros(n_rows)
    for batch in source.batches():
        values = np.asarray(stored_values(batch))
        _require_finite(batch, values, source, first)
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            negative += int((values < 0).sum())
            fractional = fractional or bool((np.abs(values - np.rint(values)) > FRACTION).any())
        rows = slice(first, first + batch.shape[0])
        sums[rows] = np.asarray(batch.sum(axis=1, dtype=np.float64)).ravel()
        natural[rows] = _natural_totals(batch)
        stored += values.size
        first = rows.stop
        progress(first, n_rows, f"{source.path.name}, values surveyed")
    cells = n_rows * n_genes
    return ValueSurvey(
        minimum=low,
        maximum=high,
        share_negative=negative / cells if cells else 0.0,
        scale="log1p" if fractional else "counts",
        totals=natural if fractional else sums,
        n_stored=stored,
    )


def _natural_totals(batch: ProfileBatch) -> FloatArray:
    natural = batch.astype(np.float32)
    values = stored_values(natural)
    np.exp(np.minimum(values, _EXP_CEILING), out=values)
    values -= 1.0
    totals: FloatArray = np.asarray(natural.sum(axis=1, dtype=np.float64)).ravel()
    return totals


def _require_finite(batch: ProfileBatch, values: FloatArray, source: H5adSource, first: int) -> None:
    if np.isfinite(values).all():
        return
    dense = as_dense(batch)
    row, gene = (int(place) for place in np.argwhere(~np.isfinite(dense))[0])
    raise SchemaError(
        f"{source.path}: X is {float(dense[row, gene])} in row {first + row} "
        f"({source.obs()['source_id'][first + row]!r}), gene {source.var()['source_id'][gene]!r}. Every gene "
        "of every cell needs a number: write 0 where nothing was counted, or leave the gene out of the files."
    )


@dataclass(frozen=True)
class StagedCells:
    """M cells over G genes, log-normalised, in the file's order.

    Attributes
    ----------
    n_genes
        G.
    values
        (M, G) float32 on disk, or the stored values of a row-compressed matrix.
    columns, pointers
        Of the row-compressed matrix; None for a dense one.
    """

    n_genes: int
    values: FloatArray
    columns: IndexArray | None
    pointers: IndexArray | None

    def take(self, rows: IndexArray) -> FloatArray:
        """Return (n, G) float32 of the given rows."""
        if self.columns is None or self.pointers is None:
            dense: FloatArray = np.asarray(self.values[rows])
            return dense
        starts, counts = self.pointers[rows], np.diff(self.pointers)[rows]
        ends = np.cumsum(counts)
        place = np.repeat(starts - np.r_[0, ends[:-1]], counts) + np.arange(ends[-1] if len(ends) else 0)
        matrix = np.zeros((len(rows), self.n_genes), dtype=np.float32)
        matrix[np.repeat(np.arange(len(rows)), counts), self.columns[place]] = self.values[place]
        return matrix


def stage(
    source: H5adSource,
    surveyed: ValueSurvey,
    genes: IndexArray,
    target_total: float,
    progress: ProgressCallback = no_progress,
) -> StagedCells:
    """Copy the cells of a file into a temporary file, counts brought to log1p on the way.

    Parameters
    ----------
    source, surveyed
        The file and what its values look like.
    genes
        (G,) columns of the file that are kept, in the order wanted.
    target_total
        Counts of a cell are scaled to this sum, over all genes of the file, before log(1 + x).
    progress
        Told of the rows done.
    """
    schema = source.schema()
    whole = np.array_equal(genes, np.arange(schema.n_genes))
    is_sparse = schema.layout == "csr"
    shape = (surveyed.n_stored,) if is_sparse else (schema.n_rows, len(genes))
    values = scratch_array(shape, np.float32)
    columns = scratch_array(shape, np.int32) if is_sparse else None
    pointers = np.zeros(schema.n_rows + 1, dtype=np.int64)
    first = 0
    for batch in source.batches():
        rows = slice(first, first + batch.shape[0])
        scaled = _log_scale(batch, surveyed, rows, target_total)
        kept: Any = scaled if whole else scaled[:, genes]
        if columns is None:
            values[rows] = kept
        else:
            start = int(pointers[first])
            pointers[rows.start + 1 : rows.stop + 1] = start + kept.indptr[1:]
            stop = int(pointers[rows.stop])
            values[start:stop], columns[start:stop] = kept.data, kept.indices
        first = rows.stop
        progress(first, schema.n_rows, f"{source.path.name}, cells copied")
    return StagedCells(len(genes), values, columns, pointers if is_sparse else None)


def _log_scale(batch: ProfileBatch, surveyed: ValueSurvey, rows: slice, target_total: float) -> ProfileBatch:
    """Return log1p of x / (total / target), float32 throughout.

    Rank tests see which cells are tied, and rounding decides that: this is the order of operations of the
    normalisation that most log1p files were written with (scanpy), and of cell-eval.
    """
    single: Any = batch.astype(np.float32)
    if surveyed.scale == "log1p":
        return single  # type: ignore[no-any-return]
    totals = surveyed.totals[rows].astype(np.float32)
    divisors = np.where(totals > 0, totals / np.float32(target_total), np.float32(1.0))
    if sparse.issparse(single):
        single.data = np.log1p(single.data / np.repeat(divisors, np.diff(single.indptr)))
        return single  # type: ignore[no-any-return]
    dense: ProfileBatch = np.log1p(single / divisors[:, None])
    return dense

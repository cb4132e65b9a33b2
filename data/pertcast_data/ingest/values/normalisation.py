"""What the numbers are: counts, log1p, log2 intensities or responses, told from the values themselves.

A declared normalisation is checked; where nothing fits, it is an error with the line to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pertcast_data.errors import SchemaError
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.values.doubts import (
    LOG_BASES,
    LOG_CEILING,
    ValueSummary,
    spread_of,
    totals_before_log,
    value_doubts,
)
from pertcast_data.readers.source import ProfileBatch, as_dense, stored_values
from pertcast_data.vocabulary import Measure, Normalisation

_SAMPLE_ROWS: Final = 4096
_ROWS_FOR_TOTALS: Final = 512
_INTENSITY_MEDIAN: Final = 2.0
_LARGEST: Final = float(np.finfo(np.float32).max)


def summarise(batches: Iterable[ProfileBatch]) -> ValueSummary:
    """Look at the first profiles (about 4,096) of a file."""
    stored: list[npt.NDArray[np.float64]] = []
    sums: dict[float, list[npt.NDArray[np.float64]]] = {base: [] for base in LOG_BASES}
    n_rows = n_cells = n_genes = 0
    for batch in batches:
        part = batch[: _SAMPLE_ROWS - n_rows]
        values = np.asarray(stored_values(part), np.float64).ravel()
        # What is missing tells nothing, and what float32 cannot hold is refused when it is read.
        stored.append(values[np.abs(values) <= _LARGEST])
        if n_rows < _ROWS_FOR_TOTALS:
            for base, found in sums.items():
                found.append(totals_before_log(part[: _ROWS_FOR_TOTALS - n_rows], base))
        n_rows += part.shape[0]
        n_genes = part.shape[1]
        n_cells += part.shape[0] * n_genes
        if n_rows >= _SAMPLE_ROWS:
            break
    values = np.concatenate(stored) if stored else np.zeros(0)
    filled = values[values != 0]
    extremes = [*filled[[filled.argmin(), filled.argmax()]].tolist()] if len(filled) else [0.0]
    extremes += [0.0] if n_cells > len(filled) else []
    n_known = max(1, n_cells)
    mean = float(filled.sum() / n_known)
    are_logarithms = min(extremes) >= 0 and max(extremes) <= LOG_CEILING
    kept = sums.items() if are_logarithms and n_rows else ()
    return ValueSummary(
        minimum=min(extremes),
        maximum=max(extremes),
        median=float(np.median(filled)) if len(filled) else 0.0,
        share_of_zeros=1 - len(filled) / n_cells if n_cells else 0.0,
        are_whole=bool(np.all(filled == np.floor(filled))),
        mean=mean,
        sd=float(np.sqrt(max(0.0, float(np.square(filled).sum()) / n_known - mean**2))),
        n_genes=n_genes,
        totals={base: spread_of(np.concatenate(found)) for base, found in kept},
    )


def guess_normalisation(summary: ValueSummary) -> Normalisation | None:
    """Return what the values look like, None where they look like nothing that is known."""
    if summary.minimum < 0:
        return "z_score"
    if summary.are_whole:
        return "counts"
    if summary.maximum > LOG_CEILING:
        return None
    is_filled = summary.share_of_zeros < 0.2
    return "log2_intensity" if is_filled and summary.median > _INTENSITY_MEDIAN else "log1p_cpm"


def decide_values(
    summary: ValueSummary,
    path: Path,
    measure: Measure | None,
    normalisation: Normalisation | None,
    findings: Findings,
) -> tuple[Measure, Normalisation]:
    """Settle measure and normalisation: what is declared, checked, else what the values look like.

    Raises
    ------
    SchemaError
        The values contradict what is declared, or look like nothing that is known.
    """
    looks = guess_normalisation(summary)
    if normalisation is None and measure == "expression" and summary.minimum < 0:
        raise SchemaError(
            f"{path}: values go down to {summary.minimum:g}, so they are no known expression levels. "
            "Say `normalisation:` in the mapping file, or `measure: response`."
        )
    chosen = normalisation or looks
    if chosen is None:
        raise SchemaError(
            f"{path}: values of {summary.minimum:g} to {summary.maximum:g} with fractions are neither counts "
            "nor logarithms. Bring raw counts or log1p values, or say `normalisation:` in the mapping file."
        )
    _check(summary, path, chosen)
    findings.warnings += value_doubts(summary, chosen, normalisation is not None)
    natural: Measure = "response" if chosen in ("z_score", "log_fold_change") else "expression"
    findings.decide("normalisation", f"= {chosen}", "given" if normalisation else "guessed")
    findings.decide("measure", f"= {measure or natural}", "given" if measure else "guessed")
    return measure or natural, chosen


def _check(summary: ValueSummary, path: Path, normalisation: Normalisation) -> None:
    if normalisation == "counts" and (summary.minimum < 0 or not summary.are_whole):
        raise SchemaError(
            f"{path}: declared as counts, but values ({summary.minimum:g} to {summary.maximum:g}) are "
            "negative or have fractions. Correct `normalisation:` in the mapping file or bring raw counts."
        )
    if normalisation in ("log1p_cpm", "log2_intensity") and summary.minimum < 0:
        raise SchemaError(
            f"{path}: declared as {normalisation}, but values go down to {summary.minimum:g}. Correct "
            "`normalisation:` in the mapping file."
        )
    if normalisation in ("log1p_cpm", "log2_intensity") and summary.maximum > LOG_CEILING:
        raise SchemaError(
            f"{path}: declared as {normalisation}, but values go up to {summary.maximum:g}: these are no "
            "logarithms. Correct `normalisation:` in the mapping file."
        )


def _is_odd(values: npt.NDArray[np.floating]) -> bool:
    """Return whether a value is missing, infinite, or would be infinite in a store."""
    if values.dtype.itemsize <= 4:
        return not np.isfinite(values.sum(dtype=np.float64))
    # The sum of large numbers overflows where none of them does; a missing one is in no range.
    return bool(values.size) and not (values.min() >= -_LARGEST and values.max() <= _LARGEST)


@dataclass(slots=True)
class ValueWatch:
    """Counts missing values while profiles stream by, and refuses those that float32 cannot hold.

    Attributes
    ----------
    path
        The file, for messages.
    first_row
        Row of the file that the first batch begins with.
    n_missing, rows_with_missing
        What has been seen.
    """

    path: Path
    first_row: int = 0
    n_missing: int = 0
    rows_with_missing: int = 0

    def watch(self, batches: Iterable[ProfileBatch]) -> Iterator[ProfileBatch]:
        """Pass batches on; raises SchemaError at the first infinite value."""
        first = self.first_row
        for batch in batches:
            values = stored_values(batch)
            if values.dtype.kind == "f" and _is_odd(values):
                self._look(batch, values, first)
            first += batch.shape[0]
            yield batch

    def _look(self, batch: ProfileBatch, values: npt.NDArray[np.floating], first: int) -> None:
        if (np.abs(values) > _LARGEST).any():
            dense = as_dense(batch)
            row, gene = (int(place[0]) for place in np.nonzero(np.abs(dense) > _LARGEST))
            value = dense[row, gene]
            what = f"is {value:g}, beyond what float32 holds" if np.isfinite(value) else "is infinite"
            raise SchemaError(
                f"{self.path}: the value of row {first + row}, gene {gene} {what}. Correct the file."
            )
        missing = np.isnan(values)
        self.n_missing += int(missing.sum())
        dense_missing = missing if missing.ndim == 2 else np.isnan(as_dense(batch))
        self.rows_with_missing += int(dense_missing.any(axis=1).sum())

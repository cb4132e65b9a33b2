"""Batches on their way into sorted runs: checked, narrowed, and written to disk beyond a budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback
from pertcast_data.store.building.runs import MemoryRun, Run, sorted_block, write_run
from pertcast_data.store.info import Layout
from pertcast_data.store.row_blocks import (
    VALUE_TYPES,
    NarrowBatch,
    batch_layout,
    narrow_batch,
    widest,
)
from pertcast_data.vocabulary import Normalisation


@dataclass(frozen=True)
class CollectedRows:
    """All rows of a source in sorted runs, and what only reading them could tell."""

    layout: Layout
    runs: tuple[Run, ...]
    n_rows: int

    @property
    def n_values(self) -> int:
        """Stored values."""
        return sum(run.n_values for run in self.runs)

    @property
    def value_type(self) -> np.dtype[Any]:
        """The narrowest type that holds every value; float32 for dense rows."""
        found = VALUE_TYPES[0] if self.layout == "csr" else VALUE_TYPES[-1]
        for run in self.runs:
            found = widest(found, run.value_type)
        return found


@dataclass(slots=True)
class RunCollector:
    """Gathers narrow batches and makes a sorted run of them whenever they exceed a budget.

    Attributes
    ----------
    folder
        Where runs are written, as 0.run, 1.run, ...; made when it is needed.
    budget_bytes
        Bytes of batches that one run is made of.
    keep_last
        Whether the last run stays in memory.
    name
        Put before the number of a run's file.
    """

    folder: Path
    budget_bytes: int
    keep_last: bool = True
    name: str = ""
    runs: list[Run] = field(default_factory=list)
    _batches: list[NarrowBatch] = field(default_factory=list)
    _places: list[NDArray[np.int64]] = field(default_factory=list)
    _held: int = 0

    def add(self, batch: NarrowBatch, places: NDArray[np.int64]) -> None:
        """Take a batch whose rows go to `places`."""
        self._batches.append(batch)
        self._places.append(places)
        self._held += batch.nbytes
        if self._held > self.budget_bytes:
            self._write()

    def finish(self) -> tuple[Run, ...]:
        """Return all runs."""
        if self._batches and self.keep_last:
            self.runs.append(MemoryRun(self._take()))
        elif self._batches:
            self._write()
        return tuple(self.runs)

    def _write(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.runs.append(write_run(self.folder / f"{self.name}{len(self.runs)}", self._take()))

    def _take(self) -> Any:
        block = sorted_block(self._batches, self._places)
        self._batches.clear()
        self._places.clear()
        self._held = 0
        return block


def collect_rows(
    batches: Iterable[Any],
    *,
    destination: NDArray[np.int64],
    n_genes: int,
    layout: Layout | Literal["auto"],
    normalisation: Normalisation,
    collector: RunCollector,
    progress: ProgressCallback,
) -> CollectedRows:
    """Bring every row of `batches` into a sorted run.

    Parameters
    ----------
    batches
        In source order, see `create_store`.
    destination
        (n_rows,) int64, stored row of each source row.

    Raises
    ------
    SchemaError
        There is no row, or the batches hold more or fewer rows than `destination`.
    """
    n_rows = len(destination)
    if not n_rows:
        raise SchemaError("There are no rows to store: obs is empty.")
    chosen: Layout | None = None if layout == "auto" else layout
    first_row = 0
    for batch in batches:
        chosen = chosen or batch_layout(batch)
        narrow = narrow_batch(batch, chosen, n_genes, normalisation, first_row)
        places = destination[first_row : first_row + narrow.n_rows]
        if len(places) < narrow.n_rows:
            raise SchemaError(f"The batches hold more than the {n_rows} rows of obs.")
        if narrow.n_rows:
            collector.add(narrow, places)
        first_row += narrow.n_rows
        progress(first_row, 2 * n_rows, "reading")
    if first_row != n_rows or chosen is None:
        raise SchemaError(f"The batches hold {first_row} rows, obs has {n_rows}.")
    return CollectedRows(chosen, collector.finish(), n_rows)


def inverse_permutation(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the stored row of each source row, given the source row of each stored row."""
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.arange(len(order))
    return inverse

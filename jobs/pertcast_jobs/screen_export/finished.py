"""A finished screen on disk, read in blocks of rows: tables, profiles, ranks of genes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray
from pertcast_data.errors import CorruptStore, FormatError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.readers.source import rows_per_batch
from pertcast_data.store.frames import read_frame
from pertcast_data.store.genes import gene_names
from pertcast_data.store.zarr_layout import open_array

RESPONSE: Final = "response"
EXPRESSION: Final = "expression"
_TABLE_ROWS: Final = 16_384
_SPARSE: Final = 4
"""Rows are read with all that lies between them where they span at most so many times their number."""


@dataclass(frozen=True)
class FinishedScreen:
    """A screen whose manifest stands.

    Attributes
    ----------
    path
        Its folder.
    genes
        Names of the G genes.
    var
        Table of genes.
    n_profiles
        Number of profiles.
    layers
        "response", and "sd" and "expression" where the screen holds them.
    bundle
        What the manifest says of the model: model_id, measure, normalisation...
    """

    path: Path
    genes: tuple[str, ...]
    var: pl.DataFrame
    n_profiles: int
    layers: tuple[str, ...]
    bundle: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> FinishedScreen:
        """Open a screen.

        Raises
        ------
        FormatError
            The folder holds no finished screen.
        """
        try:
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            group = zarr.open_group(str(path / "profiles.zarr"), mode="r")
            var = read_frame(group["var"])  # type: ignore[arg-type]
            layers = (RESPONSE, *sorted(str(name) for name in group["layers"]))  # type: ignore[union-attr]
            n_profiles, bundle = int(manifest["n_profiles"]), dict(manifest["bundle"])
        except (OSError, KeyError, ValueError) as error:
            raise FormatError(
                f"{path} holds no finished screen ({error}). Make or resume one with `pertcast screen`."
            ) from error
        return cls(path, gene_names(var), var, n_profiles, layers, bundle)

    @property
    def block_rows(self) -> int:
        """Profiles that are read at once: about 32 MiB of float32."""
        return rows_per_batch(len(self.genes))

    @property
    def sig_info_columns(self) -> list[str]:
        """Names of the columns of sig_info."""
        return list(pq.read_schema(self.path / "sig_info.parquet").names)

    def sig_info(
        self, columns: Sequence[str], rows: NDArray[np.int64] | None = None, at_once: int = _TABLE_ROWS
    ) -> Iterator[pl.DataFrame]:
        """Yield columns of sig_info in blocks; of some rows (ascending) only where they are given."""
        first = 0
        for block in self._table("sig_info.parquet", columns, at_once):
            last = first + block.height
            if rows is None:
                yield block
            else:
                low, high = np.searchsorted(rows, [first, last])
                if high > low:
                    yield block[rows[low:high] - first]
            first = last
        if first != self.n_profiles:
            raise CorruptStore(
                f"{self.path / 'sig_info.parquet'} has {first:,} rows, the manifest says "
                f"{self.n_profiles:,}. Run the screen again in another folder."
            )

    def hits(self) -> Iterator[pl.DataFrame]:
        """Yield the ranked hits in blocks, best first."""
        return self._table("hits.parquet", None, _TABLE_ROWS)

    def _table(self, name: str, columns: Sequence[str] | None, at_once: int) -> Iterator[pl.DataFrame]:
        path = self.path / name
        try:
            with pq.ParquetFile(path) as file:
                asked = None if columns is None else list(columns)
                for batch in file.iter_batches(batch_size=at_once, columns=asked):
                    yield pl.from_arrow(batch).with_columns(pl.col(pl.Categorical).cast(pl.String))  # type: ignore[union-attr,misc]
        except FileNotFoundError as error:
            raise FormatError(f"{path}: is not there. The screen was not finished, or is damaged.") from error

    def profiles(
        self, layer: str, rows: NDArray[np.int64], progress: ProgressCallback = no_progress
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield a layer of the given rows (ascending) in blocks: place of the first, (M, G) float32."""
        for start in range(0, len(rows), self.block_rows):
            chosen = rows[start : start + self.block_rows]
            yield start, self.read(layer, chosen)
            progress(start + len(chosen), len(rows), "" if layer == RESPONSE else f"layer {layer}")

    def read(self, layer: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a layer of some rows (ascending), (M, G) float32."""
        name = "X" if layer == RESPONSE else f"layers/{layer}"
        return _rows_of(open_array(self.path / "profiles.zarr", name, mode="r"), rows).astype(np.float32)

    def descending(self, rows: NDArray[np.int64], responses: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return (M, G) the genes of each response from the highest to the lowest.

        The order was taken before rounding to float16 (ranks.zarr). Of a screen that was written without
        ranks it is that of the rounded values, ties in gene order.
        """
        if not (self.path / "ranks.zarr").is_dir():
            return np.argsort(-responses, axis=1, kind="stable")
        place = _rows_of(open_array(self.path / "ranks.zarr", "rank", mode="r"), rows).astype(np.int64)
        order = np.empty_like(place)
        np.put_along_axis(order, place, np.broadcast_to(np.arange(place.shape[1]), place.shape), axis=1)
        return order


def _rows_of(array: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    first, last = int(rows[0]), int(rows[-1]) + 1
    if last - first <= _SPARSE * len(rows):
        return np.asarray(array[first:last])[rows - first]
    return np.asarray(array.oindex[rows])

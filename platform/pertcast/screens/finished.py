"""A finished screen on disk, read in blocks of rows: tables, profiles, ranks of genes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray
from pertcast_data.errors import CorruptStore, FormatError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.readers.source import rows_per_batch
from pertcast_data.store.frames import read_frame
from pertcast_data.store.genes import gene_names

from pertcast.analysis.enrichment import Ranks, inverse, ranked_order
from pertcast.screens.files import HITS, MANIFEST, PROFILES, RANK, RANKS, SIG_INFO
from pertcast.screens.intact import REMEDY, require_intact
from pertcast.screens.manifest import read_manifest
from pertcast.screens.profile_read import ProfileRead

RESPONSE: Final = "response"
EXPRESSION: Final = "expression"
_TABLE_ROWS: Final = 16_384


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
    files
        What the manifest records of its files; empty for a screen that records none.
    checks_chunks
        Whether chunks of profiles and ranks are hashed when they are first read. Else their sizes alone are
        compared: a search of the whole screen would take longer to hash than to answer.

    Each other file is compared with its record when it is first read.
    """

    path: Path
    genes: tuple[str, ...]
    var: pl.DataFrame
    n_profiles: int
    layers: tuple[str, ...]
    bundle: dict[str, Any]
    files: dict[str, Any] = field(default_factory=dict)
    checks_chunks: bool = True
    _intact: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, *, checks_chunks: bool = True) -> FinishedScreen:
        """Open a screen.

        Raises
        ------
        ConfigError
            The folder holds no finished screen.
        CorruptStore
            A file of it is missing or not as it was written.
        """
        manifest = read_manifest(path)
        try:
            n_profiles, bundle = int(manifest["n_profiles"]), dict(manifest["bundle"])
            files = dict(manifest.get("files") or {})
        except (KeyError, ValueError, TypeError) as error:
            raise CorruptStore(
                f"{path / MANIFEST} does not say what a screen holds ({error!r}). {REMEDY}"
            ) from error
        require_intact(path, manifest, (PROFILES, RANKS), checksum=False)
        described = [name for name in files if name.endswith("zarr.json") or "/var/" in name]
        require_intact(path, manifest, described)
        try:
            group = zarr.open_group(str(path / PROFILES), mode="r")
            var = read_frame(group["var"])  # type: ignore[arg-type]
            layers = (RESPONSE, *sorted(str(name) for name in group["layers"]))  # type: ignore[union-attr]
        except (OSError, KeyError, ValueError) as error:
            raise CorruptStore(f"{path / PROFILES} cannot be read ({error}). {REMEDY}") from error
        return cls(path, gene_names(var), var, n_profiles, layers, bundle, files, checks_chunks)

    def require(self, names: Sequence[str]) -> None:
        """Compare files with what the manifest records of them, each once; raises CorruptStore."""
        new = [name for name in names if name not in self._intact]
        require_intact(
            self.path, {"files": {name: self.files[name] for name in new if name in self.files}}, new
        )
        self._intact.update(new)

    @property
    def block_rows(self) -> int:
        """Profiles that are read at once: about 32 MiB of float32."""
        return rows_per_batch(len(self.genes))

    @property
    def sig_info_columns(self) -> list[str]:
        """Names of the columns of sig_info."""
        self.require([SIG_INFO])
        return list(pq.read_schema(self.path / SIG_INFO).names)

    def sig_info(
        self, columns: Sequence[str], rows: NDArray[np.int64] | None = None, at_once: int = _TABLE_ROWS
    ) -> Iterator[pl.DataFrame]:
        """Yield columns of sig_info in blocks; of some rows (ascending) only where they are given."""
        first = 0
        for block in self._table(SIG_INFO, columns, at_once):
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
                f"{self.path / SIG_INFO} has {first:,} rows, the manifest says "
                f"{self.n_profiles:,}. Run the screen again in another folder."
            )

    def hits(self) -> Iterator[pl.DataFrame]:
        """Yield the ranked hits in blocks, best first."""
        return self._table(HITS, None, _TABLE_ROWS)

    def _table(self, name: str, columns: Sequence[str] | None, at_once: int) -> Iterator[pl.DataFrame]:
        path = self.path / name
        if not path.is_file():
            raise FormatError(f"{path}: is not there. The screen was not finished, or is damaged. {REMEDY}")
        self.require([name])
        try:
            with pq.ParquetFile(path) as file:
                asked = None if columns is None else list(columns)
                for batch in file.iter_batches(batch_size=at_once, columns=asked):
                    yield pl.from_arrow(batch).with_columns(pl.col(pl.Categorical).cast(pl.String))  # type: ignore[union-attr,misc]
        except (pa.ArrowException, pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
            raise CorruptStore(f"{path}: cannot be read ({error}). {REMEDY}") from error

    def profiles(
        self, layer: str, rows: NDArray[np.int64], progress: ProgressCallback = no_progress
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield a layer of the given rows (ascending) in blocks: place of the first, (M, G) float32."""
        for start in range(0, len(rows), self.block_rows):
            chosen = rows[start : start + self.block_rows]
            yield start, self.read(layer, chosen)
            progress(start + len(chosen), len(rows), "" if layer == RESPONSE else f"layer {layer}")

    def read(self, layer: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a layer of some rows, (M, G) float32."""
        name = "X" if layer == RESPONSE else f"layers/{layer}"
        return self._rows(PROFILES, name, rows).astype(np.float32)

    def strongest(self, count: int) -> dict[int, NDArray[np.float32]]:
        """Return row -> response (G,) of the first hits, best first; as stored."""
        score = pl.concat(list(self.sig_info(["score"])))["score"].to_numpy()
        order = np.argsort(-score, kind="stable")[:count].astype(np.int64)
        rising = np.sort(order)
        profiles = dict(zip(rising.tolist(), self.read(RESPONSE, rising), strict=True))
        return {row: profiles[row] for row in order.tolist()}

    @property
    def has_ranks(self) -> bool:
        """Whether the screen was written with ranks, and they were not taken out."""
        return (self.path / RANKS).is_dir()

    def ranks(self, rows: NDArray[np.int64]) -> Ranks:
        """Return the stored place of each gene from 0 = highest, (M, G); taken before rounding to float16."""
        found = self._rows(RANKS, RANK, rows)
        if found.size and (found.shape[1] != len(self.genes) or int(found.max()) >= len(self.genes)):
            raise CorruptStore(f"{self.path / RANKS} holds ranks that no gene has. {REMEDY}")
        return found

    def descending(self, rows: NDArray[np.int64], responses: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return (M, G) the genes of each response from the highest to the lowest.

        By the stored ranks. Of a screen without them it is the order of the rounded values, ties in gene
        order.
        """
        return inverse(self.ranks(rows), np.int64) if self.has_ranks else ranked_order(responses)

    def _rows(self, group: str, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows of an array as they are stored, whose files are compared with their records before."""
        try:
            read = ProfileRead(self.path / group, name)
            if self.checks_chunks:
                touched = np.unique(rows // read.shard_rows).tolist()
                self.require([f"{group}/{name}/c/{number}/0" for number in touched])
            return read.exact(rows)
        except (OSError, RuntimeError, ValueError, LookupError) as error:
            raise CorruptStore(f"{self.path / group / name}: cannot be read ({error}). {REMEDY}") from error

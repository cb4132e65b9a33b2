"""Profiles of a finished screen or of a store, opened alike: a table of rows, genes, and reading by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray
from pertcast.screens.files import MANIFEST, PROFILES, SIG_INFO
from pertcast.screens.manifest import read_manifest
from pertcast_data.errors import ConfigError, FormatError, SchemaError, nearest_known
from pertcast_data.reading import ProfileReader
from pertcast_data.store import ExpressionStore
from pertcast_data.store.frames import read_frame
from pertcast_data.store.genes import gene_names
from pertcast_data.store.readers import RowReader
from pertcast_data.store.zarr_layout import open_array

_GAP_ROWS: Final = 64
"""Rows further apart than this are read by themselves."""
_COLUMNS: Final = ("pert_id", "cmap_name", "pert_type", "cell_iname", "targets", "condition_id")


@dataclass(frozen=True)
class OpenProfiles:
    """Profiles that can be read.

    Attributes
    ----------
    path
        Where they lie.
    table
        One row a profile: row, pert_id, cmap_name, pert_type, cell_iname, targets, condition_id (null where
        the source has none).
    genes
        Names of the genes of a profile.
    read
        Reads (M, G) float32 by row.
    store, reader
        The store and the reader behind `read`; None for a screen.
    """

    path: Path
    table: pl.DataFrame
    genes: tuple[str, ...]
    read: ProfileReader
    store: ExpressionStore | None
    reader: RowReader | None = None

    @property
    def is_response(self) -> bool:
        """Whether values are relative already."""
        return self.store is None or self.store.measure == "response"


class RunReader:
    """Reads rows of a screen's profiles; rows close together are read at once.

    Parameters
    ----------
    root
        The Zarr group.
    """

    def __init__(self, root: Path) -> None:
        self._array = open_array(root, "X", mode="r")

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read rows (M,) in any order, as (M, G) float32."""
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return np.asarray(self._array[int(rows[0]) : int(rows[-1]) + 1], dtype=np.float32)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        found = np.empty((len(rows), self._array.shape[1]), dtype=np.float32)
        cuts = np.flatnonzero(np.diff(ordered) > _GAP_ROWS) + 1
        for part in np.split(np.arange(len(rows)), cuts):
            first, last = int(ordered[part[0]]), int(ordered[part[-1]]) + 1
            block = np.asarray(self._array[first:last])
            found[order[part]] = block if len(block) == len(part) else block[ordered[part] - first]
        return found


def open_profiles(path: Path) -> OpenProfiles:
    """Open a finished screen or a store.

    Raises
    ------
    FormatError, CorruptStore
        There is neither at `path`, or it is damaged.
    """
    if (path / PROFILES).is_dir() and (path / MANIFEST).is_file():
        read_manifest(path)
        table = pl.read_parquet(path / SIG_INFO)
        genes = gene_names(read_frame(zarr.open_group(str(path / PROFILES), mode="r")["var"]))  # type: ignore[arg-type]
        return OpenProfiles(path, _table(table), genes, RunReader(path / PROFILES), None)
    if (path / PROFILES).is_dir() or (path / ".parts").is_dir():
        raise FormatError(
            f"{path} holds an unfinished screen. Run its `pertcast screen` command again to finish it."
        )
    if not path.is_dir():
        raise FormatError(f"There is no folder {path}. Name a finished screen or a store.")
    store = ExpressionStore.open(path)
    reader = store.reader()
    return OpenProfiles(path, _table(store.obs), store.genes, reader.dense, store, reader)


def _table(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [
        frame[name].cast(pl.String) if name in frame.columns else pl.lit(None, pl.String).alias(name)
        for name in _COLUMNS
    ]
    return frame.select(columns).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


def in_lines(opened: OpenProfiles, cells: Sequence[str] | None) -> pl.DataFrame:
    """Return the rows of some cell lines (of all where None), those without a line left out.

    Raises
    ------
    ConfigError
        A line is not known here.
    """
    table = opened.table.filter(pl.col("cell_iname").is_not_null() & (pl.col("cell_iname") != ""))
    known = table["cell_iname"].unique().sort().to_list()
    if not known:
        raise SchemaError(
            f"{opened.path} names no cell line (cell_iname is null). Ingest it with cell lines."
        )
    if cells is None:
        return table
    return table.filter(pl.col("cell_iname").is_in(list(cells)))


def require_lines(cells: Sequence[str] | None, *sources: OpenProfiles) -> None:
    """Check that every line asked for is known to one of the sources.

    Raises
    ------
    ConfigError
        Names the first that is not, with the nearest known ones.
    """
    known = sorted({name for each in sources for name in each.table["cell_iname"].drop_nulls().unique()})
    for cell in cells or ():
        if cell not in known:
            near = nearest_known(cell, known) or known[:5]
            places = " nor ".join(str(each.path) for each in sources)
            raise ConfigError(f"Neither {places} knows a cell line {cell!r}. Use {' or '.join(near)}.")


def shared_genes(first: OpenProfiles, *others: OpenProfiles) -> tuple[str, ...]:
    """Return the genes that all sources measure, in the order of the first.

    Raises
    ------
    SchemaError
        There are fewer than two, with names of both sides.
    """
    shared = list(first.genes)
    for other in others:
        known = set(other.genes)
        kept = [gene for gene in shared if gene in known]
        if len(kept) < 2:
            raise SchemaError(
                f"{first.path} and {other.path} share {len(kept)} genes: one holds "
                f"{', '.join(first.genes[:3])}, the other {', '.join(other.genes[:3])}. "
                "Ingest both with the same kind of gene names."
            )
        shared = kept
    return tuple(shared)


class ColumnReader:
    """Reads some genes of profiles, in a given order.

    Parameters
    ----------
    opened
        The profiles.
    genes
        Genes to keep.
    """

    def __init__(self, opened: OpenProfiles, genes: tuple[str, ...]) -> None:
        position = {gene: index for index, gene in enumerate(opened.genes)}
        self._columns = np.array([position[gene] for gene in genes], dtype=np.int64)
        self._read = opened.read
        self._is_whole = opened.genes == genes

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read rows (M,), as (M, G) float32."""
        found = self._read(rows)
        return found if self._is_whole else np.take(found, self._columns, axis=1)

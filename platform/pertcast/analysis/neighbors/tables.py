"""Neighbours as tables: streamed into a parquet file, or whole for a small screen.

Names are asked for one stratum at a time and only while it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pertcast_data.reading import ProfileReader

from pertcast.analysis.neighbors.best import PER_TAIL
from pertcast.analysis.neighbors.blocks import NeighborBlock, neighbor_blocks

NameReader = Callable[[NDArray[np.int64]], pl.Series]
"""Returns the sig_id (M,) of rows (M,) int64, rising."""

NEIGHBOR_SCHEMA = {
    "sig_id": pl.String,
    "neighbor_sig_id": pl.String,
    "tail": pl.String,
    "rank": pl.Int16,
    "cosine": pl.Float32,
}

_FILE_SCHEMA: Final = pa.schema(
    [
        ("sig_id", pa.string()),
        ("neighbor_sig_id", pa.string()),
        ("tail", pa.string()),
        ("rank", pa.int16()),
        ("cosine", pa.float32()),
    ]
)
_TAILS: Final = pa.array(["mimics", "reverses"], pa.string())
_GROUP_ROWS: Final = 1 << 16
_DICTIONARY_BYTES: Final = 16 * 1024**2
_BLOCK_ROWS: Final = 1024


def write_neighbors(
    path: Path, blocks: Iterable[NeighborBlock], names: NameReader, *, group_rows: int = _GROUP_ROWS
) -> int:
    """Write neighbours to a parquet file as they come.

    Parameters
    ----------
    path
        File to write, with the columns of `NEIGHBOR_SCHEMA`; its place is the caller's to make safe.
    blocks
        From `neighbor_blocks`; blocks of one stratum follow each other.
    names
        Reads the sig_id of rows; asked once a stratum, for all its rows.
    group_rows
        Rows of a row group, at least; the file holds whole blocks a group.

    Returns
    -------
    int
        Rows written.
    """
    written, waiting, n_waiting = 0, [], 0
    stratum: NDArray[np.int64] | None = None
    with pq.ParquetWriter(
        path, _FILE_SCHEMA, compression="zstd", dictionary_pagesize_limit=_DICTIONARY_BYTES
    ) as writer:
        for block in blocks:
            if stratum is not block.stratum:
                stratum, sig_ids = block.stratum, _arrow_names(names(block.stratum))
            waiting.append(_arrow_table(_columns(block), sig_ids))
            n_waiting += waiting[-1].num_rows
            if n_waiting >= group_rows:
                writer.write_table(pa.concat_tables(waiting))
                written, waiting, n_waiting = written + n_waiting, [], 0
        if n_waiting:
            writer.write_table(pa.concat_tables(waiting))
    return written + n_waiting


def nearest_and_opposite(
    sig_info: pl.DataFrame, read: ProfileReader, per_tail: int = PER_TAIL, block_rows: int = _BLOCK_ROWS
) -> pl.DataFrame:
    """Find the neighbours of every profile of a small screen, as one table in memory.

    A large screen takes `neighbor_blocks` and `write_neighbors`: its table has up to 2 `per_tail` rows of
    strings a profile.

    Parameters
    ----------
    sig_info
        One row a profile: sig_id, pert_id, pert_type, cell_iname.
    read
        Returns profiles by row.
    per_tail
        Neighbours kept on each side.
    block_rows
        Profiles compared at once.

    Returns
    -------
    DataFrame
        sig_id, neighbor_sig_id, tail ("mimics" | "reverses"), rank (from 1), cosine; in the order of
        sig_info. What counts as a neighbour is said at `neighbor_blocks`.
    """
    perturbation = sig_info["pert_id"].rank("dense").fill_null(0).to_numpy().astype(np.int64)
    stratum = sig_info.select(pl.struct("cell_iname", "pert_type").rank("dense")).to_series().to_numpy()
    names = sig_info["sig_id"]
    parts = [pl.DataFrame(schema={"query": pl.Int64, **NEIGHBOR_SCHEMA})]
    for block in neighbor_blocks(stratum, perturbation, read, per_tail=per_tail, block_rows=block_rows):
        columns = _columns(block)
        found = pl.DataFrame(_arrow_table(columns, _arrow_names(names.gather(block.stratum))))
        parts.append(found.insert_column(0, pl.Series("query", block.stratum[columns.query])))
    return pl.concat(parts).sort("query", maintain_order=True).drop("query")


@dataclass(frozen=True, slots=True)
class _Columns:
    """The pairs of a block by query, tail and rank; query and neighbour are places in the stratum."""

    query: NDArray[np.int64]
    neighbor: NDArray[np.int64]
    tail: NDArray[np.int8]
    rank: NDArray[np.int16]
    cosine: NDArray[np.float32]


def _columns(block: NeighborBlock) -> _Columns:
    rows = np.hstack((block.mimic_rows, block.reverse_rows))
    cosine = np.hstack((block.mimic_cosine, block.reverse_cosine))
    per_tail = block.mimic_rows.shape[1]
    query, place = np.nonzero(rows >= 0)
    return _Columns(
        np.searchsorted(block.stratum, block.queries)[query],
        np.searchsorted(block.stratum, rows[query, place]),
        (place >= per_tail).astype(np.int8),
        (place % per_tail + 1).astype(np.int16),
        cosine[query, place],
    )


def _arrow_names(names: pl.Series) -> pa.Array:
    return names.cast(pl.String).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())


def _arrow_table(columns: _Columns, sig_ids: pa.Array) -> pa.Table:
    arrays = [
        sig_ids.take(pa.array(columns.query)),
        sig_ids.take(pa.array(columns.neighbor)),
        _TAILS.take(pa.array(columns.tail)),
        pa.array(columns.rank),
        pa.array(columns.cosine),
    ]
    return pa.table(arrays, schema=_FILE_SCHEMA)

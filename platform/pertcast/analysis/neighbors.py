"""Which perturbations look alike and which look opposite: cosine neighbours, a block at a time.

Compared within one context and perturbation type only; comparing across them measures the context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

ProfileReader = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Returns the profiles (M, G) of rows (M,) int64."""

PER_TAIL = 25
"""Neighbours kept on each side."""

NEIGHBOR_SCHEMA = {
    "sig_id": pl.String,
    "neighbor_sig_id": pl.String,
    "tail": pl.String,
    "rank": pl.Int16,
    "cosine": pl.Float32,
}

_TABLE_SCHEMA = {
    "query": pl.Int64,
    "row": pl.Int64,
    "tail": pl.String,
    "rank": pl.Int16,
    "cosine": pl.Float32,
}

_BLOCK_ROWS = 1024


@dataclass(slots=True)
class _Best:
    """The best candidates so far of a block of queries: similarity and row, best first."""

    value: NDArray[np.float32]
    row: NDArray[np.int64]

    @classmethod
    def empty(cls, n_queries: int) -> _Best:
        return cls(np.empty((n_queries, 0), np.float32), np.empty((n_queries, 0), np.int64))

    def merge(self, value: NDArray[np.float32], row: NDArray[np.int64], keep: int) -> None:
        """Keep the `keep` largest of the old and new candidates; equal ones in the order of rows."""
        keep_new = min(keep, value.shape[1])
        picked = np.argpartition(-value, keep_new - 1, axis=1)[:, :keep_new]
        values = np.concatenate((self.value, np.take_along_axis(value, picked, axis=1)), axis=1)
        rows = np.concatenate((self.row, row[picked]), axis=1)
        order = np.lexsort((rows, -values), axis=1)[:, :keep]
        self.value = np.take_along_axis(values, order, axis=1)
        self.row = np.take_along_axis(rows, order, axis=1)


def nearest_and_opposite(
    sig_info: pl.DataFrame, read: ProfileReader, per_tail: int = PER_TAIL, block_rows: int = _BLOCK_ROWS
) -> pl.DataFrame:
    """Find the most similar and the most opposite perturbations of every condition.

    Parameters
    ----------
    sig_info
        One row a profile: sig_id, pert_id, pert_type, cell_iname.
    read
        Returns profiles by row; called for blocks, so memory does not grow with the screen.
    per_tail
        Neighbours kept on each side.
    block_rows
        Profiles compared at once.

    Returns
    -------
    DataFrame
        sig_id, neighbor_sig_id, tail ("mimics" | "reverses"), rank (from 1), cosine; in the order of
        sig_info. Only positive cosines mimic and only negative ones reverse; the same perturbation at
        another dose or time is no neighbour, nor is a profile of zeros.
    """
    perturbation = sig_info["pert_id"].rank("dense").to_numpy().astype(np.int64)
    stratum = sig_info.select(pl.struct("cell_iname", "pert_type").rank("dense")).to_series().to_numpy()
    parts: list[pl.DataFrame] = []
    for group in np.unique(stratum):
        rows = np.flatnonzero(stratum == group).astype(np.int64)
        for start in range(0, len(rows), block_rows):
            queries = rows[start : start + block_rows]
            tails = _block_tails(queries, rows, perturbation, read, per_tail, block_rows)
            parts += [_table(tail, sign, queries, best) for tail, sign, best in tails]
    table = pl.concat([pl.DataFrame(schema=_TABLE_SCHEMA), *parts]).sort("query", "tail", "rank")
    names = sig_info["sig_id"]
    return table.with_columns(
        sig_id=names.gather(table["query"]), neighbor_sig_id=names.gather(table["row"])
    ).select([pl.col(name).cast(dtype) for name, dtype in NEIGHBOR_SCHEMA.items()])


def _block_tails(
    queries: NDArray[np.int64],
    rows: NDArray[np.int64],
    perturbation: NDArray[np.int64],
    read: ProfileReader,
    per_tail: int,
    block_rows: int,
) -> list[tuple[str, float, _Best]]:
    """Compare one block of queries with all rows of its stratum."""
    nearest, opposite = _Best.empty(len(queries)), _Best.empty(len(queries))
    query_profiles = _unit(read(queries))
    for start in range(0, len(rows), block_rows):
        candidates = rows[start : start + block_rows]
        cosine = query_profiles @ _unit(read(candidates)).T
        same = perturbation[queries][:, None] == perturbation[candidates][None, :]
        nearest.merge(np.where(same, np.float32(-np.inf), cosine), candidates, per_tail)
        opposite.merge(np.where(same, np.float32(-np.inf), -cosine), candidates, per_tail)
    return [("mimics", 1.0, nearest), ("reverses", -1.0, opposite)]


def _unit(profiles: NDArray[np.float32]) -> NDArray[np.float32]:
    wide = profiles.astype(np.float32)
    length = np.sqrt(np.square(wide, dtype=np.float64).sum(axis=1, keepdims=True)).astype(np.float32)
    length[length == 0] = 1
    unit: NDArray[np.float32] = np.divide(wide, length, dtype=np.float32)
    return unit


def _table(tail: str, sign: float, queries: NDArray[np.int64], best: _Best) -> pl.DataFrame:
    is_neighbor = best.value > 0
    place = np.broadcast_to(np.arange(1, best.value.shape[1] + 1), best.value.shape)
    query = np.broadcast_to(queries[:, None], best.value.shape)
    return pl.DataFrame(
        {
            "query": query[is_neighbor],
            "row": best.row[is_neighbor],
            "tail": np.full(int(is_neighbor.sum()), tail),
            "rank": place[is_neighbor],
            "cosine": (sign * best.value[is_neighbor]).astype(np.float32),
        },
        schema=_TABLE_SCHEMA,
    )

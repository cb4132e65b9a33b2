"""The library that queries are asked of: held in memory, or read a block at a time.

Predicted and measured profiles are two libraries; one index is always of one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.analysis.connectivity.ranked import RankedBlock, profile_lengths
from pertcast.analysis.connectivity.scores import Queries, Scores
from pertcast.analysis.enrichment import Ranks, gene_ranks, rank_dtype

BLOCK_ROWS: Final = 4096
"""References that are compared at once."""

Rows = NDArray[np.int64]


class BlockReader(Protocol):
    """Reads profiles of a library by row."""

    def __call__(self, rows: Rows) -> RankedBlock:
        """Return the profiles of rows (M,), in the order asked for."""
        ...


class ConnectivityIndex:
    """N profiles over G genes with the rank of every gene.

    `in_memory` answers a query of 80,835 x 978 within a fraction of a second; `streamed` holds a block and
    reads its library anew for every query.

    Parameters
    ----------
    read
        Reads profiles by row.
    n_profiles, n_genes
        N and G.
    """

    def __init__(self, read: BlockReader, n_profiles: int, n_genes: int) -> None:
        self._read = read
        self.n_profiles, self.n_genes = n_profiles, n_genes

    @classmethod
    def in_memory(
        cls,
        values: NDArray[np.floating[Any]],
        ranks: Ranks | None = None,
    ) -> ConnectivityIndex:
        """Index profiles that are in memory, which are not copied.

        Parameters
        ----------
        values
            (N, G) finite responses, float32 (fastest) or float16 (half the memory).
        ranks
            (N, G) place of each gene from 0 = highest, ties in gene order; computed from `values` where None.
        """
        return cls.from_blocks([(values, ranks)], len(values), values.shape[1], values.dtype)

    @classmethod
    def from_blocks(
        cls,
        blocks: Iterable[tuple[NDArray[np.floating[Any]], Ranks | None]],
        n_profiles: int,
        n_genes: int,
        dtype: DTypeLike = np.float32,
    ) -> ConnectivityIndex:
        """Collect values (M, G) and ranks (M, G), or None to compute them, a block at a time.

        Parameters
        ----------
        blocks
            The library in the order of its rows.
        n_profiles, n_genes
            N and G.
        dtype
            float32, or float16 for half the memory.

        Raises
        ------
        SchemaError
            Blocks have another width or other numbers of rows, or hold NaN or infinity.
        """
        return cls(_Held.of(blocks, (n_profiles, n_genes), dtype), n_profiles, n_genes)

    def take(self, rows: Rows) -> RankedBlock:
        """Return the profiles of rows (M,), in the order asked for."""
        return self._read(rows)

    def blocks(self, rows: Rows | None = None) -> Iterator[tuple[slice, RankedBlock]]:
        """Yield places among `rows` (all rows where None) and their profiles."""
        n_wanted = self.n_profiles if rows is None else len(rows)
        for start in range(0, n_wanted, BLOCK_ROWS):
            part = slice(start, min(start + BLOCK_ROWS, n_wanted))
            wanted = np.arange(part.start, part.stop, dtype=np.int64) if rows is None else rows[part]
            yield part, self._read(wanted)

    def scores(
        self, queries: Queries, rows: Rows | None = None, progress: ProgressCallback = no_progress
    ) -> Scores:
        """Compare queries with the library.

        Parameters
        ----------
        queries
            D queries over the library's genes.
        rows
            (M,) references to compare with; all where None.
        progress
            Told of references compared.

        Returns
        -------
        ndarray
            (D, M) float32: what `queries.against` returns for the same profiles.
        """
        n_wanted = self.n_profiles if rows is None else len(rows)
        found = np.empty((len(queries), n_wanted), dtype=np.float32)
        for part, block in self.blocks(rows):
            found[:, part] = queries.against_ranked(block)
            progress(part.stop, n_wanted, "compared")
        return found


class _Held:
    """Reads profiles that are held in memory; neighbouring rows are not copied."""

    def __init__(
        self,
        values: NDArray[np.floating[Any]],
        ranks: Ranks,
        lengths: NDArray[np.float32],
    ) -> None:
        self._values, self._ranks, self._lengths = values, ranks, lengths

    @classmethod
    def of(
        cls,
        blocks: Iterable[tuple[NDArray[np.floating[Any]], Ranks | None]],
        shape: tuple[int, int],
        dtype: DTypeLike,
    ) -> _Held:
        values, ranks = np.empty(0, dtype), np.empty(0, np.uint16)
        lengths, filled = np.empty(shape[0], np.float32), 0
        for given, given_ranks in blocks:
            part = slice(filled, filled + len(given))
            _require_fitting(given, part, shape)
            if given.shape == shape and given.dtype == dtype and given_ranks is not None:
                values, ranks = given, given_ranks  # type: ignore[assignment]
            else:
                if not filled:
                    values, ranks = np.empty(shape, dtype), np.empty(shape, rank_dtype(shape[1]))
                values[part] = given
            for start in range(part.start, part.stop, BLOCK_ROWS):
                small = slice(start, min(start + BLOCK_ROWS, part.stop))
                wide = values[small].astype(np.float32, copy=False)
                lengths[small] = profile_lengths(wide)
                if given_ranks is None:
                    ranks[small] = gene_ranks(wide)
                elif ranks is not given_ranks:
                    ranks[small] = given_ranks[small.start - part.start : small.stop - part.start]
            filled = part.stop
        if filled != shape[0]:
            raise SchemaError(f"The blocks hold {filled:,} profiles, {shape[0]:,} were announced.")
        return cls(values, ranks, lengths)

    def __call__(self, rows: Rows) -> RankedBlock:
        wanted: Rows | slice = rows
        if len(rows) and (np.diff(rows) == 1).all():
            wanted = slice(int(rows[0]), int(rows[-1]) + 1)
        return RankedBlock(self._values[wanted], self._ranks[wanted], self._lengths[wanted])


def _require_fitting(values: NDArray[np.floating[Any]], part: slice, shape: tuple[int, int]) -> None:
    if values.ndim != 2 or values.shape[1] != shape[1] or part.stop > shape[0]:
        raise SchemaError(
            f"A block of shape {values.shape} from row {part.start:,} does not fit into a library of "
            f"{shape[0]:,} profiles x {shape[1]:,} genes."
        )
    for start in range(0, len(values), BLOCK_ROWS):
        is_finite = np.isfinite(values[start : start + BLOCK_ROWS]).all(axis=1)
        if not is_finite.all():
            row = part.start + start + int(np.flatnonzero(~is_finite)[0])
            raise SchemaError(f"Profile {row:,} holds NaN or infinite values; it cannot be compared.")

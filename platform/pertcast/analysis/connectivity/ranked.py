"""References that bring the rank of every gene: enrichment without sorting profiles again.

A set's genes keep the order of the ranking when their ranks and their values are each sorted, so a score
visits the set's genes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.enrichment import Ranks, gene_ranks

_BLOCK_VALUES: Final = 1 << 16
"""Values of a set that are held at once: what a processor's cache holds."""
_SIGN_TOLERANCE: Final = 1e-9
"""Extremes of a running sum that differ by less are equal; the negative one counts then."""


class RankedBlock:
    """Some references: values, ranks and lengths; what is not given is computed when it is asked for.

    Parameters
    ----------
    values
        (M, G) finite responses; float16 becomes float32.
    ranks
        (M, G) unsigned, place of each gene in its profile from 0 = highest, ties in gene order; may be taken
        before `values` were rounded. A function is called when they are needed; None: computed from `values`.
    lengths
        (M,) float32 length of each profile, 1 for a profile of zeros; computed where None.
    """

    def __init__(
        self,
        values: NDArray[np.floating[Any]],
        ranks: Ranks | Callable[[], Ranks] | None = None,
        lengths: NDArray[np.float32] | None = None,
    ) -> None:
        self.values: NDArray[np.float32] = values.astype(np.float32, copy=False)
        self._ranks, self._lengths = ranks, lengths

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def ranks(self) -> Ranks:
        """(M, G) unsigned, place of each gene from 0 = highest."""
        if self._ranks is None:
            return gene_ranks(self.values)
        return self._ranks() if callable(self._ranks) else self._ranks

    @cached_property
    def lengths(self) -> NDArray[np.float32]:
        """(M,) float32, 1 for a profile of zeros."""
        return profile_lengths(self.values) if self._lengths is None else self._lengths


def profile_lengths(profiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N,) float32 lengths, 1 for profiles of zeros."""
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", profiles, profiles))
    lengths[lengths == 0] = 1
    return lengths


def ranked_enrichment(references: RankedBlock, sets: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return the weighted running-sum score of every set and reference.

    The same as `pertcast.analysis.enrichment.enrichment_scores` (Subramanian et al. 2005, weight p = 1).

    Parameters
    ----------
    references
        M references.
    sets
        S sets of positions of genes.

    Returns
    -------
    ndarray
        (S, M) float64; NaN where all genes of a set are zero.
    """
    found = np.empty((len(sets), len(references)))
    ranks, values = references.ranks, references.values
    for row, members in enumerate(sets):
        step = max(_BLOCK_VALUES // len(members), 1)
        for start in range(0, len(references), step):
            part = slice(start, start + step)
            found[row, part] = _set_scores(values[part], ranks[part], members)
    return found


def _set_scores(values: NDArray[np.float32], ranks: Ranks, members: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (M,) scores of one set."""
    size, n_genes = len(members), values.shape[1]
    # Sorting float32 is several times as fast as uint16, and ranks fit into it exactly.
    place = ranks.take(members, axis=1).astype(np.float32)
    place.sort(axis=1)
    falling = values.take(members, axis=1)
    np.negative(falling, out=falling)
    falling.sort(axis=1)
    weights = np.abs(falling, out=falling).astype(np.float64)
    before = np.cumsum(weights, axis=1)
    total = before[:, -1:].copy()
    misses = place.astype(np.float64)
    misses -= np.arange(size)
    misses *= 1 / (n_genes - size)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1 / total
        before *= share
        before -= misses
        top = before.max(axis=1)
        weights *= share
        before -= weights
        bottom = np.minimum(before.min(axis=1), 0.0)
    scores: NDArray[np.float64] = np.where(top > -bottom + _SIGN_TOLERANCE, top, bottom)
    return scores

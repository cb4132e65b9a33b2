"""The exact weighted running-sum score of every profile and gene set of a screen at once.

Only the members of sets are visited: their places in each profile, sorted within each set, are all that a
score needs beside their weights.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.enrichment.ranking import (
    GenePlaces,
    checked_places,
    checked_profiles,
    inverse,
    ranked_order,
    sorted_genes,
)
from pertcast.analysis.gene_sets import SetIndex

_BLOCK_VALUES: Final = 1 << 17
"""Genes or members of sets that are worked on at once: about what a processor's second cache holds."""
_GROUP_MEMBERS: Final = 2_048
"""Members of sets that are worked on together, where there are fewer genes."""
_SIGN_TOLERANCE: Final = 1e-9
"""Extremes of a running sum that differ by less are equal; the negative one counts then."""
_ALL_BUT_SIGN: Final = np.uint32(0x7FFFFFFF)


def enrichment_scores(
    profiles: NDArray[np.floating],
    sets: SetIndex,
    *,
    order: GenePlaces | None = None,
    ranks: GenePlaces | None = None,
) -> NDArray[np.float64]:
    """Compute the weighted running-sum enrichment score of every profile and gene set.

    Subramanian et al. 2005 with weight p = 1, the maximal deviation of

        sum over members up to rank i of |x| / sum over members of |x| - (non-members up to i) / (G - K)

    Only the ranks of members are visited: the sum peaks on a member and bottoms out just before one. Ties
    are ranked in gene order; where the two extremes are equal the negative one counts (as in gseapy).

    Parameters
    ----------
    profiles
        (N, G) float32 or float64, finite; anything else is read as float32.
    sets
        S gene sets over the same G genes.
    order
        (N, G) genes of each profile from highest to lowest, where the caller has sorted them already (or
        sorted them before they were rounded); at most one of `order` and `ranks`. Each row must hold every
        gene once, which is not checked.
    ranks
        (N, G) place of each gene from 0 = highest, as a screen stores it; instead of `order`.

    Returns
    -------
    ndarray
        (N, S) float64; NaN where all members of a set are exactly zero (no weight to distribute). A score
        depends on its profile and set alone, to the last bit.

    Raises
    ------
    SchemaError
        A profile has another width, or holds NaN or infinity; an order of another shape, or of genes that
        do not exist.
    """
    profiles = checked_profiles(profiles, sets.n_genes)
    order = checked_places(order, profiles.shape, "order")
    ranks = checked_places(ranks, profiles.shape, "ranks")
    groups = _groups(sets)
    scores = np.empty((len(profiles), len(sets)), dtype=np.float64)
    rows = max(1, _BLOCK_VALUES // max(sets.n_genes, max(group.n_members for group in groups)))
    for start in range(0, len(profiles), rows):
        part = slice(start, start + rows)
        block = profiles[part]
        places = _places(
            block, None if order is None else order[part], None if ranks is None else ranks[part]
        )
        keys = _keys(block, places)
        for group in groups:
            scores[part, group.columns] = group.scores(block, keys)
    return scores


def _groups(sets: SetIndex) -> list[_Members]:
    """Return neighbouring sets together that have about as many members as there are genes."""
    most = max(sets.n_genes, _GROUP_MEMBERS)
    group_of_set = (sets.starts + sets.sizes - 1) // most
    firsts = np.flatnonzero(np.diff(group_of_set, prepend=-1)).tolist()
    return [_Members(sets, slice(a, b)) for a, b in zip(firsts, [*firsts[1:], len(sets)], strict=True)]


def _places(
    profiles: NDArray[np.floating], order: GenePlaces | None, ranks: GenePlaces | None
) -> NDArray[np.unsignedinteger]:
    """Return (n, G) the place of each gene from 0 = highest."""
    if ranks is not None:
        return ranks.astype(np.uint32, copy=False)
    if order is None:
        order = sorted_genes(profiles) if profiles.dtype == np.float32 else ranked_order(profiles)
    return inverse(order, np.uint32)


def _keys(profiles: NDArray[np.floating], places: NDArray[np.unsignedinteger]) -> NDArray[np.uint64]:
    """Return (n, G) whole numbers that sort as places do and carry the weight of a gene, or its position."""
    n_profiles, n_genes = profiles.shape
    keys = np.empty((n_profiles, n_genes), dtype="<u8")
    halves = keys.view("<u4").reshape(n_profiles, n_genes, 2)
    halves[..., 1] = places
    if profiles.dtype == np.float32:
        np.bitwise_and(profiles.view(np.uint32), _ALL_BUT_SIGN, out=halves[..., 0])
    else:
        halves[..., 0] = np.arange(n_genes, dtype=np.uint32)
    return keys


class _Members:
    """Members of some neighbouring sets, side by side in T columns, set after set."""

    def __init__(self, sets: SetIndex, columns: slice) -> None:
        self.columns = columns
        sizes = sets.sizes[columns]
        first = int(sets.starts[columns.start])
        self._members = sets.members[first : first + int(sizes.sum())]
        self._sizes, self._starts = sizes, sets.starts[columns] - first
        self._ends = self._starts + sizes - 1
        bounds = zip(self._starts.tolist(), sizes.tolist(), strict=True)
        self._slices = [slice(start, start + size) for start, size in bounds]
        # (place - members before) / (G - K): how far the sum has fallen on reaching a member.
        self._earlier = (np.arange(len(self._members)) - np.repeat(self._starts, sizes)).astype(np.float64)
        self._fall = 1.0 / (sets.n_genes - np.repeat(sizes, sizes))

    @property
    def n_members(self) -> int:
        """T."""
        return len(self._members)

    def scores(self, profiles: NDArray[np.floating], keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return scores of a block of profiles (n, G) with the keys of their genes, a column a set."""
        fallen, weights = self._in_order(profiles, keys)
        fallen -= self._earlier
        fallen *= self._fall
        summed = np.empty_like(weights)
        for part in self._slices:
            np.cumsum(weights[:, part], axis=1, out=summed[:, part])
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.repeat(1.0 / summed.take(self._ends, axis=1), self._sizes, axis=1)
            summed *= share
            summed -= fallen
            top = np.maximum.reduceat(summed, self._starts, axis=1)
            weights *= share
            summed -= weights
            bottom = np.minimum(np.minimum.reduceat(summed, self._starts, axis=1), 0.0)
        scores: NDArray[np.float64] = np.where(top > -bottom + _SIGN_TOLERANCE, top, bottom)
        return scores

    def _in_order(
        self, profiles: NDArray[np.floating], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return places and weights |x| of the members (n, T), sorted by place within each set."""
        n_profiles, n_genes = profiles.shape
        taken = keys.take(self._members, axis=1)
        for part in self._slices:
            taken[:, part].sort(axis=1)
        halves = taken.view("<u4").reshape(n_profiles, -1, 2)
        places = halves[..., 1].astype(np.float64)
        if profiles.dtype == np.float32:
            return places, halves[..., 0].view("<f4").astype(np.float64)
        at = np.arange(n_profiles, dtype=np.int64)[:, None] * n_genes + halves[..., 0]
        return places, np.abs(profiles.reshape(-1).take(at)).astype(np.float64)


def running_sum(profile: NDArray[np.floating], members: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the running sum of one set over the ranked genes of one profile, (G,) float64; for figures."""
    order = ranked_order(profile[None, :])[0]
    is_member = np.zeros(len(profile), dtype=bool)
    is_member[members] = True
    is_hit = is_member[order]
    weights = np.where(is_hit, np.abs(profile[order]).astype(np.float64), 0.0)
    total = weights.sum()
    if total == 0:
        return np.full(len(profile), np.nan)
    result: NDArray[np.float64] = np.cumsum(weights / total - ~is_hit / (len(profile) - len(members)))
    return result

"""One query over a library's genes, and others like it: of reference profiles, and of random genes.

What a score of one signature means is told by the scores of like ones: the same score, as many genes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.connectivity.scores import (
    ExtremeSum,
    ProfileProducts,
    Queries,
    WeightedConnectivity,
    extreme_sets,
)

SET_SCORES = frozenset({"wtcs", "xsum"})
"""Scores that compare sets of genes, not values."""


@dataclass(frozen=True, slots=True)
class SetSizes:
    """Genes of the up set and of the down set."""

    up: int
    down: int


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A signature over a library's genes.

    Attributes
    ----------
    score
        A name of `SCORES`.
    profile
        (G,) float32; sets are 1, -1 and 0.
    up, down
        Positions of the genes of the sets.
    sizes
        How many these are.
    columns
        Genes that products compare; all where None.
    is_weighted
        Whether `profile` has values beside signs.
    """

    score: str
    profile: NDArray[np.float32]
    up: NDArray[np.int64]
    down: NDArray[np.int64]
    sizes: SetSizes
    columns: NDArray[np.int64] | None
    is_weighted: bool

    @property
    def n_genes(self) -> int:
        """Number of the library's genes."""
        return len(self.profile)

    def queries(self) -> Queries:
        """Return the signature itself, as one query."""
        if self.score in SET_SCORES:
            return self._of_sets([self.up], [self.down])
        return self._of_profiles(self.profile[None, :])

    def like_profiles(self, profiles: NDArray[np.float32]) -> Queries:
        """Return profiles (D, G) as queries of this kind: of as many extreme genes, or of the same genes."""
        if self.score not in SET_SCORES and self.is_weighted:
            return self._of_profiles(profiles)
        up = list(extreme_sets(profiles, self.sizes.up)[0])
        down = list(extreme_sets(profiles, self.sizes.down)[1])
        if self.score in SET_SCORES:
            return self._of_sets(up, down)
        signs = np.zeros(profiles.shape, dtype=np.float32)
        np.put_along_axis(signs, np.stack(up), 1.0, axis=1)
        np.put_along_axis(signs, np.stack(down), -1.0, axis=1)
        return self._of_profiles(signs)

    def random(self, count: int, random: np.random.Generator) -> Queries:
        """Return `count` queries of the same sizes, or values, dealt to genes at random."""
        if self.score in SET_SCORES:
            size = self.sizes.up + self.sizes.down
            drawn = [random.choice(self.n_genes, size, replace=False) for _ in range(count)]
            return self._of_sets(
                [each[: self.sizes.up] for each in drawn], [each[self.sizes.up :] for each in drawn]
            )
        among = np.arange(self.n_genes) if self.columns is None else self.columns
        dealt = np.zeros((count, self.n_genes), dtype=np.float32)
        dealt[:, among] = random.permuted(np.tile(self.profile[among], (count, 1)), axis=1)
        return self._of_profiles(dealt)

    def _of_sets(self, up: list[NDArray[np.int64]], down: list[NDArray[np.int64]]) -> Queries:
        kind = WeightedConnectivity if self.score == "wtcs" else ExtremeSum
        return kind(up, down, self.n_genes)

    def _of_profiles(self, profiles: NDArray[np.float32]) -> Queries:
        return ProfileProducts(profiles, self.score == "pearson", self.columns)

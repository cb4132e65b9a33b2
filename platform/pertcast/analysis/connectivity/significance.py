"""Is a connection special? tau beside other queries, and q-values beside random ones.

tau asks whether other profiles are connected with the same reference as well; q only whether genes dealt at
random are. Genes are correlated, random ones are not: q is optimistic, tau is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.connectivity.index import ConnectivityIndex
from pertcast.analysis.connectivity.prepared import PreparedQuery
from pertcast.analysis.connectivity.strata import SignedMeans, Strata, draw_stratified
from pertcast.multiple_testing import benjamini_hochberg

N_REFERENCE_QUERIES: Final = 500
N_RANDOM_QUERIES: Final = 1000
_RANDOM_REFERENCES: Final = 500
_ROWS_OF_A_STRATUM: Final = 256
_SAMPLED_ROWS: Final = 4096
_FEWEST_OF_A_STRATUM: Final = 32
SCALE_FREE: Final = frozenset({"cosine", "pearson", "wtcs"})
"""Scores that do not grow with a reference's effect: random queries of all references make one null."""


class NullReader(Protocol):
    """Returns the scores of random queries."""

    def __call__(
        self,
        index: ConnectivityIndex,
        rows: NDArray[np.int64],
        strata: Strata,
        prepared: PreparedQuery,
        seed: int,
        count: int,
    ) -> NDArray[np.float32] | None:
        """Return what `random_scores` returns."""
        ...


@dataclass(frozen=True)
class ReferenceQueries:
    """Profiles of the library that are asked like the signature: what a score means is told by theirs.

    Parameters
    ----------
    index, rows, strata
        The library, the rows (M,) of it that are searched, and their strata.
    prepared
        The signature.
    seed
        Of the drawing.
    count
        How many are drawn, stratified by cell line and type.
    """

    index: ConnectivityIndex
    rows: NDArray[np.int64]
    strata: Strata
    prepared: PreparedQuery
    seed: int
    count: int = N_REFERENCE_QUERIES

    def tau(self, places: NDArray[np.int64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the signed percentile of a query's NCS among those of the reference queries.

        sign(NCS) x 100 x the share of reference queries whose |NCS| with the same reference is smaller. A
        profile is not compared with itself. A reference query's stratum means are taken over at most 256 rows
        of a stratum, drawn with the seed.

        Parameters
        ----------
        places
            (R,) places among `rows` that are asked for.
        normal
            (R,) NCS of the query there; NaN: unknown.

        Returns
        -------
        ndarray
            (R,) float64 within -100 and 100; NaN where an NCS is unknown.
        """
        random = np.random.default_rng((self.seed, 1))
        drawn = draw_stratified(self.strata, self.count, random)
        wanted = np.unique(self.strata.of_row[places])
        sampled = np.concatenate([self._sample(stratum, len(wanted), random) for stratum in wanted])
        asked = np.union1d(places, sampled)
        profiles = self.index.take(self.rows[drawn]).values
        scores = self.index.scores(self.prepared.like_profiles(profiles), self.rows[asked])
        stratum = self.strata.of_row[asked]
        is_sampled = np.isin(asked, sampled)
        means = SignedMeans.of(scores[:, is_sampled], stratum[is_sampled], len(self.strata))
        here = np.searchsorted(asked, places)
        found = np.abs(means.normalise(scores[:, here], stratum[here]))
        found[drawn[:, None] == places[None, :]] = np.nan
        n_known = np.isfinite(found).sum(axis=0)
        below = (found < np.abs(normal)[None, :]).sum(axis=0)
        share = np.where(n_known > 0, below / np.maximum(n_known, 1), np.nan)
        tau: NDArray[np.float64] = np.sign(normal) * 100 * share
        return tau

    def _sample(self, stratum: int, n_strata: int, random: np.random.Generator) -> NDArray[np.int64]:
        rows = self.strata.rows_of(stratum)
        most = min(_ROWS_OF_A_STRATUM, max(_SAMPLED_ROWS // n_strata, _FEWEST_OF_A_STRATUM))
        return rows if len(rows) <= most else np.sort(random.choice(rows, most, replace=False))


def random_scores(
    index: ConnectivityIndex,
    rows: NDArray[np.int64],
    strata: Strata,
    prepared: PreparedQuery,
    seed: int,
    count: int = N_RANDOM_QUERIES,
) -> NDArray[np.float32] | None:
    """Score random queries: genes drawn (or values dealt) at random, against 500 rows drawn by strata.

    Returns
    -------
    ndarray or None
        Their scores, flat; None for a score that grows with a reference's effect (XSum).
    """
    if prepared.score not in SCALE_FREE:
        return None
    random = np.random.default_rng((seed, 2))
    drawn = draw_stratified(strata, _RANDOM_REFERENCES, random)
    return index.scores(prepared.random(count, random), rows[drawn]).ravel()


def q_values(scores: NDArray[np.floating[Any]], null: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the false discovery rate of each score (N,) beside scores of random queries (K,).

    Each sign by itself: p = (1 + null scores at least as extreme) / (1 + K), one-sided, and Benjamini and
    Hochberg's q over all N references (p = 1 for those of the other sign). A score of 0 has q = 1.
    """
    q = np.ones(len(scores))
    for sign in (1, -1):
        own, ordered = sign * scores, np.sort(sign * null)
        above = len(ordered) - np.searchsorted(ordered, own, side="left")
        p = np.where(own > 0, (1 + above) / (1 + len(ordered)), 1.0)
        is_own = own > 0
        q[is_own] = benjamini_hochberg(p)[is_own]
    return q

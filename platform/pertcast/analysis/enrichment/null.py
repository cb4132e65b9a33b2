"""Size-matched nulls of enrichment scores: NES, p and false discovery rate of every profile and set.

What gseapy does by permuting the genes of one profile, for whole screens: random sets of a few sizes are
scored in every profile, and what lies between those sizes is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

from pertcast.analysis.enrichment.null_scores import NullScores
from pertcast.analysis.enrichment.random_places import BLOCK_PROFILES, RandomPlaces
from pertcast.analysis.enrichment.ranking import (
    GenePlaces,
    checked_places,
    checked_profiles,
    flat,
    ranked_order,
)
from pertcast.analysis.gene_sets import SetIndex
from pertcast.multiple_testing import benjamini_hochberg

DRAWS: Final = 512
"""Random sets of each size."""
_SIZE_STEP: Final = 2.5
"""One size of random sets is up to so many times the one before, but for rounding."""


@dataclass(frozen=True)
class NormalisedEnrichment:
    """Scores of N profiles and S sets held against random sets of the same size in the same profile.

    Attributes
    ----------
    nes
        (N, S) float64, score / mean size of the null scores of the same sign. NaN where there is no score, or
        no random set scored with that sign.
    pval
        (N, S) float64, share of null scores of the same sign that are as extreme; NaN as `nes`.
    fdr
        (N, S) float64, Benjamini-Hochberg over the sets of a profile.
    """

    nes: NDArray[np.float64]
    pval: NDArray[np.float64]
    fdr: NDArray[np.float64]


@dataclass(frozen=True)
class SizeMatchedNull:
    """Random sets for the sizes of a collection; made with `of`.

    Attributes
    ----------
    n_genes
        G.
    sizes
        (S,) int64, genes of each set.
    anchors
        (A,) int64, sizes of the random sets, rising.
    draws
        The random sets of each anchor.
    """

    n_genes: int
    sizes: NDArray[np.int64]
    anchors: NDArray[np.int64]
    draws: tuple[RandomPlaces, ...]

    @classmethod
    def of(cls, sets: SetIndex, seed: int, *, n_draws: int = DRAWS) -> SizeMatchedNull:
        """Draw the random sets; the same for the same sizes, number of genes and seed.

        Parameters
        ----------
        sets
            S gene sets.
        seed
            Of the draws.
        n_draws
            Random sets of each of a few sizes between the smallest and the largest set.
        """
        anchors = _anchors(sets.sizes)
        draws = tuple(
            RandomPlaces.draw(size, sets.n_genes, n_draws, np.random.default_rng([seed, size]))
            for size in anchors.tolist()
        )
        return cls(sets.n_genes, sets.sizes, anchors, draws)

    def normalise(
        self,
        profiles: NDArray[np.floating],
        scores: NDArray[np.float64],
        *,
        order: GenePlaces | None = None,
    ) -> NormalisedEnrichment:
        """Hold scores against those of random sets of the same size in the same profile.

        With r the score, and m the mean size of null scores of its sign (log-linear in log size between the
        sizes drawn), NES = r / m (Subramanian et al. 2005). p is the share of null scores of that sign with
        at least this NES, (b + 1) / (n + 1); among the most extreme tenth of them, a smooth tail
        (`NullScores.p_of`).
        A result depends on the profile, the sets and the seed alone, to the last bit, whatever is computed
        with it.

        Parameters
        ----------
        profiles
            (N, G) finite responses.
        scores
            (N, S) from `enrichment_scores`.
        order
            (N, G) genes of each profile from highest to lowest, where the caller has them.

        Raises
        ------
        SchemaError
            Profiles, scores or order of another shape; profiles that are not finite.
        """
        profiles = checked_profiles(profiles, self.n_genes)
        order = checked_places(order, profiles.shape, "order")
        if scores.shape != (len(profiles), len(self.sizes)):
            raise SchemaError(
                f"Scores of shape {scores.shape} do not belong to {len(profiles)} profiles and "
                f"{len(self.sizes)} gene sets."
            )
        nes, pval = np.empty(scores.shape), np.empty(scores.shape)
        for start in range(0, len(profiles), BLOCK_PROFILES):
            part = slice(start, start + BLOCK_PROFILES)
            weights = _ranked_weights(profiles[part], None if order is None else order[part])
            nes[part], pval[part] = self._of_block(weights, scores[part])
        return NormalisedEnrichment(nes, pval, benjamini_hochberg(pval))

    def _of_block(
        self, weights: NDArray[np.float32], scores: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return NES and p (n, S) of a block's scores, given |x| in order (G, BLOCK_PROFILES)."""
        nulls = [NullScores.of(draws.scores(weights)) for draws in self.draws]
        padded = np.full((BLOCK_PROFILES, scores.shape[1]), np.nan)
        padded[: len(scores)] = scores
        is_positive = padded > 0
        lower, upper, share = _between(self.anchors, self.sizes)
        means = np.stack([null.mean_of(is_positive) for null in nulls])
        mean = np.exp(_interpolated(np.log(means), lower, upper, share))
        nes = padded / mean
        log_p = np.full(means.shape, np.nan)
        for anchor, null in enumerate(nulls):
            asked = np.flatnonzero((lower == anchor) | (upper == anchor))
            as_scores = _as_of_size(np.abs(padded[:, asked]), mean[:, asked], means[anchor][:, asked])
            log_p[anchor][:, asked] = np.log(null.p_of(as_scores, is_positive[:, asked]))
        pval = np.exp(_interpolated(log_p, lower, upper, share))
        return nes[: len(scores)], pval[: len(scores)]


def _anchors(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return sizes from the smallest to the largest, each up to about 2.5 times the one before."""
    distinct = np.unique(sizes)
    steps = int(np.ceil(np.log(distinct[-1] / distinct[0]) / np.log(_SIZE_STEP)))
    spread = np.unique(np.rint(np.geomspace(distinct[0], distinct[-1], steps + 1)).astype(np.int64))
    return distinct if len(distinct) <= len(spread) else spread


def _between(
    anchors: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return the anchors below and above each size, and how far it is from one to the other in log size."""
    lower = np.clip(np.searchsorted(anchors, sizes, side="right") - 1, 0, None)
    upper = np.minimum(np.searchsorted(anchors, sizes, side="left"), len(anchors) - 1)
    span = np.log(anchors[upper] / anchors[lower])
    return lower, upper, np.log(sizes / anchors[lower]) / np.where(span > 0, span, 1.0)


def _interpolated(
    values: NDArray[np.float64], lower: NDArray[np.intp], upper: NDArray[np.intp], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return values (B, S) between those of anchors (A, B, S); of one anchor where only that has a value."""
    columns = np.arange(values.shape[2])
    below, above = values[lower, :, columns].T, values[upper, :, columns].T
    between = below + share * (above - below)
    return np.where(np.isnan(below), above, np.where(np.isnan(above), below, between))


def _as_of_size(
    scores: NDArray[np.float64], mean: NDArray[np.float64], other_mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what scores of sets with one mean null score are among sets with another.

    Odds r / (1 - r) are multiplied by the ratio of those of the means: small scores keep their NES, and none
    leaves 0 to 1, where those of sparse profiles crowd below 1.
    """
    ratio = other_mean * (1 - mean) / np.maximum(mean * (1 - other_mean), 1e-12)
    odds = scores * ratio
    return odds / np.maximum(1 - scores + odds, 1e-12)


def _ranked_weights(profiles: NDArray[np.floating], order: GenePlaces | None) -> NDArray[np.float32]:
    """Return |x| of a block's genes from highest to lowest, (G, BLOCK_PROFILES); zero where there is none."""
    found = np.zeros((profiles.shape[1], BLOCK_PROFILES), dtype=np.float32)
    ranked = profiles.reshape(-1).take(flat(ranked_order(profiles) if order is None else order))
    np.abs(ranked.reshape(profiles.shape).T, out=found[:, : len(profiles)], casting="same_kind")
    return found

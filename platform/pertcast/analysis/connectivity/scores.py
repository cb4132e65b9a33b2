"""Connectivity: how far a query profile, or up and down gene sets, resembles each profile of a library.

Every score is computed for many queries and a block of references at once; nothing here knows what the
profiles are of. Positive means that the reference mimics the query, negative that it reverses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, SchemaError, nearest_known

from pertcast.analysis.connectivity.ranked import RankedBlock, ranked_enrichment
from pertcast.analysis.enrichment import enrichment_scores, ranked_order
from pertcast.analysis.gene_sets import SetIndex

Profiles = NDArray[np.floating[Any]]
Scores = NDArray[np.float32]

SET_SHARE: Final = 0.05
"""Share of the genes in each of a profile's two sets: 49 up and 49 down of 978."""
FEWEST_IN_A_SET: Final = 5
EXTREME_SHARE: Final = 0.1
"""Share of the genes at each end of a reference that XSum adds up."""


class Queries(Protocol):
    """D queries that are ready to be compared."""

    def __len__(self) -> int:
        """Return D."""
        ...

    def against(self, references: Profiles) -> Scores:
        """Return (D, M) float32, the score of every query and each of (M, G) finite references."""
        ...

    def against_ranked(self, references: RankedBlock) -> Scores:
        """Return what `against` returns, (D, M) float32, by the ranks that the references bring."""
        ...


def unit_profiles(profiles: Profiles, centre: bool = False) -> NDArray[np.float32]:
    """Return (N, G) float32 profiles of length 1, of mean zero where `centre`; zeros stay zeros."""
    unit = np.array(profiles, dtype=np.float32, order="C")
    if centre:
        unit -= unit.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    length[length == 0] = 1
    unit /= length[:, None]
    return unit


class ProfileProducts:
    """Scores that are one matrix product: of unit profiles, centred (Pearson) or not (cosine).

    Parameters
    ----------
    profiles
        (D, G) queries.
    centre
        Whether profiles are centred: Pearson.
    columns
        (C,) genes that are compared, all where None; other genes of the queries are not looked at.
    """

    def __init__(self, profiles: Profiles, centre: bool, columns: NDArray[np.int64] | None = None) -> None:
        self._centre, self._columns = centre, columns
        self._unit = unit_profiles(profiles if columns is None else profiles[:, columns], centre)

    def __len__(self) -> int:
        return len(self._unit)

    def against(self, references: Profiles) -> Scores:
        """Return (D, M) float32 within -1 and 1 up to rounding."""
        compared = references if self._columns is None else references[:, self._columns]
        scores: Scores = self._unit @ unit_profiles(compared, self._centre).T
        return scores

    def against_ranked(self, references: RankedBlock) -> Scores:
        """Return what `against` returns; cosines over all genes by the references' known lengths."""
        if self._centre or self._columns is not None:
            return self.against(references.values)
        scores: Scores = self._unit @ references.values.T
        scores /= references.lengths
        return scores


def set_size(n_genes: int) -> int:
    """Return how many genes a profile's up set, and its down set, have."""
    return min(max(round(SET_SHARE * n_genes), FEWEST_IN_A_SET), n_genes // 2)


def extreme_sets(profiles: Profiles, size: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the (D, K) highest and the (D, K) lowest genes of (D, G) profiles, ties in gene order."""
    wanted = set_size(profiles.shape[1]) if size is None else size
    return ranked_order(profiles)[:, :wanted], ranked_order(-profiles)[:, :wanted]


class WeightedConnectivity:
    """The weighted connectivity score of up and down sets (WTCS).

    (ES_up - ES_down) / 2 where the two enrichment scores differ in sign, else 0; ES is the weighted
    Kolmogorov-Smirnov running sum over the reference's ranking, ties in gene order (Subramanian et al.,
    Cell 171, 1437 (2017)). A set whose genes are all zero in a reference scores 0 there.

    Parameters
    ----------
    up, down
        D sets of gene positions each; none is empty.
    n_genes
        G, genes of the references.
    """

    def __init__(
        self, up: Sequence[NDArray[np.int64]], down: Sequence[NDArray[np.int64]], n_genes: int
    ) -> None:
        members = [np.sort(each) for pair in zip(up, down, strict=True) for each in pair]
        self._sets = _set_index(members, n_genes)
        self._members = members

    def __len__(self) -> int:
        return len(self._sets) // 2

    def against(self, references: Profiles) -> Scores:
        """Return (D, M) float32 within -1 and 1."""
        found = np.nan_to_num(enrichment_scores(references, self._sets).T, nan=0.0)
        return _weighted_scores(found[0::2], found[1::2])

    def against_ranked(self, references: RankedBlock) -> Scores:
        """Return what `against` returns, without a look at genes outside of the sets."""
        found = np.nan_to_num(ranked_enrichment(references, self._members), nan=0.0)
        return _weighted_scores(found[0::2], found[1::2])


def _weighted_scores(up: NDArray[np.float64], down: NDArray[np.float64]) -> Scores:
    return np.where(np.sign(up) * np.sign(down) < 0, (up - down) / 2, 0.0).astype(np.float32)


def _set_index(sets: list[NDArray[np.int64]], n_genes: int) -> SetIndex:
    sizes = np.array([len(each) for each in sets], dtype=np.int64)
    if not len(sets) or not sizes.all() or sizes.max() >= n_genes:
        raise SchemaError(
            f"A query needs at least one gene up and one down, and fewer than all {n_genes} genes; the sets "
            f"have {sorted(set(sizes.tolist()))}. Check that genes and profiles bear the same names."
        )
    return SetIndex(
        names=tuple(map(str, range(len(sets)))),
        members=np.concatenate(sets).astype(np.int32),
        starts=np.cumsum(sizes) - sizes,
        sizes=sizes,
        full_sizes=sizes,
        n_genes=n_genes,
        dropped=(),
    )


class ExtremeSum:
    """XSum: the reference's extreme values summed over the up set, minus those over the down set.

    Cheng et al., Genome Medicine 6, 95 (2014). Extreme are the highest and the lowest tenth of the
    reference's genes. In the reference's unit: references of large effect score high.

    Parameters
    ----------
    up, down
        D sets of gene positions each.
    n_genes
        G, genes of the references.
    """

    def __init__(
        self, up: Sequence[NDArray[np.int64]], down: Sequence[NDArray[np.int64]], n_genes: int
    ) -> None:
        self._signs = np.zeros((len(up), n_genes), dtype=np.float32)
        for row, (rising, falling) in enumerate(zip(up, down, strict=True)):
            self._signs[row, rising], self._signs[row, falling] = 1.0, -1.0

    def __len__(self) -> int:
        return len(self._signs)

    def against(self, references: Profiles) -> Scores:
        """Return (D, M) float32 in the unit of the references."""
        kept = np.zeros(references.shape, dtype=np.float32)
        for genes in extreme_sets(references, _n_extreme(references.shape[1])):
            np.put_along_axis(kept, genes, np.take_along_axis(references, genes, axis=1), axis=1)
        scores: Scores = self._signs @ kept.T
        return scores

    def against_ranked(self, references: RankedBlock) -> Scores:
        """Return what `against` returns, but of tied genes the last of the ranking count as lowest."""
        n_genes = self._signs.shape[1]
        first, last = _n_extreme(n_genes), n_genes - _n_extreme(n_genes)
        found = np.empty((len(self), len(references)), dtype=np.float32)
        for row, signs in enumerate(self._signs):
            members = np.flatnonzero(signs)
            ranks = references.ranks.take(members, axis=1)
            values = references.values.take(members, axis=1).astype(np.float32, copy=False)
            values[(ranks >= first) & (ranks < last)] = 0
            found[row] = values @ signs[members]
        return found


def _n_extreme(n_genes: int) -> int:
    return max(round(EXTREME_SHARE * n_genes), 1)


@dataclass(frozen=True, slots=True)
class ConnectivityScore:
    """A way to compare profiles: what it is, and how profiles become queries."""

    name: str
    title: str
    of_profiles: Callable[[Profiles], Queries]


def _weighted_of(profiles: Profiles) -> Queries:
    up, down = extreme_sets(profiles)
    return WeightedConnectivity(list(up), list(down), profiles.shape[1])


def _extreme_of(profiles: Profiles) -> Queries:
    up, down = extreme_sets(profiles)
    return ExtremeSum(list(up), list(down), profiles.shape[1])


SCORES: Final[Mapping[str, ConnectivityScore]] = MappingProxyType(
    {
        score.name: score
        for score in (
            ConnectivityScore("cosine", "cosine over all genes", lambda found: ProfileProducts(found, False)),
            ConnectivityScore(
                "pearson", "Pearson over all genes", lambda found: ProfileProducts(found, True)
            ),
            ConnectivityScore("wtcs", "weighted connectivity (WTCS)", _weighted_of),
            ConnectivityScore("xsum", "XSum of extreme genes", _extreme_of),
        )
    }
)
"""Every score by its name."""


def get_score(name: str) -> ConnectivityScore:
    """Return a score; ConfigError with the nearest names where it is not known."""
    if name not in SCORES:
        near = nearest_known(name, SCORES) or list(SCORES)
        raise ConfigError(f"Unknown connectivity score {name!r}. Use {' or '.join(near)}.")
    return SCORES[name]

"""Known drug-target pairs, as the queries and genes of one match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class KnownPairs:
    """Targets of drugs.

    Attributes
    ----------
    targets
        Drug -> symbols of its targets; drugs without profiles too (they tell which targets are popular).
    source
        Name for people.
    """

    targets: Mapping[str, frozenset[str]]
    source: str = "known targets"

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]], source: str = "known targets") -> KnownPairs:
        """Collect (drug, symbol) pairs; repeats count once."""
        found: dict[str, set[str]] = {}
        for drug, symbol in pairs:
            found.setdefault(drug, set()).add(symbol)
        return cls({drug: frozenset(symbols) for drug, symbols in sorted(found.items())}, source)


@dataclass(frozen=True)
class Pairs:
    """P pairs of a query and a gene, sorted by query.

    Attributes
    ----------
    query, gene
        (P,) int64: row of the query table, position among the perturbed genes.
    """

    query: Positions
    gene: Positions

    def __len__(self) -> int:
        return len(self.query)

    def take(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.query[chosen], self.gene[chosen])


def pairs_of(
    drugs: Sequence[str],
    targets: Mapping[str, frozenset[str]],
    perturbed: tuple[str, ...],
    is_ranked: NDArray[np.bool_],
) -> Pairs:
    """Return the known pairs that are ranked.

    Parameters
    ----------
    drugs
        (Q,) drug of each query.
    targets
        Drug -> symbols.
    perturbed
        The P perturbed genes of the library.
    is_ranked
        (Q, P) or broadcastable, whether a query's ranking holds a gene.
    """
    position = {gene: index for index, gene in enumerate(perturbed)}
    query, gene = [], []
    for row, drug in enumerate(drugs):
        found = sorted(position[symbol] for symbol in targets.get(drug, ()) if symbol in position)
        kept = [index for index in found if is_ranked[row, index]]
        query += [row] * len(kept)
        gene += kept
    return Pairs(np.array(query, dtype=np.int64), np.array(gene, dtype=np.int64))


def dealt_again(
    targets: Mapping[str, frozenset[str]], drugs: list[str], seed: int
) -> dict[str, frozenset[str]]:
    """Deal the drugs' target sets to other drugs: each drug gets another's, less its own true targets.

    Parameters
    ----------
    targets
        Drug -> symbols.
    drugs
        The drugs that exchange their targets; at least two, else nothing is dealt.
    seed
        Of the order.
    """
    if len(drugs) < 2:
        return {}
    order = np.random.default_rng(seed).permutation(len(drugs))
    following = np.roll(order, 1)
    return {
        drugs[own]: targets[drugs[other]] - targets[drugs[own]]
        for own, other in zip(order, following, strict=True)
    }

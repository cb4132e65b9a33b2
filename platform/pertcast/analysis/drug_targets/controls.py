"""What could recover targets without knowing the drug's profile: the controls beside every result.

Each gives every pair of drug and gene a score, and is ranked over the same genes as the result itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.association import FloatArray
from pertcast.analysis.drug_targets.kept import PairRanks
from pertcast.analysis.drug_targets.known import KnownPairs, Pairs, dealt_again, pairs_of

SHUFFLED: Final = "shuffled"
POPULAR: Final = "popular"
EFFECT_SIZE: Final = "effect_size"
OWN_GENE: Final = "own_gene"

TITLES: Final = {
    SHUFFLED: "Control: targets of other drugs (shuffled pairs)",
    POPULAR: "Control: popular targets (of other drugs)",
    EFFECT_SIZE: "Control: effect size of the gene profile alone",
    OWN_GENE: "Control: the drug's value at the gene itself",
}

VectorOfQuery = Callable[[int], FloatArray]
"""Query -> (P,) score of every perturbed gene."""


@dataclass(frozen=True)
class PairScores:
    """Scores of known pairs by one contender, and how their query's other genes stand against them.

    Attributes
    ----------
    name, title
        Of the contender.
    pairs
        The P pairs.
    score
        (P,) scores.
    above
        (P,) share of the query's non-targets that score above the pair, equal ones counted half; NaN where
        there is none.
    among
        (P,) the same among those non-targets that are targets of some drug of the table.
    negatives
        (Q, K) scores of sampled non-targets; NaN where not ranked or a target.
    """

    name: str
    title: str
    pairs: Pairs
    score: FloatArray
    above: FloatArray
    among: FloatArray
    negatives: FloatArray


@dataclass(frozen=True)
class Ranking:
    """Which genes each query ranks, and which of them have their scores kept.

    Attributes
    ----------
    is_ranked
        (Q, P) bool.
    sample
        (K,) int64 perturbed genes, rising: drawn ones and all targets of the table.
    is_drawn, is_target
        (K,) bool, why each is kept.
    """

    is_ranked: NDArray[np.bool_]
    sample: NDArray[np.int64]
    is_drawn: NDArray[np.bool_]
    is_target: NDArray[np.bool_]

    def judged(
        self, name: str, title: str, pairs: Pairs, score: FloatArray, above: FloatArray, hidden: FloatArray
    ) -> PairScores:
        """Set pairs against the kept scores (Q, K), of which own targets are hidden."""
        among = shares_above(pairs, score, hidden[:, self.is_target])
        return PairScores(name, title, pairs, score, above, among, hidden[:, self.is_drawn])

    def hidden(self, pairs: Pairs, kept: FloatArray) -> FloatArray:
        """Return (Q, K) kept scores without those of a query's targets and of genes that are not ranked."""
        found = np.where(self.is_ranked[:, self.sample], kept, np.nan)
        place = np.searchsorted(self.sample, pairs.gene)
        found[pairs.query, place] = np.nan
        return found


def _by_query(pairs: Pairs) -> list[tuple[int, NDArray[np.int64]]]:
    """Return (query, places of its pairs) for every query that has pairs."""
    queries, first = np.unique(pairs.query, return_index=True)
    places = np.split(np.arange(len(pairs)), first[1:])
    return list(zip(queries.tolist(), places, strict=True)) if len(queries) else []


def shares_above(pairs: Pairs, score: FloatArray, others: FloatArray) -> FloatArray:
    """Return (P,) the share of a query's finite `others` (Q, K) above each pair, equal ones counted half."""
    above = np.full(len(pairs), np.nan)
    for query, places in _by_query(pairs):
        row = others[query]
        row = np.sort(row[np.isfinite(row)])
        if len(row):
            below = [np.searchsorted(row, score[places], side) for side in ("left", "right")]
            above[places] = 1.0 - (below[0] + below[1]) / (2 * len(row))
    return above


def from_ranks(
    name: str,
    title: str,
    ranks: PairRanks,
    n_genes: NDArray[np.int64],
    kept: NDArray[np.float32],
    ranking: Ranking,
) -> PairScores:
    """Return the scores of pairs that were ranked while the library streamed by.

    Parameters
    ----------
    name, title
        Of the contender.
    ranks
        Counts among all genes of the ranking.
    n_genes
        (Q,) genes of each query's ranking.
    kept
        (Q, K) scores of the sampled genes.
    ranking
        What they are.
    """
    known = np.isfinite(ranks.score)
    pairs, score = ranks.pairs.take(known), ranks.score[known]
    worse = (ranks.greater + ranks.equal / 2)[known]
    above = np.full(len(pairs), np.nan)
    for query, places in _by_query(pairs):
        own = score[places]
        among = (own[None, :] > own[:, None]).sum(1) + ((own[None, :] == own[:, None]).sum(1) - 1) / 2
        n_others = int(n_genes[query]) - len(places)
        if n_others > 0:
            above[places] = (worse[places] - among) / n_others
    return ranking.judged(name, title, pairs, score, above, ranking.hidden(pairs, kept))


def from_vectors(name: str, pairs: Pairs, ranking: Ranking, vector_of: VectorOfQuery) -> PairScores:
    """Return the scores of a contender that gives a vector over genes for every query."""
    score, above = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan)
    kept = np.full((len(ranking.is_ranked), len(ranking.sample)), np.nan)
    for query, places in _by_query(pairs):
        vector = vector_of(query)
        kept[query] = vector[ranking.sample]
        is_other = ranking.is_ranked[query].copy()
        is_other[pairs.gene[places]] = False
        score[places] = vector[pairs.gene[places]]
        own = Pairs(np.zeros(len(places), dtype=np.int64), pairs.gene[places])
        above[places] = shares_above(own, score[places], vector[None, is_other])
    return ranking.judged(name, TITLES[name], pairs, score, above, ranking.hidden(pairs, kept))


def popular_targets(
    known: KnownPairs, drugs: list[str], perturbed: tuple[str, ...], pairs: Pairs, ranking: Ranking
) -> PairScores:
    """Rank genes by how many *other* drugs of the whole table target them."""
    counts = Counter(symbol for symbols in known.targets.values() for symbol in symbols)
    total = np.array([counts[gene] for gene in perturbed], dtype=np.float64)
    position = {gene: index for index, gene in enumerate(perturbed)}

    def vector(query: int) -> FloatArray:
        found = total.copy()
        own = [position[symbol] for symbol in known.targets[drugs[query]] if symbol in position]
        found[own] -= 1
        return found

    return from_vectors(POPULAR, pairs, ranking, vector)


def effect_sizes_alone(
    sizes: NDArray[np.float32], stratum_of_query: NDArray[np.int64], pairs: Pairs, ranking: Ranking
) -> PairScores:
    """Rank genes by the length of their profile, the same for every drug."""
    wide = sizes.astype(np.float64)
    return from_vectors(EFFECT_SIZE, pairs, ranking, lambda query: wide[stratum_of_query[query]])


def own_gene_alone(
    profiles: NDArray[np.float32],
    genes: tuple[str, ...],
    perturbed: tuple[str, ...],
    pairs: Pairs,
    ranking: Ranking,
) -> PairScores:
    """Rank genes by how far the drug lowers the gene's own transcript; a gene that is not measured gets 0.

    Parameters
    ----------
    profiles
        (Q, G) profiles of the queries.
    genes, perturbed
        Names of the measured and of the perturbed genes.
    pairs, ranking
        Of the result.
    """
    measured = {gene: index for index, gene in enumerate(genes)}
    inside = np.array([index for index, gene in enumerate(perturbed) if gene in measured], dtype=np.int64)
    place = np.array([measured[perturbed[index]] for index in inside], dtype=np.int64)

    def vector(query: int) -> FloatArray:
        found = np.zeros(len(perturbed))
        found[inside] = -profiles[query, place]
        return found

    return from_vectors(OWN_GENE, pairs, ranking, vector)


def shuffled_pairs(
    known: KnownPairs,
    drugs: list[str],
    perturbed: tuple[str, ...],
    ranking: Ranking,
    seed: int,
) -> Pairs:
    """Return the pairs in which every drug bears the targets of another."""
    judged = sorted({drug for drug in drugs if drug in known.targets})
    return pairs_of(drugs, dealt_again(known.targets, judged, seed), perturbed, ranking.is_ranked)


def from_sample(pairs: Pairs, score: FloatArray, hidden: FloatArray, ranking: Ranking) -> PairScores:
    """Return shuffled pairs ranked among sampled genes only: enough for a control of many pairs.

    Parameters
    ----------
    pairs, score
        P pairs, sorted by query, and their scores.
    hidden
        (Q, K) scores of the sampled genes without the true targets.
    ranking
        What they are.
    """
    above = shares_above(pairs, score, hidden[:, ranking.is_drawn])
    return ranking.judged(SHUFFLED, TITLES[SHUFFLED], pairs, score, above, hidden)

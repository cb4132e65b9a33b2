"""Genes ranked for every query while the library streams by: only the best and the targets' ranks are kept.

A board is one ranking: of one type of perturbation, or of all types combined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.analysis.connectivity.scores import ConnectivityScore, Queries
from pertcast.analysis.drug_targets.drugs import QueryPlan, Stratum
from pertcast.analysis.drug_targets.kept import ROWS_AT_ONCE, BestGenes, PairRanks, Scores
from pertcast.analysis.drug_targets.known import Pairs
from pertcast.analysis.drug_targets.library import GeneLibrary, Mean, Segment

COMBINED: Final = "combined"
OPPOSED: Final = frozenset({"trt_oe", "trt_act"})
"""Types that an inhibitor opposes: more of the gene, not less."""


@dataclass(frozen=True)
class ScoredBlock:
    """Signed scores of the queries of a stratum and the genes of a block, on one board.

    Attributes
    ----------
    board
        A type's code, or `COMBINED`.
    stratum
        Number of the stratum.
    gene
        (M,) int64 rising.
    scores
        (D, M) float32; high where the drug inhibits the gene.
    sizes
        (M,) float32 length of the gene profiles (the mean over types where combined).
    """

    board: str
    stratum: int
    gene: NDArray[np.int64]
    scores: Scores
    sizes: NDArray[np.float32]


@dataclass(frozen=True)
class Matcher:
    """Queries, ready to be compared with a library.

    Attributes
    ----------
    library
        The gene profiles.
    plan
        Which query is compared where.
    queries
        The prepared queries of each stratum.
    means
        Mean profile to remove from each type and line; empty: nothing is removed.
    """

    library: GeneLibrary
    plan: QueryPlan
    queries: tuple[Queries, ...]
    means: Mapping[tuple[str, str], Mean]

    @classmethod
    def of(
        cls,
        score: ConnectivityScore,
        profiles: NDArray[np.float32],
        library: GeneLibrary,
        plan: QueryPlan,
        means: Mapping[tuple[str, str], Mean],
    ) -> Matcher:
        """Prepare queries from drug profiles (N, G)."""
        wanted = plan.weights @ profiles
        return cls(
            library, plan, tuple(score.of_profiles(wanted[each.queries]) for each in plan.strata), means
        )

    @property
    def boards(self) -> tuple[str, ...]:
        """The rankings: each type, and all combined where there are several."""
        types = self.library.types
        return (*types, COMBINED) if len(types) > 1 else types

    def blocks(
        self,
        wanted: NDArray[np.bool_] | None = None,
        progress: ProgressCallback = no_progress,
        note: str = "",
    ) -> Iterator[ScoredBlock]:
        """Yield the scores of a library, or of its `wanted` genes (P,), a block at a time."""
        for segments in self.library.blocks(wanted, progress, note):
            centred = [self._centred(segment) for segment in segments]
            for number, stratum in enumerate(self.plan.strata):
                by_type = _of_stratum(centred, stratum)
                yield from self._scored(number, by_type)

    def _centred(self, segment: Segment) -> Segment:
        mean = self.means.get((segment.pert_type, segment.cell_iname))
        if mean is None:
            return segment
        values = segment.profiles - mean
        return Segment(segment.pert_type, segment.cell_iname, segment.gene, values)

    def _scored(self, stratum: int, by_type: list[Segment]) -> Iterator[ScoredBlock]:
        scored = []
        for segment in by_type:
            scores = self.queries[stratum].against(segment.profiles)
            if segment.pert_type in OPPOSED:
                np.negative(scores, out=scores)
            length = np.sqrt(np.einsum("ij,ij->i", segment.profiles, segment.profiles))
            scored.append(ScoredBlock(segment.pert_type, stratum, segment.gene, scores, length))
            yield scored[-1]
        if scored and COMBINED in self.boards:
            yield combine(scored)


def _of_stratum(segments: list[Segment], stratum: Stratum) -> list[Segment]:
    """Return one segment a type: those of the line, or the mean over lines."""
    if stratum.cell_iname is not None:
        return [each for each in segments if each.cell_iname == stratum.cell_iname]
    found = []
    for pert_type in dict.fromkeys(each.pert_type for each in segments):
        own = [each for each in segments if each.pert_type == pert_type]
        found.append(own[0] if len(own) == 1 else _mean_over_lines(own))
    return found


def _mean_over_lines(segments: list[Segment]) -> Segment:
    genes = np.unique(np.concatenate([each.gene for each in segments]))
    total = np.zeros((len(genes), segments[0].profiles.shape[1]), dtype=np.float32)
    count = np.zeros(len(genes), dtype=np.float32)
    for each in segments:
        place = np.searchsorted(genes, each.gene)
        total[place] += each.profiles
        count[place] += 1
    return Segment(segments[0].pert_type, "", genes, total / count[:, None])


def combine(scored: list[ScoredBlock]) -> ScoredBlock:
    """Combine the types' scores of a block: their sum over the square root of how many a gene has.

    Stouffer's rule: without any resemblance the result scatters alike for genes of one type and of three.
    """
    genes = np.unique(np.concatenate([each.gene for each in scored]))
    if all(len(each.gene) == len(genes) for each in scored):
        total = np.empty_like(scored[0].scores)
        share = np.float32(1 / np.sqrt(len(scored)))
        for start in range(0, len(total), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            np.multiply(scored[0].scores[part], share, out=total[part])
            for each in scored[1:]:
                total[part] += share * each.scores[part]
        sizes = np.stack([each.sizes for each in scored]).mean(axis=0)
        return ScoredBlock(COMBINED, scored[0].stratum, genes, total, sizes)
    total = np.zeros((len(scored[0].scores), len(genes)), dtype=np.float32)
    count, sizes = np.zeros(len(genes), dtype=np.float32), np.zeros(len(genes), dtype=np.float32)
    for each in scored:
        place = np.searchsorted(genes, each.gene)
        total[:, place] += each.scores
        count[place] += 1
        sizes[place] += each.sizes
    total /= np.sqrt(count)
    return ScoredBlock(COMBINED, scored[0].stratum, genes, total, (sizes / count).astype(np.float32))


@dataclass
class Ranked:
    """What remains of a library that streamed by.

    Attributes
    ----------
    best
        Board -> best genes.
    ranks
        Board -> ranks of the known pairs.
    n_genes
        Board -> (Q,) number of genes that each query's ranking holds.
    sizes
        (S, P) float32, effect size of the gene profiles in each stratum, of the primary board; NaN: none.
    sample
        (K,) int64 perturbed genes whose scores are kept.
    sampled
        Board -> (Q, K) float32 scores of the sampled genes; NaN where not ranked.
    """

    best: dict[str, BestGenes]
    ranks: dict[str, PairRanks]
    n_genes: dict[str, NDArray[np.int64]]
    sizes: NDArray[np.float32]
    sample: NDArray[np.int64]
    sampled: dict[str, Scores]


def score_pairs(
    matcher: Matcher, pairs: Pairs, progress: ProgressCallback = no_progress
) -> dict[str, Scores]:
    """Return board -> (P,) scores of pairs, reading their genes only; NaN where a board has no such gene."""
    found = {board: np.full(len(pairs), np.nan, dtype=np.float32) for board in matcher.boards}
    if not len(pairs):
        return found
    wanted = np.zeros(len(matcher.library.perturbed), dtype=np.bool_)
    wanted[pairs.gene] = True
    column = np.full(len(wanted), -1, dtype=np.int64)
    for block in matcher.blocks(wanted, progress, "known targets"):
        queries = matcher.plan.strata[block.stratum].queries
        start, stop = np.searchsorted(pairs.query, (queries.start, queries.stop))
        column[block.gene] = np.arange(len(block.gene))
        own = column[pairs.gene[start:stop]]
        here = np.flatnonzero(own >= 0)
        found[block.board][start + here] = block.scores[pairs.query[start + here] - queries.start, own[here]]
        column[block.gene] = -1
    return found


def rank_genes(
    matcher: Matcher,
    pairs: Pairs,
    pair_scores: Mapping[str, Scores],
    *,
    keep: int,
    sample: NDArray[np.int64],
    progress: ProgressCallback = no_progress,
) -> Ranked:
    """Rank every gene of the library for every query, in one pass and at constant memory.

    Parameters
    ----------
    matcher
        Queries and library.
    pairs, pair_scores
        Known pairs, and `score_pairs` of them.
    keep
        Best genes to keep of every ranking.
    sample
        Perturbed genes whose scores are kept, rising: for figures that need more than counts.
    progress
        Told of profiles read.
    """
    n_queries, n_perturbed = matcher.plan.table.height, len(matcher.library.perturbed)
    boards, primary = matcher.boards, matcher.boards[-1]
    ranked = Ranked(
        best={board: BestGenes(n_queries, keep) for board in boards},
        ranks={board: PairRanks(pairs, pair_scores[board], n_perturbed) for board in boards},
        n_genes={board: np.zeros(n_queries, dtype=np.int64) for board in boards},
        sizes=np.full((len(matcher.plan.strata), n_perturbed), np.nan, dtype=np.float32),
        sample=sample,
        sampled={board: np.full((n_queries, len(sample)), np.nan, np.float32) for board in boards},
    )
    for block in matcher.blocks(progress=progress, note="ranking"):
        queries = matcher.plan.strata[block.stratum].queries
        ranked.best[block.board].add(queries, block.gene, block.scores)
        ranked.ranks[block.board].add(queries, block.gene, block.scores)
        ranked.n_genes[block.board][queries] += len(block.gene)
        if block.board == primary:
            ranked.sizes[block.stratum, block.gene] = block.sizes
        _, place, column = np.intersect1d(sample, block.gene, assume_unique=True, return_indices=True)
        ranked.sampled[block.board][queries, place] = block.scores[:, column]
    return ranked

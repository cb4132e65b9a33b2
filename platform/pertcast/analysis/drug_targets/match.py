"""Match drugs with the genes of a library: rankings, ranks of known targets, and controls beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.analysis.association import N_DRAWS
from pertcast.analysis.connectivity.scores import ConnectivityScore, get_score
from pertcast.analysis.drug_targets import controls
from pertcast.analysis.drug_targets.controls import PairScores, Ranking
from pertcast.analysis.drug_targets.drugs import DrugProfiles, QueryPlan, plan_queries
from pertcast.analysis.drug_targets.known import KnownPairs, Pairs, pairs_of
from pertcast.analysis.drug_targets.library import GeneLibrary
from pertcast.analysis.drug_targets.ranking import Matcher, Ranked, rank_genes, score_pairs
from pertcast.analysis.drug_targets.recovery import Recovery, recovery_of
from pertcast.analysis.drug_targets.result import TargetMatch
from pertcast.analysis.drug_targets.tables import best_table, known_table

RESULT: Final = "result"
_SAMPLED_SCORES: Final = 2_000_000
_FEWEST_SAMPLED: Final = 200
_MEANS_WORDS: Final = {True: "mean profiles removed", False: "mean profiles kept"}


@dataclass(frozen=True)
class MatchOptions:
    """How drugs and genes are compared.

    Attributes
    ----------
    score
        A name of `connectivity.SCORES`.
    keep
        Best genes kept of every ranking.
    removes_means
        Remove the mean profile of the drugs of each line, and of the library's types in each line.
    consensus
        Compare all drugs by their mean over cell lines, shared or not.
    n_shuffles
        How often known pairs are shuffled.
    n_draws, seed
        Of the bootstrap over drugs; the seed also of shuffles and sampled genes.
    """

    score: str = "pearson"
    keep: int = 50
    removes_means: bool = True
    consensus: bool = False
    n_shuffles: int = 3
    n_draws: int = N_DRAWS
    seed: int = 0


@dataclass(frozen=True)
class _Run:
    """One way of comparing, carried out."""

    matcher: Matcher
    ranking: Ranking
    pairs: Pairs
    shuffled: tuple[tuple[Pairs, NDArray[np.float32]], ...]
    ranked: Ranked
    profiles: NDArray[np.float32]

    @property
    def primary(self) -> str:
        return self.matcher.boards[-1]

    @property
    def drugs(self) -> list[str]:
        return self.matcher.plan.table["drug"].to_list()

    def scores(self, board: str, name: str, title: str) -> PairScores:
        """Return the known pairs on a board."""
        found = self.ranked
        return controls.from_ranks(
            name, title, found.ranks[board], found.n_genes[board], found.sampled[board], self.ranking
        )


def match_drug_targets(
    drugs: DrugProfiles,
    library: GeneLibrary,
    known: KnownPairs | None = None,
    *,
    options: MatchOptions | None = None,
    measured: GeneLibrary | None = None,
    remarks: tuple[str, ...] = (),
    progress: ProgressCallback = no_progress,
) -> TargetMatch:
    """Rank every gene of a library for every drug, and say how known targets stand.

    Parameters
    ----------
    drugs, library
        Profiles over the same genes in the same order.
    known
        Known targets; without them there are rankings only.
    options
        How they are compared.
    measured
        A second library of measured profiles over the same genes: what it recovers is shown beside.
    remarks
        What was left out before.
    progress
        Told of profiles read, with a note which pass it is.

    Raises
    ------
    SchemaError
        Profiles of drugs and library differ in width, hold NaN, or no ranked gene is a known target.
    """
    asked = options or MatchOptions()
    score = get_score(asked.score)
    _require_same_width(drugs, library, measured)
    main = _run(drugs, library, known, score, asked, progress)
    recovery: tuple[Recovery, ...] = ()
    if known is not None:
        _require_pairs(known, main, library)
        beside = _beside(drugs, library, measured, known, score, asked, progress)
        recovery = _recoveries(main, beside, known, asked)
    return TargetMatch(
        facts=_facts(drugs, library, main, score, asked),
        targets=best_table(main.matcher, main.ranked, known),
        known=None if known is None else known_table(main.matcher, main.ranked),
        recovery=recovery,
        remarks=remarks,
    )


def _require_same_width(drugs: DrugProfiles, *libraries: GeneLibrary | None) -> None:
    for library in libraries:
        if library is not None and len(library.genes) != drugs.profiles.shape[1]:
            raise SchemaError(
                f"{drugs.source} has profiles of {drugs.profiles.shape[1]} genes, {library.source} of "
                f"{len(library.genes)}. Restrict both to the genes that they share."
            )


def _run(
    drugs: DrugProfiles,
    library: GeneLibrary,
    known: KnownPairs | None,
    score: ConnectivityScore,
    asked: MatchOptions,
    progress: ProgressCallback,
) -> _Run:
    plan = plan_queries(drugs, library.lines, asked.consensus)
    used = [stratum.cell_iname for stratum in plan.strata if stratum.cell_iname is not None]
    if len(used) == len(plan.strata):
        library = replace(library, rows=library.rows.filter(pl.col("cell_iname").is_in(used)))
    profiles = drugs.centred() if asked.removes_means else drugs.profiles
    means = library.means(progress) if asked.removes_means else {}
    matcher = Matcher.of(score, profiles, library, plan, means)
    ranking = _ranking(library, plan, known, asked.seed)
    names = plan.table["drug"].to_list()
    targets = {} if known is None else known.targets
    pairs = pairs_of(names, targets, library.perturbed, ranking.is_ranked)
    dealt = [
        controls.shuffled_pairs(known, names, library.perturbed, ranking, asked.seed + number)
        for number in range(asked.n_shuffles)
        if known is not None
    ]
    scores, dealt_scores = _scores_of(matcher, pairs, dealt, progress)
    ranked = rank_genes(matcher, pairs, scores, keep=asked.keep, sample=ranking.sample, progress=progress)
    return _Run(
        matcher, ranking, pairs, tuple(zip(dealt, dealt_scores, strict=True)), ranked, plan.weights @ profiles
    )


def _scores_of(
    matcher: Matcher, pairs: Pairs, dealt: list[Pairs], progress: ProgressCallback
) -> tuple[dict[str, NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Score known and shuffled pairs in one pass over their genes."""
    parts = [pairs, *dealt]
    query = np.concatenate([each.query for each in parts])
    order = np.argsort(query, kind="stable")
    together = Pairs(query[order], np.concatenate([each.gene for each in parts])[order])
    found = score_pairs(matcher, together, progress)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    bounds = np.cumsum([len(each) for each in parts])[:-1]
    split = {board: np.split(values[back], bounds) for board, values in found.items()}
    return {board: values[0] for board, values in split.items()}, split[matcher.boards[-1]][1:]


def _is_ranked(library: GeneLibrary, plan: QueryPlan) -> NDArray[np.bool_]:
    """Return (Q, P) whether a query's ranking holds a gene: one of any type in its line, or in any line."""
    by_stratum = np.stack(
        [
            np.any([library.has(pert_type, stratum.cell_iname) for pert_type in library.types], axis=0)
            for stratum in plan.strata
        ]
    )
    found: NDArray[np.bool_] = by_stratum[plan.stratum_of_query()]
    return found


def _ranking(library: GeneLibrary, plan: QueryPlan, known: KnownPairs | None, seed: int) -> Ranking:
    """Choose the genes whose scores are kept: drawn ones (all where they are few) and all known targets."""
    n_genes = len(library.perturbed)
    size = min(max(_SAMPLED_SCORES // plan.table.height, _FEWEST_SAMPLED), n_genes)
    is_drawn, is_target = np.zeros(n_genes, dtype=np.bool_), np.zeros(n_genes, dtype=np.bool_)
    is_drawn[np.random.default_rng(seed).choice(n_genes, size=size, replace=False)] = True
    if known is not None:
        symbols = frozenset().union(*known.targets.values())
        is_target = np.array([gene in symbols for gene in library.perturbed])
    sample = np.flatnonzero(is_drawn | is_target).astype(np.int64)
    return Ranking(_is_ranked(library, plan), sample, is_drawn[sample], is_target[sample])


def _require_pairs(known: KnownPairs, run: _Run, library: GeneLibrary) -> None:
    if len(run.pairs):
        return
    wanted = sorted({symbol for drug in run.drugs for symbol in known.targets.get(drug, ())})
    raise SchemaError(
        f"None of the {len(wanted)} targets that {known.source} names for these drugs "
        f"({', '.join(wanted[:3])}) is among the {len(library.perturbed)} perturbed genes of "
        f"{library.source} ({', '.join(library.perturbed[:3])}). Give targets by the same gene symbols."
    )


def _beside(
    drugs: DrugProfiles,
    library: GeneLibrary,
    measured: GeneLibrary | None,
    known: KnownPairs,
    score: ConnectivityScore,
    asked: MatchOptions,
    progress: ProgressCallback,
) -> list[tuple[PairScores, list[str]]]:
    """Compare in the other ways that stand beside the result: means kept (or removed), measured profiles."""
    few = replace(asked, keep=0, n_shuffles=0)
    other = replace(few, removes_means=not asked.removes_means)
    runs = [("other_means", f"Same, {_MEANS_WORDS[other.removes_means]}", library, other)]
    if measured is not None:
        runs.append(("measured", f"Measured profiles of {measured.source}", measured, few))
    found = []
    for name, title, own, options in runs:
        run = _run(drugs, own, known, score, options, progress)
        found.append((run.scores(run.primary, name, title), run.drugs))
    return found


def _recoveries(
    main: _Run, beside: list[tuple[PairScores, list[str]]], known: KnownPairs, asked: MatchOptions
) -> tuple[Recovery, ...]:
    drugs, facts = main.drugs, {"n_draws": asked.n_draws, "seed": asked.seed}
    types = len(main.matcher.library.types)
    title = f"{get_score(asked.score).title}, {_MEANS_WORDS[asked.removes_means]}"
    if types > 1:
        title += f", {types} types combined"
    own = recovery_of(
        main.scores(main.primary, RESULT, title), drugs, is_control=False, against=None, **facts
    )
    boards = [
        (main.scores(board, board, f"{board} alone"), drugs) for board in main.matcher.boards if types > 1
    ]
    others = [
        recovery_of(found, names, is_control=False, against=own, **facts)
        for found, names in (*boards[:-1], *beside)
    ]
    shown = [
        recovery_of(found, drugs, is_control=True, against=own, **facts) for found in _controls(main, known)
    ]
    return (own, *others, *shown)


def _controls(main: _Run, known: KnownPairs) -> list[PairScores]:
    library, drugs = main.matcher.library, main.drugs
    pairs, ranking, perturbed = main.pairs, main.ranking, library.perturbed
    hidden = ranking.hidden(pairs, main.ranked.sampled[main.primary])
    dealt = [pair for pair in main.shuffled if len(pair[0])]
    shuffled = []
    if dealt:
        query = np.concatenate([each.query for each, _ in dealt])
        order = np.argsort(query, kind="stable")
        together = Pairs(query[order], np.concatenate([each.gene for each, _ in dealt])[order])
        score = np.concatenate([values for _, values in dealt])[order]
        shuffled = [controls.from_sample(together, score, hidden, ranking)]
    return [
        *shuffled,
        controls.popular_targets(known, drugs, perturbed, pairs, ranking),
        controls.effect_sizes_alone(main.ranked.sizes, main.matcher.plan.stratum_of_query(), pairs, ranking),
        controls.own_gene_alone(main.profiles, library.genes, perturbed, pairs, ranking),
    ]


def _facts(
    drugs: DrugProfiles, library: GeneLibrary, run: _Run, score: ConnectivityScore, asked: MatchOptions
) -> dict[str, Any]:
    table = run.matcher.plan.table
    return {
        "drugs": drugs.source,
        "library": library.source,
        "score": score.name,
        "score_title": score.title,
        "removes_means": asked.removes_means,
        "n_drugs": table["drug"].n_unique(),
        "n_queries": table.height,
        "n_consensus": int(table["cell_iname"].null_count()),
        "n_target_genes": int(run.ranking.is_target.sum()),
        "n_genes": len(run.matcher.library.perturbed),
        "n_profiles": run.matcher.library.rows.height,
        "n_shared_genes": len(library.genes),
        "types": list(library.types),
        "lines": sorted({line for line in table["cell_iname"] if line is not None}),
        "boards": list(run.matcher.boards),
        "keep": asked.keep,
        "seed": asked.seed,
    }

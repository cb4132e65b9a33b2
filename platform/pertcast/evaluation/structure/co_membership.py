"""Gene function: whether perturbations of one complex or pathway get similar profiles.

Pairs of perturbed genes are ranked by the similarity of their predicted profiles, beside what could rank
them as well: the measured profiles, the features alone, a network, how much is known of each gene, chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.vocabulary import PAIR_SEPARATOR

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.parts import CoMembership
from pertcast.evaluation.scores.score_board import CLUSTER
from pertcast.evaluation.structure.pair_ranking import GenePairs, rank_pairs
from pertcast.evaluation.structure.profile_similarity import (
    PerturbedRows,
    TypedRows,
    feature_similarity,
)

FEWEST_GENES: Final = 20
"""Perturbed genes that some set must hold; fewer say nothing about function."""
FEWEST_PAIRS: Final = 20
"""Pairs that belong together, and pairs that do not, that are needed at least."""
LARGEST_SET: Final = 500
"""Sets with more genes (all of metabolism) put together what has little to do with each other."""
N_DRAWS: Final = 200

PREDICTED: Final = "predicted"
MEASURED: Final = "measured"
FEATURES: Final = "features"
NETWORK_FEATURES: Final = "network features"
DEGREE: Final = "degree"
SHUFFLED: Final = "shuffled"

_COMPOUND: Final = "trt_cp"
_NOTHING: Final[Mapping[str, FloatArray]] = MappingProxyType({})

Sets = Mapping[str, Sequence[str]]
"""Set name -> its genes."""


def usable_sets(sets: Sets) -> dict[str, frozenset[str]]:
    """Return the sets of 2 to 500 distinct genes."""
    distinct = {name: frozenset(genes) for name, genes in sets.items()}
    return {name: genes for name, genes in distinct.items() if 2 <= len(genes) <= LARGEST_SET}


def _together(genes: Sequence[str], sets: Mapping[str, frozenset[str]]) -> NDArray[np.bool_]:
    """Return (P, P) whether two different genes share a set."""
    place = {gene: index for index, gene in enumerate(genes)}
    entries = [
        (place[gene], number)
        for number, members in enumerate(sets.values())
        for gene in members
        if gene in place
    ]
    rows, columns = np.array(entries, dtype=np.int64).reshape(-1, 2).T
    membership = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(genes), len(sets)))
    shared = np.asarray((membership @ membership.T).todense()) > 0
    np.fill_diagonal(shared, False)
    return shared


def require_enough(perturbed: Sequence[str], annotated: int, sets: Sets, source: str) -> None:
    """Raise a SchemaError where fewer than 20 perturbed genes are in a set."""
    if annotated >= FEWEST_GENES:
        return
    theirs = next((list(genes) for genes in sets.values() if genes), [])
    raise SchemaError(
        f"{annotated} of the {len(set(perturbed))} perturbed genes are in a set of {source} (2 to "
        f"{LARGEST_SET} genes), {FEWEST_GENES} are needed to judge gene function. The sets hold names like "
        f"{', '.join(theirs[:3])}; perturbed are {', '.join(sorted(set(perturbed))[:3])}. Use sets with the "
        "same kind of gene names, or evaluate more perturbations."
    )


def require_both_kinds(pairs: GenePairs, source: str) -> None:
    """Raise a SchemaError where fewer than 20 pairs share a set, or fewer than 20 do not."""
    positive = int(pairs.is_together.sum())
    negative = len(pairs.is_together) - positive
    if min(positive, negative) < FEWEST_PAIRS:
        raise SchemaError(
            f"Of the pairs of perturbed genes in {source}, {positive:,} share a set and {negative:,} do not; "
            f"{FEWEST_PAIRS} of each are needed to judge gene function. Use sets of another size, or "
            "evaluate more perturbations."
        )


def _without_knowledge(together: NDArray[np.bool_], first: FloatArray, seed: int) -> dict[str, FloatArray]:
    """Return the similarities that know nothing of the two genes of a pair together."""
    degree = together.sum(axis=1).astype(np.float64)
    dealt = np.random.default_rng(seed).permutation(len(degree))
    return {DEGREE: np.outer(degree, degree), SHUFFLED: first[np.ix_(dealt, dealt)]}


def co_membership(
    profiles: Mapping[str, FloatArray],
    perturbed: Sequence[str],
    genes: Sequence[str],
    sets: Sets,
    *,
    source: str = "the gene sets",
    features: Mapping[str, FloatArray] = _NOTHING,
    similarities: Mapping[str, FloatArray] = _NOTHING,
    pool: IndexArray | None = None,
    kinds: Sequence[str] | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> CoMembership:
    """Rank pairs of perturbed genes by similarity, and ask how well that finds pairs of a common set.

    Only genes that some set holds are paired: of the others it is not known where they belong. Beside the
    given rows stand "degree" (the product of how many of the others each gene shares a set with: what an
    annotation bias alone would reach) and "shuffled" (the first profiles dealt to other genes).

    Parameters
    ----------
    profiles
        Name -> (N, G) responses, such as "predicted" and "measured"; compared by Pearson correlation without
        the entries of the perturbed genes themselves, see `profile_similarity`.
    perturbed
        The single perturbed gene of each of the N rows; several rows of a gene are averaged.
    genes
        Names of the G measured genes.
    sets
        Set name -> genes; sets of 2 to 500 genes are used.
    source
        Where the sets come from, for people.
    features
        Name -> (N, F) what is known of each row's perturbation; compared by cosine.
    similarities
        Name -> (P, P) of the distinct perturbed genes in sorted order, such as those of a network
        (`neighbour_similarity`).
    pool
        (N,) rows are centred within their pool (cell line); one pool where None.
    kinds
        (N,) perturbation type of each row; one where None. A gene counts once however many types it has:
        profiles are compared type by type, and a pair's similarity is the mean over the types that both of
        its genes have. Pairs without a common type are left out.
    n_draws, seed
        Of the bootstrap over genes, and of the shuffle.

    Raises
    ------
    SchemaError
        Fewer than 20 perturbed genes are in a set, or fewer than 20 pairs share one (or share none).
    """
    usable = usable_sets(sets)
    rows = PerturbedRows.of(perturbed, pool)
    annotated = frozenset().union(*usable.values())
    kept = np.array([gene in annotated for gene in rows.genes])
    require_enough(perturbed, int(kept.sum()), sets, source)
    together = _together(rows.genes, usable)[np.ix_(kept, kept)]
    by_type = TypedRows.of(perturbed, kinds, pool)
    pairs = GenePairs.of(together, by_type.comparable[np.ix_(kept, kept)])
    require_both_kinds(pairs, source)
    given = {name: by_type.similarity(values, genes) for name, values in profiles.items()}
    given |= {name: feature_similarity(values, rows) for name, values in features.items()}
    found = {name: values[np.ix_(kept, kept)] for name, values in {**given, **similarities}.items()}
    found |= _without_knowledge(together, found[next(iter(profiles))], seed)
    ranked = {name: rank_pairs(pairs, values, n_draws, seed) for name, values in found.items()}
    return CoMembership(
        source=source,
        rows={name: area for name, (area, _) in ranked.items()},
        precision={name: precision for name, (_, precision) in ranked.items()},
        n_genes=pairs.n_genes,
        n_pairs=len(pairs.first),
        share_positive=float(pairs.is_together.mean()),
    )


def held_out_function(
    held: HeldOut,
    predictions: Mapping[str, FloatArray],
    sets: Sets,
    *,
    source: str = "the gene sets",
    features: Mapping[str, FloatArray] = _NOTHING,
    similarities: Mapping[str, FloatArray] = _NOTHING,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> CoMembership:
    """Return the gene function of held-out conditions: those that perturb one gene.

    Parameters
    ----------
    held
        The truth: gives the row "measured".
    predictions
        Row name -> (N, G), "predicted" (the model's) first.
    sets, source
        As `co_membership`.
    features
        Row name -> (N, F) features of each condition's perturbation, such as "features" (all of them) and
        "network features".
    similarities, n_draws, seed
        As `co_membership`; similarities are over `single_genes(held)`.

    Raises
    ------
    SchemaError
        No condition perturbs a single gene; or as `co_membership`.
    """
    chosen = single_gene_rows(held)
    if not len(chosen):
        raise SchemaError(
            f"None of the {held.n_conditions} conditions perturbs a single gene: there is no gene function "
            "to recover. Evaluate a screen of genetic perturbations."
        )
    return co_membership(
        {**{name: values[chosen] for name, values in predictions.items()}, MEASURED: held.truth[chosen]},
        held.conditions[CLUSTER].gather(chosen).to_list(),
        held.genes,
        sets,
        source=source,
        features={name: values[chosen] for name, values in features.items()},
        similarities=similarities,
        pool=held.pool[chosen],
        kinds=held.conditions["pert_type"].gather(chosen).to_list(),
        n_draws=n_draws,
        seed=seed,
    )


def single_gene_rows(held: HeldOut) -> IndexArray:
    """Return the held-out conditions that perturb a single gene."""
    kinds, names = held.conditions["pert_type"].to_list(), held.conditions[CLUSTER].to_list()
    return np.array(
        [
            row
            for row, (kind, name) in enumerate(zip(kinds, names, strict=True))
            if kind != _COMPOUND and PAIR_SEPARATOR not in name
        ],
        dtype=np.int64,
    )


def single_genes(held: HeldOut) -> tuple[str, ...]:
    """Return the distinct genes that are perturbed alone, sorted."""
    names = held.conditions[CLUSTER].gather(single_gene_rows(held)).unique().to_list()
    return PerturbedRows.of(names).genes

"""Gene function of a whole screen: whether predicted profiles tell which genes share a complex or pathway.

Each perturbation type is judged by itself, over pairs matched by degree, at constant memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pertcast_data.reading import ProfileReader

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.parts import CoMembership
from pertcast.evaluation.structure.co_membership import (
    DEGREE,
    N_DRAWS,
    NETWORK_FEATURES,
    PREDICTED,
    SHUFFLED,
    Sets,
    require_both_kinds,
    require_enough,
    usable_sets,
)
from pertcast.evaluation.structure.matched_pairs import MOST_PAIRS, Membership, matched_pairs
from pertcast.evaluation.structure.pair_ranking import rank_scores
from pertcast.evaluation.structure.profile_similarity import PerturbedRows
from pertcast.evaluation.structure.streamed_similarity import (
    StreamedProfiles,
    pair_cosine,
    pair_similarity,
)

_MOST_RESAMPLED = 100_000


def screened_function(
    read: ProfileReader,
    perturbed: Sequence[str],
    places: IndexArray,
    genes: Sequence[str],
    sets: Sets,
    *,
    pool: IndexArray,
    source: str = "the gene sets",
    network: Mapping[str, FloatArray] | None = None,
    most_pairs: int = MOST_PAIRS,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> CoMembership:
    """Judge the profiles of one perturbation type.

    Beside "predicted" stand "network features" (cosine of what the networks say of the genes), "degree" (the
    product of the number of others that each gene shares a set with: near .5, as pairs are matched by it)
    and "shuffled" (profiles dealt to other genes).

    Parameters
    ----------
    read
        Reads profiles by row; called for blocks.
    perturbed, places, pool
        (N,) the single gene of each profile, its row for `read`, and the pool (cell line, time) within which
        it is centred; several profiles of a gene are averaged.
    genes
        Names of the G measured genes.
    sets
        Set name -> genes; sets of 2 to 500 genes are used.
    source
        Where the sets come from, for people.
    network
        Gene -> (F,) features of networks alone; genes without count as zero. None where there are none.
    most_pairs
        Pairs judged at most, half of them of a common set.
    n_draws, seed
        Of the bootstrap over genes; of pairs and the shuffle.

    Raises
    ------
    SchemaError
        Too few perturbed genes are in a set, or too few pairs share one.
    """
    usable = usable_sets(sets)
    annotated = frozenset().union(*usable.values())
    kept = np.array([row for row, gene in enumerate(perturbed) if gene in annotated], dtype=np.int64)
    rows = PerturbedRows.of([perturbed[row] for row in kept.tolist()], pool[kept])
    require_enough(perturbed, len(rows.genes), sets, source)
    membership = Membership.of(rows.genes, [sorted(members) for members in usable.values()])
    pairs, degree, _ = matched_pairs(membership, most=most_pairs, seed=seed)
    require_both_kinds(pairs, source)
    profiles = StreamedProfiles(read, rows, places[kept], genes)
    dealt = np.random.default_rng(seed).permutation(pairs.n_genes)
    scores = {PREDICTED: pair_similarity(profiles, pairs.first, pairs.second)}
    if network is not None:
        scores[NETWORK_FEATURES] = pair_cosine(_features(network, rows), pairs.first, pairs.second)
    scores[DEGREE] = degree[pairs.first] * degree[pairs.second]
    scores[SHUFFLED] = pair_similarity(profiles, dealt[pairs.first], dealt[pairs.second])
    ranked = {
        name: rank_scores(pairs, values, n_draws, seed, _MOST_RESAMPLED) for name, values in scores.items()
    }
    return CoMembership(
        source=source,
        rows={name: area for name, (area, _) in ranked.items()},
        precision={name: precision for name, (_, precision) in ranked.items()},
        n_genes=pairs.n_genes,
        n_pairs=len(pairs.first),
        share_positive=float(pairs.is_together.mean()),
    )


def _features(network: Mapping[str, FloatArray], rows: PerturbedRows) -> FloatArray:
    width = next((len(values) for values in network.values()), 0)
    features = np.zeros((len(rows.genes), width), np.float32)
    for row, gene in enumerate(rows.genes):
        if gene in network:
            features[row] = network[gene]
    return features

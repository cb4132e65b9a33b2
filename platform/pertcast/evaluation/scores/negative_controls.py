"""Permuted labels: a model's own predictions dealt to other perturbations of the same context.

What is left of a score is what any prediction of this kind gets, whichever perturbation it was made for. The
controls that take away a model's input (features shuffled, zeroed) are in `contenders`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.scores.score_board import Contender

PERMUTED: Final = Contender("labels_permuted", "Labels permuted", "control")


def _dealt(cluster: IndexArray, generator: np.random.Generator) -> IndexArray:
    """Return (n,) for each condition another one, of another perturbation where no one has over half of them.

    Conditions are laid out by perturbation, in random order, and moved on by the size of the largest.
    """
    labels, index, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    rank = generator.permutation(len(labels))
    laid_out = np.lexsort((generator.random(len(cluster)), rank[index]))
    source = np.empty(len(cluster), dtype=np.int64)
    source[laid_out] = np.roll(laid_out, int(sizes.max()))
    return source


def permutation(held: HeldOut, seed: int = 0) -> IndexArray:
    """Return (N,) the condition of its pool whose prediction each condition is given; each is used once."""
    generator = np.random.default_rng(seed)
    source = np.arange(held.n_conditions)
    for pool in np.unique(held.pool):
        members = np.flatnonzero(held.pool == pool)
        source[members] = members[_dealt(held.cluster[members], generator)]
    return source


def permuted_labels(prediction: FloatArray, held: HeldOut, seed: int = 0) -> FloatArray:
    """Return (N, G) predictions that were made for other perturbations of the same context.

    Where one perturbation has most of a context's conditions, some cannot be dealt another's prediction; they
    get the training mean, which knows of no perturbation either.

    Parameters
    ----------
    prediction
        (N, G) predicted responses.
    held
        The conditions that they are for.
    seed
        Of the permutation.
    """
    source = permutation(held, seed)
    own = (held.cluster[source] == held.cluster)[:, None]
    dealt: FloatArray = np.where(own, held.train_means(slice(None)), prediction[source])
    return dealt.astype(prediction.dtype)

"""Inner products of a pair's response and its singles' responses, freed of noise, with resampled ones.

Finite cells add to every squared length; here the noise is subtracted, so that no length, coefficient or
share is larger only because fewer cells were measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.stats import chi2

from pertcast.analysis.association import FloatArray
from pertcast.analysis.epistasis.replicates import ReplicateBlocks

PAIR, FIRST, SECOND = range(3)
EXCESS: Final = np.array([1.0, -1.0, -1.0])
"""pair - first - second, as weights of the three responses."""

_ROUNDING: Final = 1e-10


@dataclass(frozen=True)
class PairGram:
    """What is known of the responses d = (pair, first, second) of one pair.

    Attributes
    ----------
    products
        (3, 3) inner products over genes, without bias from noise.
    draws
        (n_draws, 3, 3) the same, resampled.
    excess_p
        p-value of the pair having no excess over the sum of its singles.
    noise
        Squared length that noise adds to the plain excess.
    """

    products: FloatArray
    draws: FloatArray
    excess_p: float
    noise: float


def _influences(
    responses: FloatArray, own: Sequence[FloatArray], controls: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return (n_sources, 3, 3) what each block adds to the products to first order, and (3, 3) noise in them.

    A block's own square is taken out (leave one block out), so that the noise of a long vector of genes is
    not taken for a change of its length.
    """
    noise = np.zeros((3, 3))
    parts = []
    for place, vectors in enumerate(own):
        moved = np.zeros((len(vectors), 3, 3))
        along = vectors @ responses.T
        squares = np.square(vectors).sum(axis=1)
        along[:, place] -= squares
        moved[:, place, :] += along
        moved[:, :, place] += along
        parts.append(moved - moved.mean(axis=0))
        noise[place, place] += squares.sum()
    shared = np.stack(controls)
    along = np.einsum("ibg,jg->bij", shared, responses)
    squares = np.einsum("ibg,jbg->bij", shared, shared)
    moved = -(along + squares)
    moved = moved + moved.transpose(0, 2, 1)
    parts.append(moved - moved.mean(axis=0))
    return np.concatenate(parts), noise + squares.sum(axis=0)


def _without_excess_p(
    square: float, own: Sequence[FloatArray], controls: Sequence[FloatArray], noise: float
) -> float:
    """Return the p-value of a noise-corrected squared length under no excess.

    Squared length plus noise is about a scaled chi-squared with the mean and variance of noise alone
    (Satterthwaite 1946; Box 1954). The variance, 2 tr(S^2), comes from products of *different* blocks, as in
    the test of means in many dimensions of Chen and Qin (2010): a block's own square would overstate it.
    """
    shared = EXCESS[0] * controls[0] + EXCESS[1] * controls[1] + EXCESS[2] * controls[2]
    groups = [*own, shared]
    vectors = np.concatenate(groups)
    products = vectors @ vectors.T
    starts = np.cumsum([0, *(len(group) for group in groups)]).tolist()
    for start, stop in pairwise(starts):
        block = products[start:stop, start:stop]
        count = stop - start
        off = (block.sum() - np.trace(block)) / (count * (count - 1))
        block -= off
        np.fill_diagonal(block, 0.0)
    variance = 2.0 * float(np.square(products).sum())
    if variance <= (_ROUNDING * max(abs(square), noise)) ** 2:
        return 0.0 if square > _ROUNDING else 1.0
    degrees = 2.0 * noise**2 / variance
    return float(chi2.sf((square + noise) * degrees / noise, degrees))


def pair_gram(
    blocks: ReplicateBlocks,
    members: tuple[int, int, int],
    weights: FloatArray,
    n_draws: int,
    generator: np.random.Generator,
) -> PairGram:
    """Return the inner products of one pair, corrected for noise and resampled.

    The draws are a multiplier bootstrap of the first-order part of the products, which are U-statistics of
    blocks (Chen 2018, "jackknife multiplier bootstrap"): pair, singles and controls are resampled together,
    and controls that the three share are shared in the draws.

    Parameters
    ----------
    blocks
        Responses in blocks of replicates.
    members
        Conditions of the pair, the first and the second single.
    weights
        (G,) one, and 0 for genes that do not count.
    n_draws, generator
        Of the resampling.
    """
    responses = np.stack([blocks.response(member) for member in members]) * weights
    own = [blocks.own_noise(member) * weights for member in members]
    controls = [blocks.noise_of_controls(member) * weights for member in members]
    influence, noise = _influences(responses, own, controls)
    products = responses @ responses.T - noise
    signs = generator.standard_normal((n_draws, len(influence)))
    draws = products + np.tensordot(signs, influence, axes=1)
    excess_noise = float(EXCESS @ noise @ EXCESS)
    square = float(EXCESS @ products @ EXCESS)
    scale = float(np.trace(responses @ responses.T))
    if abs(square) <= _ROUNDING * scale:
        square = 0.0
    p = _without_excess_p(square, own, controls, excess_noise) if scale > 0 else 1.0
    return PairGram(products, draws, p if math.isfinite(p) else 1.0, excess_noise)

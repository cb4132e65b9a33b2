"""Stand-ins for the noise-free responses: as spread out as the truth must be, given what noise adds.

The stand-ins are not better estimates of single responses; they have the right sizes and the right
likeness to each other, so that simulated measurements of them score as measurements of the truth would.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast.evaluation.ceilings.deconvolution import energies_without_error, values_without_error
from pertcast.evaluation.ceilings.replicate_noise import ReplicateNoise
from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.evaluation.rowwise import row_blocks

_NOISE_DRAWS: Final = 4


def _squared_norms(values: FloatArray) -> FloatArray:
    norms: FloatArray = np.einsum("ij,ij->i", values, values, dtype=np.float64)
    return norms


def _noise_norms(noise: ReplicateNoise, n_genes: int) -> FloatArray:
    expected = np.empty(noise.n_conditions)
    for rows in row_blocks(noise.n_conditions, n_genes):
        expected[rows] = noise.variance(rows).sum(axis=1)
    return expected


def _spectrum(values: FloatArray) -> tuple[FloatArray, FloatArray, bool]:
    """Return descending eigenvalues and vectors of the smaller Gram matrix, and whether it is over genes."""
    over_genes = values.shape[1] < values.shape[0]
    wide = values.astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(wide.T @ wide if over_genes else wide @ wide.T)
    return np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1], over_genes


def _shapes(deviations: FloatArray, noise_spectrum: FloatArray) -> FloatArray:
    """Return (N, G) deviations with every principal direction weighted by the share that noise leaves of it.

    1 - s_k / d_k, d_k the k-th squared singular value of the data and s_k that of noise alone.
    """
    found, vectors, over_genes = _spectrum(deviations)
    kept = np.maximum(found - noise_spectrum, 0.0)
    factor = np.divide(kept, found, out=np.zeros_like(found), where=found > 0)
    if over_genes:
        shaped = (deviations @ vectors) * factor @ vectors.T
    else:
        shaped = (vectors * factor) @ (vectors.T @ deviations)
    result: FloatArray = shaped.astype(np.float32)
    return result


def _slope(shaped: FloatArray, draws: list[FloatArray]) -> float:
    """Return 4 x the mean variance of noise along the effects: |t + e|^2 scatters by 4 |t|^2 of it."""
    size = _squared_norms(shaped)
    along = np.stack([np.einsum("ij,ij->i", shaped, draw, dtype=np.float64) for draw in draws])
    known = size > 0
    return 4 * float((np.square(along[:, known]) / size[known]).mean()) if known.any() else 0.0


def _resize(shaped: FloatArray, squared_norms: FloatArray) -> FloatArray:
    found = _squared_norms(shaped)
    factor = np.sqrt(np.divide(squared_norms, found, out=np.zeros_like(found), where=found > 0))
    result: FloatArray = (shaped * factor[:, None]).astype(np.float32)
    return result


def _without_axis(values: FloatArray, axis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (N,) coordinates along the rows of `axis` (N, G; unit length or zero), and what is left."""
    along = np.einsum("ij,ij->i", values, axis, dtype=np.float64)
    return along, (values - along[:, None] * axis).astype(np.float32)


def _denoise_pool(
    responses: FloatArray, centre: FloatArray, noise: ReplicateNoise, generator: np.random.Generator
) -> FloatArray:
    """Return stand-ins of one pool: the part along the shared response, and the rest, resized each.

    Without noise (rows that are copies of one another) the responses are their own stand-ins.
    """
    length = np.sqrt(_squared_norms(centre))[:, None]
    axis = np.divide(centre, length, out=np.zeros_like(centre), where=length > 0)
    draws = [_without_axis(noise.draw(generator), axis) for _ in range(_NOISE_DRAWS)]
    along, rest = _without_axis(responses, axis)
    error = np.sqrt(np.mean([np.square(draw) for draw, _ in draws], axis=0))
    rests = [draw for _, draw in draws]
    if not any(draw.any() for draw in rests):
        return responses
    shaped = _shapes(rest, np.mean([_spectrum(draw)[0] for draw in rests], axis=0))
    sampled = np.stack([_squared_norms(draw) for draw in rests])
    scale = _noise_norms(noise, responses.shape[1])
    expected = scale * (sampled.sum() / (len(draws) * scale.sum()))
    constant = np.square(expected) * np.mean(np.square(sampled / expected - 1))
    energy = energies_without_error(_squared_norms(rest) - expected, constant, _slope(shaped, rests))
    pooled = np.sqrt(np.square(error).mean() * scale / scale.mean())
    true_along = values_without_error(along, pooled)
    result: FloatArray = (true_along[:, None] * axis + _resize(shaped, energy)).astype(np.float32)
    return result


def denoised_responses(held: HeldOut, noise: ReplicateNoise, seed: int = 0) -> FloatArray:
    """Return (N, G) stand-ins for the noise-free responses, pool by pool (context).

    A response is split into its part along the context's training mean and the rest. The rest is reduced
    along principal directions by what noise explains there (the spectrum of simulated noise, in the manner of
    parallel analysis). Then both parts are given sizes that are distributed as the true ones: the measured
    sizes without their error (`deconvolution`).

    Parameters
    ----------
    held
        Measured responses.
    noise
        Of the same conditions.
    seed
        Of the simulated noise.
    """
    generator = np.random.default_rng(seed)
    result = np.empty_like(held.truth)
    for pool in np.unique(held.pool):
        members = np.flatnonzero(held.pool == pool)
        centre = held.train_means(members)
        result[members] = _denoise_pool(held.truth[members], centre, noise.take(members), generator)
    return result


def reliability(held: HeldOut, noise: ReplicateNoise) -> FloatArray:
    """Return (N, G) float32 share of signal in the responses' deviations from the training mean.

    t_pg / (t_pg + s_pg): s their noise, t_pg = k_p t_g the variance of the noise-free responses: by gene what
    the measured variance has beyond the noise's, times the relative energy of the condition (both at least
    0).
    """
    signal = np.zeros(held.n_genes)
    energy = np.empty(held.n_conditions)
    for rows in row_blocks(held.n_conditions, held.n_genes):
        squares = np.square(held.truth[rows].astype(np.float64) - held.train_means(rows))
        excess = squares - noise.variance(rows)
        signal += excess.sum(axis=0)
        energy[rows] = excess.sum(axis=1)
    by_gene = np.maximum(signal / held.n_conditions, 0.0)
    relative = np.maximum(energy, 0.0) / max(float(np.maximum(energy, 0.0).mean()), 1e-300)
    result = np.empty(held.truth.shape, dtype=np.float32)
    for rows in row_blocks(held.n_conditions, held.n_genes):
        variance = relative[rows, None] * by_gene
        total = variance + noise.variance(rows)
        result[rows] = np.divide(variance, total, out=np.zeros_like(total), where=total > 0)
    return result

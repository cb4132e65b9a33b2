"""Measured responses in blocks of replicates: what is needed to know their noise.

Cells or wells of a condition are dealt to blocks; the controls that they are compared with likewise. Blocks
are independent measurements of one response, and few enough that hundreds of pairs take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

from pertcast.analysis.association import FloatArray

FEWEST_BLOCKS: Final = 2
_WHOLE: Final = 1e-6


def noise_vectors(means: FloatArray, shares: FloatArray) -> FloatArray:
    """Return (B, ..., G) vectors whose outer products sum to the covariance of the mean of B blocks.

    p_k (m_k - m) / sqrt(1 - p_k), with p_k the share of the replicates in block k and m = sum p_k m_k:
    without bias for independent replicates, also of blocks of unequal size.

    Parameters
    ----------
    means
        (B, ..., G) mean of each block.
    shares
        (B, ...) share of each block; 0 for an empty one. They sum to 1 over the blocks.
    """
    weights = shares[..., None].astype(np.float64)
    centred = means - (weights * means).sum(axis=0)
    left: FloatArray = np.sqrt(np.maximum(1.0 - weights, _WHOLE))
    vectors: FloatArray = weights * centred / left
    return vectors


@dataclass(frozen=True)
class ReplicateBlocks:
    """Responses of C conditions over G genes, in blocks of replicates.

    Attributes
    ----------
    means
        One (B_c, G) array a condition: mean response of each block against *all* its matched controls.
    shares
        One (B_c,) array a condition: share of the replicates in each block.
    control_noise
        (B0, n_groups, G) noise vectors of the means of the control groups, block by block.
    control_shares
        (C, n_groups) which share of a condition's replicates is compared with each group of controls.
    n_replicates
        (C,) replicates (cells or wells) of each condition.
    """

    means: Sequence[FloatArray]
    shares: Sequence[FloatArray]
    control_noise: FloatArray
    control_shares: FloatArray
    n_replicates: NDArray[np.int64]

    def __post_init__(self) -> None:
        n_genes = self.control_noise.shape[2]
        for number, (means, shares) in enumerate(zip(self.means, self.shares, strict=True)):
            if means.shape != (len(shares), n_genes) or len(shares) < FEWEST_BLOCKS:
                raise SchemaError(
                    f"Condition {number} has blocks of shape {means.shape} and {len(shares)} shares; wanted "
                    f"at least {FEWEST_BLOCKS} blocks over {n_genes} genes. Leave out conditions with one "
                    "replicate."
                )
        if self.control_shares.shape != (len(self.means), self.control_noise.shape[1]):
            raise SchemaError(
                f"control_shares has shape {self.control_shares.shape}, wanted "
                f"{(len(self.means), self.control_noise.shape[1])}: a row a condition, a column a group of "
                "controls."
            )

    @classmethod
    def exact(cls, responses: FloatArray) -> ReplicateBlocks:
        """Return (C, G) responses without noise: simulated truth, or what a model says."""
        n_conditions, n_genes = responses.shape
        halves = np.full(FEWEST_BLOCKS, 1 / FEWEST_BLOCKS)
        return cls(
            means=[np.repeat(row[None], FEWEST_BLOCKS, axis=0) for row in responses],
            shares=[halves] * n_conditions,
            control_noise=np.zeros((FEWEST_BLOCKS, 0, n_genes)),
            control_shares=np.zeros((n_conditions, 0)),
            n_replicates=np.full(n_conditions, 1, dtype=np.int64),
        )

    @property
    def n_genes(self) -> int:
        """G."""
        return int(self.control_noise.shape[2])

    def response(self, condition: int) -> FloatArray:
        """Return the (G,) mean response of a condition."""
        found: FloatArray = self.shares[condition] @ self.means[condition].astype(np.float64)
        return found

    def own_noise(self, condition: int) -> FloatArray:
        """Return the (B, G) noise vectors of a condition's own replicates."""
        return noise_vectors(self.means[condition].astype(np.float64), self.shares[condition])

    def noise_of_controls(self, condition: int) -> FloatArray:
        """Return the (B0, G) noise vectors of the controls that a condition is compared with."""
        found: FloatArray = np.einsum("g,bgn->bn", self.control_shares[condition], self.control_noise)
        return found

    def halves(self, condition: int) -> FloatArray:
        """Return (2, G) responses of even and of odd blocks, each against its half of the controls' noise."""
        means, shares = self.means[condition].astype(np.float64), self.shares[condition]
        controls = self.noise_of_controls(condition)
        found = np.empty((2, self.n_genes))
        for half in (0, 1):
            kept = shares[half::2]
            found[half] = kept @ means[half::2] / kept.sum()
            found[half] -= 2 * controls[half::2].sum(axis=0)
        return found

"""The known truth of an atlas and the ceiling that it sets: which share of the measured variance is real.

A perfect model's explained variance is this share; what is above it can only be noise or leakage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Truth:
    """Noise-free responses of N conditions and the oracle's explainable variance.

    Attributes
    ----------
    condition_ids
        N names as the store gives them (`pertcast_data.vocabulary.condition_id`).
    response
        (N, G) float32, true treated minus control on the scale that is measured.
    explainable_share
        Variance of the true responses over variance of the measured condition means, summed over genes.
    gene_explainable_share
        (G,) float32, the same for each gene; 0 for a gene that does not vary.
    """

    condition_ids: tuple[str, ...]
    response: NDArray[np.float32]
    explainable_share: float
    gene_explainable_share: NDArray[np.float32]


def build_truth(
    condition_ids: tuple[str, ...], response: NDArray[np.float32], measured: NDArray[np.float32]
) -> Truth:
    """Compare true with measured condition means; variances run over conditions, gene by gene."""
    true_variance = response.var(axis=0, dtype=np.float64)
    measured_variance = measured.var(axis=0, dtype=np.float64)
    per_gene = np.divide(
        true_variance, measured_variance, out=np.zeros_like(true_variance), where=measured_variance > 0
    )
    total = float(measured_variance.sum())
    return Truth(
        condition_ids=condition_ids,
        response=response,
        explainable_share=float(true_variance.sum()) / total if total > 0 else 0.0,
        gene_explainable_share=per_gene.astype(np.float32),
    )

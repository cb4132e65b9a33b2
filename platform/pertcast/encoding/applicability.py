"""How far a perturbation is from training: the distance to the nearest one, and what is still usual.

Tanimoto distance of fingerprints for compounds, cosine distance of loadings for genes. A perturbation of
training has distance 0; a combination is as far as its farthest member.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertcast.encoding.perturbations import Perturbations, Single

Rows = NDArray[np.float32]
_Similarity = Callable[[Rows, Rows], Rows]

USUAL_SHARE = 0.95
_SAMPLED = 4096
_CHUNK = 1024


@dataclass(frozen=True)
class Applicability:
    """Training features by kind, and the 95th percentile of their leave-one-out distances.

    Attributes
    ----------
    compounds, genes
        (P1, B) fingerprints and (P2, L) unit loadings of the training perturbations that have them.
    compound_limit, gene_limit
        Distance up to which a perturbation is in the domain; 0 where there are fewer than two to compare.
    """

    compounds: Rows
    genes: Rows
    compound_limit: float
    gene_limit: float

    @classmethod
    def fit(cls, perturbations: Perturbations, features: Rows) -> Applicability:
        """Measure the distances between training perturbations; `features` (P, F) are theirs."""
        compounds, genes = _by_kind(perturbations, features)
        return cls(compounds, genes, _usual(compounds, _tanimoto), _usual(genes, _product))

    @classmethod
    def restore(cls, perturbations: Perturbations, features: Rows, limits: Sequence[float]) -> Applicability:
        """Make it anew from the training features and the limits found by `fit`."""
        return cls(*_by_kind(perturbations, features), float(limits[0]), float(limits[1]))

    def distances(
        self, perturbations: Perturbations, singles: Sequence[Single], features: Rows
    ) -> tuple[Rows, NDArray[np.bool_]]:
        """Return (M,) distances to training and whether each is in the domain.

        1 where there is nothing to compare with.
        """
        distance = np.ones(len(singles), np.float32)
        limit = np.zeros(len(singles), np.float32)
        is_compound = np.array([single.is_compound for single in singles], dtype=bool)
        blocks = perturbations.blocks
        for kind, block, training, similarity, bound in (
            (is_compound, "fingerprint", self.compounds, _tanimoto, self.compound_limit),
            (~is_compound, "loadings", self.genes, _product, self.gene_limit),
        ):
            limit[kind] = bound
            if kind.any() and len(training):
                asked = features[kind, blocks[block]]
                distance[kind] = 1 - _nearest(
                    _unit(asked) if block == "loadings" else asked, training, similarity
                )
        distance[[single.index >= 0 for single in singles]] = 0.0
        return distance, distance <= limit


def _by_kind(perturbations: Perturbations, features: Rows) -> tuple[Rows, Rows]:
    blocks = perturbations.blocks
    compounds = features[[smiles is not None for smiles in perturbations.smiles], blocks["fingerprint"]]
    genes = features[[not c for c in perturbations.is_compound], blocks["loadings"]]
    return compounds, _unit(genes[np.square(genes).sum(axis=1) > 0])


def _unit(rows: Rows) -> Rows:
    lengths = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    unit: Rows = rows / np.maximum(lengths, np.float32(1e-12))
    return unit


def _product(first: Rows, second: Rows) -> Rows:
    return first @ second.T


def _tanimoto(first: Rows, second: Rows) -> Rows:
    shared = first @ second.T
    together = first.sum(axis=1)[:, None] + second.sum(axis=1)[None, :] - shared
    similarity: Rows = shared / np.maximum(together, np.float32(1e-12))
    return similarity


def _nearest(asked: Rows, training: Rows, similarity: _Similarity) -> Rows:
    parts = [similarity(asked[i : i + _CHUNK], training).max(axis=1) for i in range(0, len(asked), _CHUNK)]
    nearest: Rows = np.clip(np.concatenate(parts), -1.0, 1.0)
    return nearest


def _usual(training: Rows, similarity: _Similarity) -> float:
    """Return the 95th percentile of the distances to the nearest other one (of a sample, if many)."""
    count = len(training)
    if count < 2 or training.shape[1] == 0:
        return 0.0
    chosen = np.arange(count)
    if count > _SAMPLED:
        chosen = np.sort(np.random.default_rng(0).choice(count, _SAMPLED, replace=False))
    nearest = []
    for start in range(0, len(chosen), _CHUNK):
        rows = chosen[start : start + _CHUNK]
        values = similarity(training[rows], training)
        values[np.arange(len(rows)), rows] = -1.0
        nearest.append(values.max(axis=1))
    return float(np.quantile(1 - np.clip(np.concatenate(nearest), -1.0, 1.0), USUAL_SHARE))

"""How far a perturbation is from training: the distance to the nearest one, and what is still usual.

Tanimoto distance of fingerprints for compounds with a structure, cosine distance of embeddings for those
without, cosine distance of loadings, network and table for genes. A perturbation of training has distance 0;
a combination is as far as its farthest member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pertcast.encoding.descriptions import Single
from pertcast.encoding.perturbations import Perturbations

Rows = NDArray[np.float32]
_Similarity = Callable[[Rows, Rows], Rows]

USUAL_SHARE = 0.95
_SAMPLED = 4096
_CHUNK = 1024
_MOST_COUNTED = 255


@dataclass(frozen=True)
class Applicability:
    """Training features by kind, and the 95th percentile of their leave-one-out distances.

    Attributes
    ----------
    compounds, genes, embeddings
        (P1, B) fingerprints, (P2, L) unit rows of gene features (`gene_columns`) and (P3, D) unit embeddings
        of the training perturbations that have them.
    compound_limit, gene_limit, embedding_limit
        Distance up to which a perturbation is in the domain; 0 where there are fewer than two to compare.
    """

    compounds: Rows
    genes: Rows
    embeddings: Rows
    compound_limit: float
    gene_limit: float
    embedding_limit: float = 0.0

    @classmethod
    def fit(cls, perturbations: Perturbations, features: Rows) -> Self:
        """Measure the distances between training perturbations; `features` (P, F) are theirs."""
        fingerprints = _fingerprints(perturbations, perturbations.singles(), features)
        compounds = fingerprints[[smiles is not None for smiles in perturbations.smiles]]
        genes, embeddings = _genes(perturbations, features), _embeddings(perturbations)
        limits = _usual(compounds, _tanimoto), _usual(genes, _product), _usual(embeddings, _product)
        return cls(compounds, genes, embeddings, *limits)

    @classmethod
    def restore(
        cls,
        perturbations: Perturbations,
        features: Rows,
        limits: Sequence[float],
        arrays: Mapping[str, NDArray[Any]],
    ) -> Self:
        """Make it anew from the training features, the limits found by `fit` and the `arrays` of it."""
        has_structure = [smiles is not None for smiles in perturbations.smiles]
        if "structure_fingerprints" in arrays:
            compounds = np.asarray(arrays["structure_fingerprints"], np.float32)
        else:
            compounds = features[has_structure, perturbations.blocks["fingerprint"]]
        return cls(
            compounds, _genes(perturbations, features), _embeddings(perturbations), *map(float, limits)
        )

    def state(self, perturbations: Perturbations) -> tuple[list[float], dict[str, NDArray[Any]]]:
        """Return the limits, and the arrays that do not follow from the training features."""
        if perturbations.embedding is None:
            return [self.compound_limit, self.gene_limit], {}
        limits = [self.compound_limit, self.gene_limit, self.embedding_limit]
        if perturbations.has_fingerprints:
            return limits, {}
        return limits, {"structure_fingerprints": self.compounds.clip(max=_MOST_COUNTED).astype(np.uint8)}

    def distances(
        self, perturbations: Perturbations, singles: Sequence[Single], features: Rows
    ) -> tuple[Rows, NDArray[np.bool_]]:
        """Return (M,) distances to training and whether each is in the domain.

        1 where there is nothing to compare with.
        """
        distance = np.ones(len(singles), np.float32)
        limit = np.zeros(len(singles), np.float32)
        is_compound = np.array([single.is_compound for single in singles], dtype=bool)
        by_embedding = self._by_embedding(perturbations, singles)
        by_structure = is_compound & ~by_embedding
        limit[by_structure], limit[by_embedding] = self.compound_limit, self.embedding_limit
        limit[~is_compound] = self.gene_limit
        if by_structure.any() and len(self.compounds):
            chosen = np.flatnonzero(by_structure)
            asked = _fingerprints(perturbations, [singles[i] for i in chosen.tolist()], features[chosen])
            distance[chosen] = 1 - _nearest(asked, self.compounds, _tanimoto)
        if by_embedding.any() and perturbations.embedding is not None:
            rows = perturbations.rows_of(singles)[by_embedding]
            asked = _unit(perturbations.embedding.standardised(rows))
            distance[by_embedding] = 1 - _nearest(asked, self.embeddings, _product)
        if not is_compound.all() and len(self.genes):
            asked = _unit(features[~is_compound][:, perturbations.gene_columns])
            distance[~is_compound] = 1 - _nearest(asked, self.genes, _product)
        distance[[single.index >= 0 for single in singles]] = 0.0
        return distance, distance <= limit

    def _by_embedding(self, perturbations: Perturbations, singles: Sequence[Single]) -> NDArray[np.bool_]:
        """Return which are compared by their embedding: it is there, a structure on either side not."""
        if perturbations.embedding is None or not len(self.embeddings):
            return np.zeros(len(singles), dtype=bool)
        has_structure = [bool(len(self.compounds)) and bool(perturbations.smiles_of(one)) for one in singles]
        chosen: NDArray[np.bool_] = (perturbations.rows_of(singles) >= 0) & ~np.array(has_structure, bool)
        return chosen


def _fingerprints(perturbations: Perturbations, singles: Sequence[Single], features: Rows) -> Rows:
    """Return (M, B) fingerprints from the features, computed where they are not among these."""
    if perturbations.has_fingerprints or perturbations.embedding is None:
        return features[:, perturbations.blocks["fingerprint"]]
    return perturbations.fingerprints(singles)


def _genes(perturbations: Perturbations, features: Rows) -> Rows:
    genes = features[[not c for c in perturbations.is_compound]][:, perturbations.gene_columns]
    return _unit(genes[np.square(genes).sum(axis=1) > 0])


def _embeddings(perturbations: Perturbations) -> Rows:
    if perturbations.embedding is None:
        return np.zeros((0, 0), np.float32)
    rows = np.array([row for row in perturbations.embedding_rows if row >= 0], dtype=np.int64)
    return _unit(perturbations.embedding.standardised(rows))


def _unit(rows: Rows) -> Rows:
    lengths = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    unit: Rows = rows / np.maximum(lengths, np.float32(1e-12))
    return unit


def _product(first: Rows, second: Rows) -> Rows:
    return first @ second.T


def _tanimoto(first: Rows, second: Rows) -> Rows:
    shared = first @ second.T
    together = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)[None, :] - shared
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

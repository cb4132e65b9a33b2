"""Plain references for genetic perturbations of several types, in numpy and independent of the models.

All stand on the mean training response of the type: a ridge on the gene's features for each type, the average
effect on the own transcript, and what the same gene's other types, where measured, say of this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
PENALTIES: Final = np.array([*np.geomspace(0.01, 1000.0, 16), np.inf])
"""In units of the features' mean square length; infinite: the mean."""

NOISE_OF_MOMENTS: Final = 1e-9


@dataclass(frozen=True)
class Measured:
    """N conditions of single genes.

    Attributes
    ----------
    kind
        (N,) number of the type.
    gene
        (N,) number of the perturbed gene, -1 for a gene that training does not perturb.
    own_gene
        (N,) column of the gene's own transcript, -1 where it is not measured.
    features
        (N, F).
    """

    kind: Integers
    gene: Integers
    own_gene: Integers
    features: Floats

    def of_kind(self, kind: int) -> Integers:
        """Return the rows of a type."""
        return np.flatnonzero(self.kind == kind)


@dataclass(frozen=True)
class RidgeFit:
    """Predictions of a ridge: (M, G) of new rows, and (N, G) of the training rows, each left out in turn."""

    predicted: Floats
    left_out: Floats
    penalty: float


def fit_ridge(features: Floats, target: Floats, asked: Floats) -> RidgeFit:
    """Ridge on centred features with a free constant, the penalty of least left-one-out squared error.

    Parameters
    ----------
    features, target
        (N, F) and (N, G) of training, N at least 3.
    asked
        (M, F).
    """
    centre, mean = features.mean(axis=0), target.mean(axis=0)
    x, y = features - centre, target - mean
    size = float(np.square(x).sum(axis=1).mean())
    if size < 1e-12:
        return RidgeFit(np.tile(mean, (len(asked), 1)), (len(y) * mean - target) / (len(y) - 1), np.inf)
    values, vectors = np.linalg.eigh(x @ x.T)
    rotated, cross = vectors.T @ y, (asked - centre) @ x.T @ vectors
    best: tuple[float, RidgeFit] | None = None
    for penalty in PENALTIES:
        shrink = 1.0 / (values.clip(min=0.0) + penalty * size)
        hat = vectors * (values.clip(min=0.0) * shrink)
        leverage = np.einsum("ij,ij->i", hat, vectors) + 1.0 / len(y)
        residual = (y - hat @ rotated) / np.maximum(1.0 - leverage, 1e-3)[:, None]
        error = float(np.square(residual).sum())
        if best is None or error < best[0]:
            predicted = mean + cross @ (shrink[:, None] * rotated)
            best = error, RidgeFit(predicted, target - residual, float(penalty))
    assert best is not None
    return best[1]


def own_effects(deviation: Floats, kind: Integers, own_gene: Integers, spread: Floats) -> dict[int, float]:
    """Return the mean deviation at the own transcript, in its spread, of each type that has any."""
    known = np.flatnonzero(own_gene >= 0)
    scores = deviation[known, own_gene[known]] / spread[own_gene[known]]
    present = np.unique(kind[known])
    return {int(each): float(scores[kind[known] == each].mean()) for each in present}


def without_own(deviation: Floats, own_gene: Integers) -> Floats:
    """Return a copy with 0 at the own transcripts."""
    rest = deviation.copy()
    known = np.flatnonzero(own_gene >= 0)
    rest[known, own_gene[known]] = 0.0
    return rest


def second_moments(residual: Floats, training: Measured, n_kinds: int) -> Floats:
    """Return (T, T) mean products over transcripts and the genes measured in both types."""
    moments = np.zeros((n_kinds, n_kinds))
    rows = [
        dict(zip(training.gene[r].tolist(), r.tolist(), strict=True))
        for r in map(training.of_kind, range(n_kinds))
    ]
    for first in range(n_kinds):
        for second in range(n_kinds):
            shared = sorted(set(rows[first]) & set(rows[second]))
            if shared:
                ours, theirs = ([rows[kind][gene] for gene in shared] for kind in (first, second))
                moments[first, second] = float(np.mean(residual[ours] * residual[theirs]))
    return moments


def told_by_other_types(residual: Floats, training: Measured, asked: Measured, n_kinds: int) -> Floats:
    """Return (M, G) the best linear guess of the residuals from the same gene's residuals in other types.

    One weight a pair of types for all transcripts: b = S_oo^-1 S_ot of the second moments S; 0 for a gene
    without another type in training.
    """
    moments = second_moments(residual, training, n_kinds)
    rows: dict[int, dict[int, int]] = {}
    for row, (gene, kind) in enumerate(zip(training.gene.tolist(), training.kind.tolist(), strict=True)):
        rows.setdefault(gene, {})[kind] = row
    guess = np.zeros((len(asked.kind), residual.shape[1]))
    for row, (gene, kind) in enumerate(zip(asked.gene.tolist(), asked.kind.tolist(), strict=True)):
        others = {other: place for other, place in rows.get(gene, {}).items() if other != kind and gene >= 0}
        if others:
            known = list(others)
            among = moments[np.ix_(known, known)] + NOISE_OF_MOMENTS * np.eye(len(known))
            weights = np.linalg.lstsq(among, moments[known, kind], rcond=None)[0]
            guess[row] = weights @ residual[list(others.values())]
    return guess


def reference_predictions(
    training: Measured, response: Floats, asked: Measured, means: Mapping[int, Floats]
) -> dict[str, Floats]:
    """Return name -> (M, G) responses of the asked conditions.

    Parameters
    ----------
    training, response
        Conditions, and their (N, G) mean responses.
    asked
        Held-out conditions.
    means
        Type -> (G,) mean training response; every type of `asked` has one.
    """
    n_kinds = 1 + int(max(training.kind.max(), asked.kind.max()))
    base = np.stack([means[kind] for kind in asked.kind.tolist()])
    deviation = response - np.stack([means[kind] for kind in training.kind.tolist()])
    spread = np.sqrt(np.square(without_own(deviation, training.own_gene)).mean(axis=0)).clip(min=1e-9)
    rest = without_own(deviation, training.own_gene)
    fitted, left_out = np.zeros_like(base), np.zeros_like(rest)
    for kind in range(n_kinds):
        rows, wanted = training.of_kind(kind), asked.of_kind(kind)
        if len(rows) > 2:
            fit = fit_ridge(training.features[rows], rest[rows], asked.features[wanted])
            fitted[wanted], left_out[rows] = fit.predicted, fit.left_out
    own = np.zeros_like(base)
    effects = own_effects(deviation, training.kind, training.own_gene, spread)
    for row in np.flatnonzero(asked.own_gene >= 0):
        column = asked.own_gene[row]
        own[row, column] = effects.get(int(asked.kind[row]), 0.0) * spread[column]
    types = told_by_other_types(rest, training, asked, n_kinds)
    beyond_ridge = told_by_other_types(rest - left_out, training, asked, n_kinds)
    return {
        "ref_type_mean": base,
        "ref_ridge": base + fitted,
        "ref_own": base + own,
        "ref_ridge_own": base + fitted + own,
        "ref_types_own": base + types + own,
        "ref_ridge_types_own": base + fitted + beyond_ridge + own,
    }

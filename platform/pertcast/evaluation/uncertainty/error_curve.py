"""Error against distance to training: whether the applicability score says where a model fails."""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast.evaluation.bootstrap import N_DRAWS, Estimate, estimate_of, estimates
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.metrics import PRIMARY_METRIC, get_metric
from pertcast.evaluation.metrics.gene_lists import spearman
from pertcast.evaluation.parts import ErrorCurve
from pertcast.evaluation.scores.score_board import ScoreBoard

N_BINS: Final = 5
FEWEST_CONDITIONS: Final = 10
_SPEARMAN_DRAWS: Final = 500


def spearman_estimate(
    first: FloatArray, second: FloatArray, cluster: IndexArray, n_draws: int, seed: int
) -> Estimate:
    """Return the rank correlation with an interval by resampling clusters (at most 500 draws)."""
    labels, index = np.unique(cluster, return_inverse=True)
    members = [np.flatnonzero(index == label) for label in range(len(labels))]
    generator = np.random.default_rng(seed)
    draws = np.empty(min(n_draws, _SPEARMAN_DRAWS))
    for draw in range(len(draws)):
        chosen = generator.integers(0, len(labels), len(labels))
        rows = np.concatenate([members[label] for label in chosen])
        draws[draw] = spearman(first[rows], second[rows])
    return estimate_of(spearman(first, second), draws, len(first))


def _edges(distance: FloatArray, n_bins: int) -> FloatArray:
    """Return bounds of bins with about equally many conditions; fewer bins where distances repeat."""
    edges: FloatArray = np.unique(np.quantile(distance, np.linspace(0, 1, n_bins + 1)))
    return edges


def _by_bin(
    scores: FloatArray, place: IndexArray, n_bins: int, cluster: IndexArray, n_draws: int, seed: int
) -> tuple[Estimate, ...]:
    nobody = estimate_of(float("nan"), np.empty(0), 0)
    return tuple(
        estimates(scores[place == each, None], cluster[place == each], n_draws, seed)[0]
        if (place == each).any()
        else nobody
        for each in range(n_bins)
    )


def error_curve(
    distance: FloatArray,
    error: FloatArray,
    board: ScoreBoard,
    baseline: str,
    *,
    metric: str = PRIMARY_METRIC,
    n_bins: int = N_BINS,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> ErrorCurve | None:
    """Return the primary metric of model and baseline by distance to training.

    Parameters
    ----------
    distance
        (N,) nn_train_dist of the board's conditions; NaN where unknown, left out.
    error
        (N,) root mean square error of the model.
    board
        Scores; undefined ones count as the metric's uninformative value, as in comparisons.
    baseline
        Name of the strongest baseline.
    metric
        The primary metric.
    n_bins
        Bins, with about equally many conditions each.
    n_draws, seed
        Of the bootstrap, by held-out perturbation.

    Returns
    -------
    ErrorCurve or None
        None where fewer than ten conditions have a distance, or all have the same.
    """
    known = np.flatnonzero(~np.isnan(distance) & ~np.isnan(error))
    if len(known) < FEWEST_CONDITIONS or distance[known].min() == distance[known].max():
        return None
    distance, cluster = distance[known], board.cluster[known]
    edges = _edges(distance, n_bins)
    last = len(edges) - 2
    place = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, last)
    model, other = (
        _by_bin(
            get_metric(metric).filled(board.scores[name][metric])[known],
            place,
            last + 1,
            cluster,
            n_draws,
            seed,
        )
        for name in (board.model.name, baseline)
    )
    return ErrorCurve(
        edges=edges,
        model=model,
        baseline=other,
        counts=tuple(np.bincount(place, minlength=last + 1).tolist()),
        spearman=spearman_estimate(distance, error[known], cluster, n_draws, seed),
    )

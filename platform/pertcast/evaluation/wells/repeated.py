"""Scores over repetitions: wells generated several times, perturbations resampled, both in the intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pertcast.evaluation.bootstrap import Estimate, cluster_draws, estimate_of
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.scores.score_board import Contender
from pertcast.evaluation.wells.labelled import Wells
from pertcast.evaluation.wells.result import WellScores
from pertcast.evaluation.wells.scores import (
    CORRELATION_OF,
    DISTANCES,
    LEVELS,
    MEASURES,
    VARIANCE_OF,
    Draws,
    measure_distances,
    score_correlations,
    score_distances,
    score_variances,
)


@dataclass(frozen=True)
class _Scored:
    """One repetition: contender -> measure -> (1 + D,) scores, level -> (G,) ratios, measure -> distance."""

    scores: dict[str, dict[str, FloatArray]]
    ratios: dict[str, dict[str, FloatArray]]
    distance: dict[str, dict[str, float]]


class RepeatedScores:
    """Scores of every contender, each against the same wells and resampled together.

    Draw d of the perturbations is made with repetition d modulo R of the generated wells, so that intervals
    hold what the choice of perturbations and the luck of the noise do to a score.

    Parameters
    ----------
    contenders
        Contender -> its wells, once for each repetition, or once alone where there is nothing to repeat.
    measured
        The wells that all are compared with.
    nothing
        The contender whose distance stands at 0: wells in which nothing happens. Without it, distances have
        no score.
    genes
        (g,) genes whose correlations are compared.
    n_draws, seed
        Of the resampling.
    """

    def __init__(
        self,
        contenders: Mapping[str, Sequence[Wells]],
        measured: Wells,
        nothing: str | None,
        genes: IndexArray,
        n_draws: int,
        seed: int,
    ) -> None:
        weight = _weights(measured.labels.cluster, n_draws, seed)
        repetitions = max(len(wells) for wells in contenders.values())
        self._n_conditions = len(np.unique(measured.labels.condition))
        self._scored = [
            _score_once(
                {name: wells[number % len(wells)] for name, wells in contenders.items()},
                measured,
                nothing,
                genes,
                Draws(np.concatenate([weight[:1], weight[1 + number :: repetitions]])),
            )
            for number in range(repetitions)
        ]

    def of(self, contender: Contender) -> WellScores:
        """Return a contender's means over the repetitions, with intervals."""
        name = contender.name
        return WellScores(
            contender,
            {measure: self._estimate(name, measure) for measure in MEASURES},
            {level: np.mean([one.ratios[name][level] for one in self._scored], axis=0) for level in LEVELS},
            {each: float(np.mean([one.distance[name][each] for one in self._scored])) for each in DISTANCES},
        )

    def difference(self, first: Contender, second: Contender) -> dict[str, Estimate]:
        """Return measure -> paired difference of two contenders' scores."""
        found = {}
        for measure in MEASURES:
            mine, theirs = (self._draws(side.name, measure) for side in (first, second))
            drawn = _around(mine) - _around(theirs)
            found[measure] = estimate_of(float(mine[0] - theirs[0]), drawn, self._n_conditions)
        return found

    def _draws(self, name: str, measure: str) -> FloatArray:
        """Return (1 + D,) the mean of the repetitions' values, then the draws of all of them."""
        columns = [one.scores[name][measure] for one in self._scored]
        value = np.mean([column[0] for column in columns])
        return np.concatenate([[value], *(column[1:] for column in columns)])

    def _estimate(self, name: str, measure: str) -> Estimate:
        """Return a score with its interval; only scores by distance may lie above 1."""
        draws = self._draws(name, measure)
        most = np.inf if measure in DISTANCES else 1.0
        return estimate_of(float(draws[0]), np.minimum(_around(draws), most), self._n_conditions)


def _weights(cluster: IndexArray, n_draws: int, seed: int) -> FloatArray:
    """Return (1 + D, P) weights of the perturbations: once each, then drawn; 0 for those without a well."""
    present = np.unique(cluster)
    weight = np.zeros((1 + n_draws, int(present[-1]) + 1))
    weight[0, present] = 1.0
    weight[1:, present] = cluster_draws(len(present), n_draws, seed)
    return weight


def _around(draws: FloatArray) -> FloatArray:
    """Return draws[1:] moved so that their mean is at the value draws[0].

    A draw holds some perturbations twice and others not at all: its populations are noisier, and agree less,
    than those of all perturbations.
    """
    others = draws[1:]
    if np.isnan(others).all():
        return others
    moved: FloatArray = others - np.nanmean(others) + draws[0]
    return moved


def _score_once(
    contenders: Mapping[str, Wells], measured: Wells, nothing: str | None, genes: IndexArray, draws: Draws
) -> _Scored:
    found = _Scored({name: {} for name in contenders}, {name: {} for name in contenders}, {})
    for level in LEVELS:
        ratios, close = score_variances(contenders, measured, level, draws)
        alike = score_correlations(contenders, measured, level, genes, draws)
        for name in contenders:
            found.ratios[name][level] = ratios[name]
            found.scores[name] |= {VARIANCE_OF[level]: close[name], CORRELATION_OF[level]: alike[name]}
    apart = measure_distances(contenders, measured, draws)
    for name, pair in apart.items():
        found.distance[name] = {}
        for place, each in enumerate(DISTANCES):
            found.distance[name][each] = float(pair[place][0])
            scale = np.full(len(pair[place]), np.nan) if nothing is None else apart[nothing][place]
            found.scores[name][each] = score_distances(pair[place], scale)
    return found

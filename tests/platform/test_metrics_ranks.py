"""Rank metrics: blind to scale and to any rising transformation, and undefined where nothing is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.metrics.ranks import (
    centroid_accuracy_ranks,
    discrimination_spearman,
    spearman_delta,
)
from scipy.stats import spearmanr

N, G = 12, 80


@pytest.fixture(scope="module")
def truth() -> NDArray[Any]:
    return np.random.default_rng(0).normal(size=(N, G))


@pytest.fixture(scope="module")
def held(truth: NDArray[Any]) -> HeldOut:
    return HeldOut(
        conditions=pl.DataFrame({"condition_id": [str(row) for row in range(N)]}),
        genes=tuple(f"G{gene}" for gene in range(G)),
        truth=truth,
        control=np.zeros_like(truth),
        train_perturbed_mean=np.zeros((1, G)),
        train_mean_index=np.zeros(N, np.int64),
        pool=np.repeat([0, 1], N // 2),
        cluster=np.arange(N),
        own_gene=np.full((N, 1), -1),
    )


@pytest.fixture(scope="module")
def noisy(truth: NDArray[Any]) -> NDArray[Any]:
    return np.round(truth + np.random.default_rng(1).normal(scale=3.0, size=truth.shape))


def test_spearman_is_that_of_scipy_also_with_ties(held: HeldOut, noisy: NDArray[Any]) -> None:
    golden = [spearmanr(y, x).statistic for y, x in zip(noisy, held.truth, strict=True)]
    assert spearman_delta(noisy, held) == pytest.approx(golden, abs=1e-6)


@pytest.mark.parametrize("score", [spearman_delta, centroid_accuracy_ranks, discrimination_spearman])
def test_another_scale_of_either_side_changes_nothing(score: Any, held: HeldOut, noisy: NDArray[Any]) -> None:
    scales = np.geomspace(0.01, 100, N)[:, None]
    before = score(noisy, held)
    assert 0 < np.nanmean(before) < 1
    assert np.array_equal(before, score(np.arctan(noisy / 10) * scales, held))
    assert np.array_equal(before, score(noisy, replace(held, truth=np.sinh(held.truth) * scales)))


@pytest.mark.parametrize("score", [spearman_delta, centroid_accuracy_ranks, discrimination_spearman])
def test_the_truth_scores_1_up_to_its_own_rank_and_a_constant_is_undefined(score: Any, held: HeldOut) -> None:
    assert score(np.exp(held.truth), held) == pytest.approx(1.0)
    assert np.isnan(score(np.full((N, G), 0.3), held)).all()
    assert np.isnan(score(np.zeros((N, G)), held)).all()


def test_own_targets_do_not_tell_conditions_apart(held: HeldOut) -> None:
    """Where truth and prediction agree in the knocked-down gene alone, leaving it out leaves chance."""
    few = 12
    own = np.arange(N)
    told, left_out = [], []
    for seed in range(20):
        truth, prediction = np.random.default_rng(seed).normal(size=(2, N, few))
        truth[own, own] = prediction[own, own] = -40.0
        part = replace(
            held,
            genes=held.genes[:few],
            truth=truth,
            control=truth * 0,
            train_perturbed_mean=np.zeros((1, few)),
            pool=np.zeros(N, np.int64),
        )
        told.append(discrimination_spearman(prediction, part).mean())
        left_out.append(discrimination_spearman(prediction, replace(part, own_gene=own[:, None])).mean())
    by_chance = (N + 1) / (2 * N)
    assert np.mean(told) > by_chance + 0.08
    assert np.mean(left_out) == pytest.approx(by_chance, abs=0.06)

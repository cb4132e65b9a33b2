"""Refusing what is uncertain lowers the error if uncertainty means anything; so it is with distance."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pertcast.evaluation.metrics.gene_lists import spearman
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard
from pertcast.evaluation.uncertainty.error_curve import error_curve
from pertcast.evaluation.uncertainty.risk import SHARES, risk_coverage
from scipy.stats import spearmanr

N = 100


def test_a_perfect_order_is_the_oracles_and_a_reversed_one_is_worse_than_refusing_nobody() -> None:
    error = np.random.default_rng(0).gamma(2, 1, N)
    perfect, reverse = risk_coverage(error, error, "sd"), risk_coverage(error, -error, "sd")
    assert perfect is not None and reverse is not None
    assert np.array_equal(perfect.error, perfect.oracle)
    assert (np.diff(perfect.error) < 0).all()
    assert (reverse.error[1:] > reverse.error[0]).all()
    assert perfect.error[0] == pytest.approx(error.mean()) == reverse.error[0]
    assert perfect.kept.tolist() == list(SHARES) and perfect.kept[0] == 1


def test_an_order_without_information_leaves_the_error_as_it_is() -> None:
    generator = np.random.default_rng(1)
    found = risk_coverage(generator.gamma(2, 1, 4000), generator.random(4000), "nn_train_dist")
    assert found is not None
    assert found.error == pytest.approx(np.full(len(SHARES), 2.0), abs=0.3)
    assert found.oracle[-1] < 0.5


def test_conditions_of_unknown_uncertainty_are_refused_first() -> None:
    error = np.array([9.0, 1.0, 1.0, 1.0])
    found = risk_coverage(error, np.array([np.nan, 1.0, 2.0, 3.0]), "nn_train_dist")
    assert found is not None
    assert found.error[0] == 3.0 and found.error[SHARES.index(0.75)] == 1.0


def test_nothing_to_order_by_gives_no_curve() -> None:
    assert risk_coverage(np.ones(5), np.full(5, np.nan), "sd") is None
    assert risk_coverage(np.ones(5), np.full(5, 0.3), "sd") is None
    assert risk_coverage(np.empty(0), np.empty(0), "sd") is None


def board_of(model: np.ndarray, baseline: np.ndarray) -> ScoreBoard:
    conditions = pl.DataFrame(
        {
            "condition_id": [f"c{i}" for i in range(len(model))],
            "cluster": [f"p{i // 2}" for i in range(len(model))],
        }
    )
    contenders = (Contender("model", "Model", "model"), Contender("mean", "Mean", "baseline"))
    scores = {"model": {"pearson_delta": model}, "mean": {"pearson_delta": baseline}}
    return ScoreBoard(conditions, contenders, scores)


def test_scores_fall_with_the_distance_where_it_means_something() -> None:
    generator = np.random.default_rng(2)
    distance = generator.random(N)
    error = 1 + distance + generator.normal(0, 0.1, N)
    curve = error_curve(distance, error, board_of(0.9 - 0.5 * distance, np.full(N, 0.3)), "mean", n_draws=200)
    assert curve is not None
    assert [estimate.mean for estimate in curve.model] == sorted((e.mean for e in curve.model), reverse=True)
    assert [estimate.mean for estimate in curve.baseline] == pytest.approx([0.3] * 5)
    assert sum(curve.counts) == N and len(curve.edges) == len(curve.counts) + 1
    assert max(curve.counts) - min(curve.counts) <= 1
    assert curve.spearman.low > 0.8 and curve.spearman.p_value < 0.05
    assert curve.spearman.mean == pytest.approx(spearmanr(distance, error).statistic)


def test_a_distance_without_meaning_has_an_interval_that_holds_zero() -> None:
    generator = np.random.default_rng(3)
    held = []
    for seed in range(20):
        curve = error_curve(
            generator.random(60), generator.random(60), board_of(np.ones(60), np.ones(60)), "mean",
            n_draws=100, seed=seed,
        )  # fmt: skip
        assert curve is not None
        held.append(curve.spearman.low <= 0 <= curve.spearman.high)
    assert np.mean(held) >= 0.8


def test_few_or_equal_distances_give_no_curve_and_unknown_ones_are_left_out() -> None:
    generator = np.random.default_rng(4)
    board = board_of(generator.random(20), generator.random(20))
    error = generator.random(20)
    assert error_curve(np.full(20, 0.5), error, board, "mean") is None
    assert error_curve(np.r_[np.full(15, np.nan), np.arange(5.0)], error, board, "mean") is None
    some = error_curve(np.r_[np.full(5, np.nan), np.arange(15.0)], error, board, "mean", n_draws=50)
    assert some is not None and sum(some.counts) == 15


def test_repeated_distances_make_fewer_bins_and_leave_nobody_out() -> None:
    distance = np.repeat([0.0, 0.5, 1.0], [70, 20, 10])
    curve = error_curve(distance, 1 + distance, board_of(np.ones(N), np.ones(N)), "mean", n_draws=50)
    assert curve is not None
    assert sum(curve.counts) == N and all(count > 0 for count in curve.counts)


def test_ties_share_a_rank_and_a_constant_has_no_rank_correlation() -> None:
    first, second = np.array([1, 1, 2, 3, 3.0]), np.array([2, 1, 1, 5, 4.0])
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))

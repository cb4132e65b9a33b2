"""Intervals cover, pairs are drawn together, clusters stay together, seeds repeat."""

from __future__ import annotations

import numpy as np
import pytest
from pertcast.evaluation.bootstrap import (
    bootstrap_means,
    bootstrap_means_over_seeds,
    cluster_draws,
    estimates,
    estimates_over_seeds,
)


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    cluster = np.arange(30)
    assert np.array_equal(bootstrap_means(values, cluster, 50, 1), bootstrap_means(values, cluster, 50, 1))
    assert not np.array_equal(
        bootstrap_means(values, cluster, 50, 1), bootstrap_means(values, cluster, 50, 2)
    )


def test_every_draw_holds_as_many_clusters_as_there_are() -> None:
    draws = cluster_draws(17, 200, 0)
    assert (draws.sum(axis=1) == 17).all()
    assert draws.mean() == pytest.approx(1)


def test_means_equal_a_plain_resampling_loop_with_undefined_values_left_out() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(size=(20, 3))
    values[generator.random(values.shape) < 0.2] = np.nan
    cluster = generator.integers(0, 7, 20)
    labels = np.unique(cluster)
    means = bootstrap_means(values, cluster, 40, 5)
    for draw, counts in enumerate(cluster_draws(len(labels), 40, 5)):
        rows = np.concatenate(
            [np.repeat(np.flatnonzero(cluster == k), n) for k, n in zip(labels, counts, strict=True)]
        )
        assert means[draw] == pytest.approx(np.nanmean(values[rows], axis=0))


def test_contenders_are_drawn_together_so_a_constant_difference_has_no_spread() -> None:
    base = np.random.default_rng(0).normal(0, 5, 40)
    means = bootstrap_means(np.stack([base + 0.1, base], axis=1), np.arange(40), 100, 0)
    assert means[:, 0] - means[:, 1] == pytest.approx(np.full(100, 0.1))


def test_repeated_conditions_of_one_perturbation_do_not_narrow_the_interval() -> None:
    base = np.random.default_rng(0).normal(size=25)
    (once,) = estimates(base[:, None], np.arange(25))
    (repeated,) = estimates(np.repeat(base, 8)[:, None], np.repeat(np.arange(25), 8))
    (naive,) = estimates(np.repeat(base, 8)[:, None], np.arange(200))
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_the_95_percent_interval_covers_the_true_mean_about_that_often() -> None:
    generator = np.random.default_rng(11)
    values = generator.normal(0.3, 1, (60, 300))
    covered = [e.low <= 0.3 <= e.high for e in estimates(values, np.arange(60), 1000, 0)]
    assert 0.90 <= np.mean(covered) <= 0.985


def test_without_a_difference_small_p_values_are_rare_and_with_one_they_are_the_rule() -> None:
    generator = np.random.default_rng(12)
    null = [e.p_value for e in estimates(generator.normal(0, 1, (60, 300)), np.arange(60), 1000, 0)]
    real = [e.p_value for e in estimates(generator.normal(1, 1, (60, 50)), np.arange(60), 1000, 0)]
    assert np.mean(np.array(null) < 0.05) < 0.10
    assert max(real) < 0.01
    assert min(real) > 0


def test_undefined_values_are_counted_and_nothing_defined_is_undefined() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    first, second = estimates(values, np.arange(3))
    assert (first.mean, first.n_defined, first.n_undefined) == (2.0, 2, 1)
    assert np.isnan([second.mean, second.low, second.high, second.p_value]).all()
    assert second.n_undefined == 3


def test_one_training_seed_gives_the_plain_estimate() -> None:
    values = np.random.default_rng(0).normal(size=(20, 3))
    values[3, 1] = np.nan
    cluster = np.arange(20) // 2
    assert estimates_over_seeds(values[None], cluster, 200, 4) == estimates(values, cluster, 200, 4)


def test_means_over_seeds_equal_a_plain_resampling_of_both() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(3, 12, 2))
    values[generator.random(values.shape) < 0.2] = np.nan
    cluster = np.arange(12) // 3
    means = bootstrap_means_over_seeds(values, cluster, 20, 7)
    trainings = np.random.default_rng((7, 1)).multinomial(3, np.full(3, 1 / 3), size=20)
    for draw, (seeds, counts) in enumerate(zip(trainings, cluster_draws(4, 20, 7), strict=True)):
        rows = np.concatenate([np.repeat(np.flatnonzero(cluster == k), n) for k, n in enumerate(counts)])
        drawn = np.concatenate([values[s][rows] for s in np.repeat(np.arange(3), seeds)])
        assert means[draw] == pytest.approx(np.nanmean(drawn, axis=0))


def test_intervals_over_five_seeds_cover_where_trainings_and_conditions_both_scatter() -> None:
    generator = np.random.default_rng(2)
    shape = (5, 50, 200)
    values = (
        generator.normal(0, 0.3, (5, 1, 200))
        + generator.normal(0, 1, (1, 50, 200))
        + generator.normal(0, 0.5, shape)
    )
    both = [e.low <= 0 <= e.high for e in estimates_over_seeds(values, np.arange(50), 500)]
    one_way = [e.low <= 0 <= e.high for e in estimates(values.mean(axis=0), np.arange(50), 500)]
    assert 0.88 <= np.mean(both) <= 0.995
    assert np.mean(both) > np.mean(one_way)


def test_a_condition_counts_once_however_many_seeds_define_it() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])[:, :, None]
    (found,) = estimates_over_seeds(values, np.arange(3), 100)
    assert (found.mean, found.n_defined, found.n_undefined) == (3.0, 2, 1)


def test_a_mean_that_leaves_out_more_than_a_tenth_of_the_conditions_is_partial() -> None:
    values = np.arange(20.0)[:, None] * np.ones((20, 3))
    values[:2, 1], values[:3, 2] = np.nan, np.nan
    found = estimates(values, np.arange(20), 100)
    assert [each.is_partial for each in found] == [False, False, True]
    assert not estimates(np.full((5, 1), np.nan), np.arange(5), 100)[0].is_partial

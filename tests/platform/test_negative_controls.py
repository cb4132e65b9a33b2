"""Permuted labels leave what any prediction gets; controls tested as perturbations are hardly ever called."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.negative_controls import permutation, permuted_labels
from pertcast.evaluation.score_board import score_conditions

N, G = 60, 30


def held_out(cluster: np.ndarray, pool: np.ndarray) -> HeldOut:
    generator = np.random.default_rng(0)
    n = len(cluster)
    shared = generator.normal(0, 1, (2, G)).astype(np.float32)
    own = generator.normal(0, 1, (int(cluster.max()) + 1, G))[cluster]
    return HeldOut(
        conditions=pl.DataFrame({"condition_id": [f"c{i}" for i in range(n)]}),
        genes=tuple(f"g{i}" for i in range(G)),
        truth=(shared[pool] + own).astype(np.float32),
        control=np.zeros((n, G), dtype=np.float32),
        train_perturbed_mean=shared,
        train_mean_index=pool,
        pool=pool,
        cluster=cluster,
        own_gene=np.full((n, 1), -1),
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_condition_is_given_another_perturbations_prediction_of_its_own_context(seed: int) -> None:
    held = held_out(np.arange(N) // 3, np.arange(N) % 2)
    source = permutation(held, seed)
    assert sorted(source) == list(range(N))
    assert (held.pool[source] == held.pool).all()
    assert (held.cluster[source] != held.cluster).all()


def test_permuted_labels_keep_the_shared_response_and_lose_the_perturbation() -> None:
    held = held_out(np.arange(N) // 3, np.arange(N) % 2)
    metrics = [get_metric(name) for name in ("pearson_delta", "pearson_delta_pert", "centroid_accuracy")]
    perfect = score_conditions(held.truth, held, metrics=metrics)
    permuted = score_conditions(permuted_labels(held.truth, held), held, metrics=metrics)
    assert perfect["pearson_delta_pert"].mean() == pytest.approx(1)
    assert permuted["pearson_delta"].mean() > 0.3
    assert abs(permuted["pearson_delta_pert"].mean()) < 0.15
    assert permuted["centroid_accuracy"].mean() == pytest.approx(0.5, abs=0.15)


def test_no_prediction_of_the_own_perturbation_slips_through() -> None:
    cluster = np.array([0, 0, 0, 0, 0, 1, 2, 3, 3])
    pool = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1])
    held = held_out(cluster, pool)
    marked = np.repeat(cluster[:, None] * 100.0 + 500, G, axis=1)
    dealt = permuted_labels(marked, held)
    own = np.isclose(dealt, marked).all(axis=1)
    assert not own.any()
    assert dealt[7:] == pytest.approx(held.train_means(slice(7, 9)))


def test_another_seed_deals_anew_and_the_same_seed_alike() -> None:
    held = held_out(np.arange(N) // 3, np.arange(N) % 2)
    assert np.array_equal(permutation(held, 1), permutation(held, 1))
    assert not np.array_equal(permutation(held, 1), permutation(held, 2))

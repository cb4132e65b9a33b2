"""What a prediction adds to the mean of its type: nothing for that mean, all for the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.metrics import get_metric

Array = NDArray[Any]
N, G = 30, 50
KIND = np.arange(N) % 3


def planted(seed: int = 0) -> HeldOut:
    """Three types with means of their own; the third responds five times as strongly."""
    generator = np.random.default_rng(seed)
    means = generator.normal(0, 2, (3, G)).astype(np.float32)
    own = generator.normal(0, 1, (N, G)) * np.array([1.0, 1.0, 5.0])[KIND][:, None]
    return HeldOut(
        conditions=pl.DataFrame(
            {
                "condition_id": [f"c{i}" for i in range(N)],
                "pert_type": np.array(["trt_oe", "trt_sh", "trt_xpr"])[KIND],
            }
        ),
        genes=tuple(f"g{i}" for i in range(G)),
        truth=(means[KIND] + own).astype(np.float32),
        control=np.zeros((N, G), np.float32),
        train_perturbed_mean=means,
        train_mean_index=KIND,
        pool=KIND,
        cluster=np.arange(N),
        own_gene=np.arange(N)[:, None] % G,
    )


def score(name: str, prediction: Array, held: HeldOut) -> Array:
    values: Array = get_metric(name).score(prediction, held)
    return values


def noisy(held: HeldOut, noise: float = 2.0) -> Array:
    return held.truth + np.random.default_rng(1).normal(0, noise, held.truth.shape).astype(np.float32)


def test_r2_is_one_less_the_errors_over_those_of_the_mean_of_the_type() -> None:
    held = planted()
    prediction = noisy(held)
    x, y, m = (v.astype(float) for v in (held.truth, prediction, held.train_perturbed_mean[KIND]))
    expected = 1 - ((x - y) ** 2).sum(1) / ((x - m) ** 2).sum(1)
    np.testing.assert_allclose(score("r2_train_mean", prediction, held), expected, rtol=1e-9)


def test_the_mean_of_pooled_r2_over_a_type_is_that_of_all_its_errors_together() -> None:
    held = planted()
    prediction = noisy(held)
    found = score("r2_train_mean_pooled", prediction, held)
    x, y, m = (v.astype(float) for v in (held.truth, prediction, held.train_perturbed_mean[KIND]))
    for kind in range(3):
        own = kind == KIND
        expected = 1 - ((x - y)[own] ** 2).sum() / ((x - m)[own] ** 2).sum()
        assert found[own].mean() == pytest.approx(expected, rel=1e-9)
    untold = replace(held, conditions=held.conditions.drop("pert_type"))
    together = 1 - ((x - y) ** 2).sum() / ((x - m) ** 2).sum()
    assert score("r2_train_mean_pooled", prediction, untold).mean() == pytest.approx(together, rel=1e-9)


def test_the_mean_of_the_type_earns_nothing_and_the_mean_over_types_less() -> None:
    held = planted()
    of_type = held.train_perturbed_mean[KIND]
    over_types = np.broadcast_to(held.train_perturbed_mean.mean(0), (N, G))
    assert score("r2_train_mean", of_type, held) == pytest.approx(np.zeros(N), abs=1e-6)
    for name in ("r2_train_mean", "r2_train_mean_pooled"):
        assert score(name, of_type, held).mean() == pytest.approx(0.0, abs=1e-6)
        assert score(name, over_types, held).mean() < -0.2
    for name in ("retrieval_rank", "pearson_delta_pert"):
        assert np.isnan(score(name, of_type, held)).all()
        almost = of_type + np.random.default_rng(2).uniform(-1e-7, 1e-7, (N, G)).astype(np.float32)
        assert np.isnan(score(name, almost, held)).all()


def test_a_truth_that_is_the_mean_leaves_r2_undefined() -> None:
    held = planted()
    truth = held.truth.copy()
    truth[4] = held.train_perturbed_mean[KIND[4]]
    flat = replace(held, truth=truth)
    found = score("r2_train_mean", noisy(held), flat)
    assert np.isnan(found[4]) and not np.isnan(np.delete(found, 4)).any()
    nothing = replace(held, truth=held.train_perturbed_mean[KIND])
    assert np.isnan(score("r2_train_mean_pooled", noisy(held), nothing)).all()


def test_retrieval_rank_equals_a_plain_loop_over_deviations_of_the_type() -> None:
    held = planted()
    prediction = noisy(held, 6.0)
    expected = []
    for i in range(N):
        kept = np.delete(np.arange(G), held.own_gene[i])
        mean = held.train_perturbed_mean[KIND[i]].astype(float)
        y = (prediction[i].astype(float) - mean)[kept]
        members = np.flatnonzero(KIND[i] == KIND)
        x = (held.truth[members].astype(float) - mean)[:, kept]
        cosine = x @ y / np.linalg.norm(x, axis=1) / np.linalg.norm(y)
        own = cosine[members == i]
        expected.append((cosine > own).sum() / (len(members) - 1))
    assert 0 < np.mean(expected) < 0.5
    np.testing.assert_allclose(score("retrieval_rank", prediction, held), expected)


def test_a_spike_at_the_own_gene_retrieves_nothing() -> None:
    held = planted()
    spiked = held.train_perturbed_mean[KIND].copy()
    spiked[np.arange(N), held.own_gene[:, 0]] -= 8.0
    truth = held.truth.copy()
    truth[np.arange(N), held.own_gene[:, 0]] -= 8.0
    found = score("retrieval_rank", spiked, replace(held, truth=truth))
    assert np.isnan(found).all()

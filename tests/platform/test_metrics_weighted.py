"""Ranks among predictions, weighted errors and lists of responding genes equal plain loops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation import rowwise
from pertcast.evaluation.held_out import GeneTests, HeldOut
from pertcast.evaluation.metrics import METRICS, get_metric
from pertcast.evaluation.metrics.across import ACROSS
from scipy.spatial.distance import cdist
from scipy.stats import pearsonr, spearmanr

Array = NDArray[Any]
N, G = 15, 80


@pytest.fixture
def held() -> HeldOut:
    """Two contexts; in each condition a tenth of the genes respond, and the tests know them."""
    generator = np.random.default_rng(0)
    responds = generator.random((N, G)) < 0.1
    responds[:, :5] = True
    truth = generator.normal(0, 0.2, (N, G)) + responds * generator.normal(0, 2, (N, G))
    return HeldOut(
        conditions=pl.DataFrame({"condition_id": [f"c{i}" for i in range(N)]}),
        genes=tuple(f"g{j}" for j in range(G)),
        truth=truth.astype(np.float32),
        control=np.zeros((N, G)),
        train_perturbed_mean=truth.mean(axis=0)[None] + 0.1,
        train_mean_index=np.zeros(N, dtype=np.int64),
        pool=np.arange(N) % 2,
        cluster=np.arange(N),
        own_gene=np.full((N, 1), -1),
        tests=GeneTests(np.sign(truth), np.where(responds, 0.01, 0.6), "planted"),
    )


@pytest.fixture
def prediction(held: HeldOut) -> Array:
    noisy: Array = held.truth + np.random.default_rng(1).normal(0, 1.5, (N, G))
    return noisy


def score(name: str, prediction: Array, held: HeldOut) -> Array:
    values: Array = get_metric(name).score(prediction, held)
    return values


@pytest.mark.parametrize(("name", "measure"), [("rank", "euclidean"), ("rank_cosine", "cosine")])
def test_rank_is_the_position_of_the_own_prediction_among_all_predictions(
    name: str, measure: Any, held: HeldOut, prediction: Array
) -> None:
    golden = np.empty(N)
    for i in range(N):
        pool = np.flatnonzero(held.pool == held.pool[i])
        distance = cdist(held.truth[i : i + 1].astype(float), prediction[pool], measure)[0]
        order = pool[np.argsort(distance, kind="stable")].tolist()
        golden[i] = order.index(i) / (len(pool) - 1)
    assert golden.max() > 0
    assert score(name, prediction, held) == pytest.approx(golden)


def test_normalised_inverse_rank_is_the_position_of_the_own_truth_among_all_truths(
    held: HeldOut, prediction: Array
) -> None:
    golden = np.empty(N)
    for i in range(N):
        pool = np.flatnonzero(held.pool == held.pool[i])
        distance = cdist(prediction[i : i + 1], held.truth[pool].astype(float))[0]
        golden[i] = 1 - pool[np.argsort(distance, kind="stable")].tolist().index(i) / (len(pool) - 1)
    assert score("normalised_inverse_rank", prediction, held) == pytest.approx(golden)


def test_one_prediction_for_all_conditions_ranks_by_order_alone(held: HeldOut) -> None:
    one = replace(held, pool=np.zeros(N, dtype=np.int64))
    same = np.tile(held.truth[4], (N, 1))
    assert score("rank", same, one) == pytest.approx(np.arange(N) / (N - 1))


def test_rmse_is_the_root_of_mse(held: HeldOut, prediction: Array) -> None:
    assert score("rmse", prediction, held) == pytest.approx(np.sqrt(score("mse", prediction, held)))


def test_top_genes_are_those_with_the_largest_response_among_the_significant(
    held: HeldOut, prediction: Array
) -> None:
    assert held.tests is not None
    for n in (20, 50):
        found = score(f"pearson_delta_top{n}", prediction, held)
        for i in range(N):
            passed = [j for j in range(G) if held.tests.q_value[i, j] < 0.05]
            top = sorted(passed, key=lambda j, x=held.truth[i]: -abs(x[j]))[:n]
            golden = pearsonr(prediction[i, top], held.truth[i, top].astype(float))[0]
            assert found[i] == pytest.approx(golden, abs=1e-9)
    few = np.ones((N, G))
    few[:, :2] = 0.001
    two = replace(held, tests=GeneTests(few, few, "two genes"))
    assert np.isnan(score("pearson_delta_top20", prediction, two)).all()


def weights(held: HeldOut) -> Array:
    """Weights of every gene by its t against the other conditions of the pool."""
    result = np.empty((N, G))
    for i in range(N):
        rest = held.truth[(held.pool == held.pool[i]) & (np.arange(N) != i)].astype(float)
        t = (held.truth[i] - rest.mean(axis=0)) / (rest.std(axis=0, ddof=1) * np.sqrt(1 + 1 / len(rest)))
        scaled = (np.abs(t) - np.abs(t).min()) / (np.abs(t).max() - np.abs(t).min())
        result[i] = scaled**2 / (scaled**2).sum()
    return result


def test_weighted_errors_equal_their_formulas(held: HeldOut, prediction: Array) -> None:
    w, x = weights(held), held.truth.astype(float)
    golden = (w * (x - prediction) ** 2).sum(axis=1)
    assert score("weighted_mse", prediction, held) == pytest.approx(golden, rel=1e-6)
    delta = x - held.train_perturbed_mean
    centre = (w * delta).sum(axis=1, keepdims=True)
    r2 = 1 - golden / (w * (delta - centre) ** 2).sum(axis=1)
    assert score("weighted_r2_delta", prediction, held) == pytest.approx(r2, rel=1e-6)


def test_the_mean_response_earns_nothing_where_errors_are_weighted(held: HeldOut) -> None:
    mean = np.tile(held.train_perturbed_mean, (N, 1))
    assert (score("weighted_r2_delta", mean, held) <= 0).all()
    assert score("weighted_mse", mean, held).mean() > 2 * score("mse", mean, held).mean()


def test_pools_of_two_have_no_rest_to_be_weighed_against(held: HeldOut, prediction: Array) -> None:
    pairs = replace(held, pool=np.arange(N) // 2)
    assert np.isnan(score("weighted_mse", prediction, pairs)).all()
    assert np.isnan(score("weighted_r2_delta", prediction, pairs)).all()


def test_weights_do_not_change_with_the_size_of_blocks(
    held: HeldOut, prediction: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("weighted_mse", "weighted_r2_delta", "responders_overlap_at_N", "pearson_delta_top50")
    whole = {name: score(name, prediction, held) for name in names}
    monkeypatch.setattr(rowwise, "BLOCK_BYTES", 4096)
    for name, values in whole.items():
        assert score(name, prediction, held) == pytest.approx(values, nan_ok=True), name


def test_responding_genes_are_found_by_the_size_of_the_predicted_response(
    held: HeldOut, prediction: Array
) -> None:
    assert held.tests is not None
    for i in range(N):
        x, y = held.truth[i].astype(float), prediction[i]
        responding = np.flatnonzero(held.tests.q_value[i] < 0.05)
        others = np.setdiff1d(np.arange(G), responding)
        k = len(responding)
        top = np.argsort(-np.abs(y), kind="stable")[:k]
        found = {
            name: score(f"responders_{name}", prediction, held)[i]
            for name in ("overlap_at_N", "direction_match", "spearman", "roc_auc")
        }
        assert found["overlap_at_N"] == pytest.approx(len(set(responding) & set(top)) / k)
        assert found["direction_match"] == (np.sign(x) == np.sign(y))[responding].mean()
        assert found["spearman"] == pytest.approx(spearmanr(x[responding], y[responding]).statistic)
        above = np.abs(y[responding])[:, None] > np.abs(y[others])[None, :]
        assert found["roc_auc"] == pytest.approx(above.mean())


def test_without_tests_a_tenth_of_the_genes_counts_as_responding(held: HeldOut, prediction: Array) -> None:
    untested = replace(held, tests=None)
    found = score("responders_overlap_at_N", prediction, untested)
    for i in range(N):
        lists = [
            set(np.argsort(-np.abs(values[i]), kind="stable")[:8]) for values in (held.truth, prediction)
        ]
        assert found[i] == pytest.approx(len(lists[0] & lists[1]) / 8)


def test_where_the_tests_call_no_gene_its_list_is_undefined(held: HeldOut, prediction: Array) -> None:
    nothing = replace(held, tests=GeneTests(np.zeros((N, G)), np.ones((N, G)), "none"))
    for name in ("overlap_at_50", "direction_match", "spearman", "roc_auc", "pr_auc"):
        assert np.isnan(score(f"responders_{name}", prediction, nothing)).all(), name


def test_every_metric_is_explained_in_the_documentation(repository: Path) -> None:
    page = (repository / "docs" / "metrics.md").read_text()
    missing = [name for name in (*METRICS, *ACROSS) if f"`{name}`" not in page]
    assert missing == []

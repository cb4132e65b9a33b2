"""Metrics equal their formulas, reward what they should, and say NaN where they are undefined."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pertcast.evaluation import rowwise
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.metrics import METRICS, PRIMARY_METRIC, get_metric, metrics_of_level
from pertcast_data.errors import ConfigError, SchemaError
from scipy.spatial.distance import cdist
from scipy.stats import pearsonr, spearmanr

Array = NDArray[Any]
CONDITION_METRICS = [metric.name for metric in metrics_of_level("condition")]
BLIND_TO_SIGN = ("responders_overlap", "responders_roc", "responders_pr")
CORRELATIONS = ["pearson_delta", "pearson_delta_top20", "pearson_delta_pert"]


def held_out(
    truth: Array, mean: Array | None = None, pool: Array | None = None, own: Array | None = None
) -> HeldOut:
    n, g = truth.shape
    return HeldOut(
        conditions=pl.DataFrame({"condition_id": [f"c{i}" for i in range(n)]}),
        genes=tuple(f"g{i}" for i in range(g)),
        truth=truth,
        control=np.zeros_like(truth),
        train_perturbed_mean=np.zeros((1, g)) if mean is None else mean[None],
        train_mean_index=np.zeros(n, dtype=np.int64),
        pool=np.zeros(n, dtype=np.int64) if pool is None else pool,
        cluster=np.arange(n),
        own_gene=np.full((n, 1), -1) if own is None else own,
    )


def planted(seed: int = 0, n: int = 40, g: int = 60) -> tuple[HeldOut, Array]:
    """Truth = what all perturbations share + what is the condition's own."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(0, 1, g).astype(np.float32)
    own = generator.normal(0, 1, (n, g)).astype(np.float32)
    return held_out(shared + own, mean=shared), shared


def row_by_row(first: Array, second: Array) -> list[float]:
    return [pearsonr(a, b)[0] for a, b in zip(first.astype(float), second.astype(float), strict=True)]


def mean_score(name: str, prediction: Array, held: HeldOut) -> float:
    return float(np.nanmean(get_metric(name).score(prediction, held)))


@pytest.mark.parametrize("name", CONDITION_METRICS)
def test_a_perfect_prediction_reaches_the_declared_best_value(name: str) -> None:
    held, _ = planted()
    scores = get_metric(name).score(held.truth.copy(), held)
    assert scores == pytest.approx(np.full(held.n_conditions, get_metric(name).best), abs=1e-9)


@pytest.mark.parametrize("name", [metric.name for metric in metrics_of_level("well")])
def test_a_perfect_profile_reaches_the_declared_best_value(name: str) -> None:
    profiles = np.random.default_rng(0).normal(8, 2, (20, 50)).astype(np.float32)
    assert get_metric(name).score(profiles, profiles) == pytest.approx(get_metric(name).best, abs=1e-9)


def test_the_mean_predictor_scores_on_the_shared_response_and_only_there() -> None:
    held, shared = planted()
    prediction = np.tile(shared, (held.n_conditions, 1))
    assert mean_score("pearson_delta", prediction, held) > 0.5
    assert np.isnan(get_metric("pearson_delta_pert").score(prediction, held)).all()
    assert mean_score("discrimination_l1", prediction, held) == pytest.approx(0.5, abs=0.05)


def test_the_mean_predictor_is_undefined_against_itself_up_to_rounding() -> None:
    held, shared = planted()
    noisy = shared + np.random.default_rng(1).uniform(-1e-7, 1e-7, held.truth.shape).astype(np.float32)
    assert np.isnan(get_metric("pearson_delta_pert").score(noisy, held)).all()


def test_shuffled_predictions_score_like_chance() -> None:
    held, _ = planted(n=200)
    prediction = held.truth[np.random.default_rng(3).permutation(200)]
    assert mean_score("pearson_delta_pert", prediction, held) == pytest.approx(0, abs=0.05)
    for name in ("centroid_accuracy", "discrimination_l1", "discrimination_l2", "discrimination_cosine"):
        assert mean_score(name, prediction, held) == pytest.approx(0.5, abs=0.08), name


@pytest.mark.parametrize("name", [name for name in CONDITION_METRICS if not name.startswith(BLIND_TO_SIGN)])
def test_an_anti_correlated_prediction_is_worse_than_chance(name: str) -> None:
    held, _ = planted()
    generator = np.random.default_rng(5)
    metric = get_metric(name)
    chance = held.truth[generator.permutation(held.n_conditions)]
    assert metric.sign * mean_score(name, -held.truth, held) < metric.sign * mean_score(name, chance, held)


def test_pearson_delta_equals_scipy() -> None:
    held, _ = planted()
    prediction = held.truth + np.random.default_rng(2).normal(0, 1, held.truth.shape).astype(np.float32)
    golden = [
        pearsonr(y.astype(float), x.astype(float))[0] for y, x in zip(prediction, held.truth, strict=True)
    ]
    assert get_metric("pearson_delta").score(prediction, held) == pytest.approx(golden, abs=1e-12)


def test_pearson_on_top_genes_equals_scipy_on_the_genes_with_the_largest_true_response() -> None:
    held, _ = planted()
    prediction = held.truth + np.random.default_rng(2).normal(0, 1, held.truth.shape).astype(np.float32)
    golden = []
    for y, x in zip(prediction.astype(float), held.truth.astype(float), strict=True):
        top = sorted(range(len(x)), key=lambda gene: (-abs(x[gene]), gene))[:20]
        golden.append(pearsonr(y[top], x[top])[0])
    assert get_metric("pearson_delta_top20").score(prediction, held) == pytest.approx(golden, abs=1e-12)


def test_pearson_against_the_perturbed_mean_equals_scipy_with_the_contexts_own_mean() -> None:
    held, shared = planted()
    means = np.stack([shared, -2 * shared])
    index = np.arange(held.n_conditions) % 2
    two = HeldOut(**{**vars(held), "train_perturbed_mean": means, "train_mean_index": index})
    prediction = held.truth + np.random.default_rng(2).normal(0, 1, held.truth.shape)
    golden = [
        pearsonr(prediction[i] - means[index[i]], held.truth[i] - means[index[i]])[0]
        for i in range(held.n_conditions)
    ]
    assert get_metric("pearson_delta_pert").score(prediction, two) == pytest.approx(golden, abs=1e-7)


def test_errors_and_r2_equal_their_formulas() -> None:
    held, _ = planted()
    prediction = held.truth + np.random.default_rng(2).normal(0, 0.5, held.truth.shape)
    difference = held.truth.astype(float) - prediction
    assert get_metric("mse").score(prediction, held) == pytest.approx((difference**2).mean(axis=1))
    assert get_metric("mae").score(prediction, held) == pytest.approx(np.abs(difference).mean(axis=1))
    golden = 1 - (difference**2).sum(axis=1) / (held.truth.shape[1] * held.truth.astype(float).var(axis=1))
    assert get_metric("r2").score(prediction, held) == pytest.approx(golden)


@pytest.mark.parametrize(
    ("name", "measure"), [("l1", "cityblock"), ("l2", "euclidean"), ("cosine", "cosine")]
)
def test_discrimination_equals_a_plain_loop_with_the_own_genes_left_out(name: str, measure: Any) -> None:
    generator = np.random.default_rng(4)
    truth = generator.normal(0, 1, (25, 30))
    own = np.stack([generator.integers(-1, 30, 25), generator.integers(-1, 30, 25)], axis=1)
    own[3] = 7
    prediction = truth + generator.normal(0, 2, truth.shape)
    golden = []
    for i in range(25):
        kept = np.setdiff1d(np.arange(30), own[i])
        distance = cdist(prediction[i : i + 1, kept], truth[:, kept], measure)[0]
        golden.append(1 - list(np.argsort(distance, kind="stable")).index(i) / 25)
    held = held_out(truth, own=own)
    assert get_metric(f"discrimination_{name}").score(prediction, held) == pytest.approx(golden)


@pytest.mark.parametrize("name", ["discrimination_l1", "discrimination_l2", "discrimination_cosine"])
def test_what_is_predicted_for_the_own_gene_changes_no_discrimination(name: str) -> None:
    held, _ = planted()
    own = (np.arange(held.n_conditions) % held.n_genes)[:, None]
    with_own = held_out(held.truth, own=own)
    prediction = held.truth + np.random.default_rng(2).normal(0, 2, held.truth.shape)
    changed = prediction.copy()
    changed[np.arange(held.n_conditions), own[:, 0]] += 30
    score = get_metric(name).score
    assert score(changed, with_own) == pytest.approx(score(prediction, with_own))
    assert score(changed, held) != pytest.approx(score(prediction, held))


def test_centroid_accuracy_equals_a_plain_loop() -> None:
    generator = np.random.default_rng(4)
    truth = generator.normal(0, 1, (25, 30))
    prediction = truth + generator.normal(0, 3, truth.shape)
    distance = cdist(prediction, truth)
    golden = [(distance[i] > distance[i, i]).sum() / 24 for i in range(25)]
    assert get_metric("centroid_accuracy").score(prediction, held_out(truth)) == pytest.approx(golden)


def test_ties_go_to_the_condition_that_comes_first() -> None:
    truth = np.tile(np.arange(6.0), (4, 1))
    for name in ("l1", "l2", "cosine"):
        scores = get_metric(f"discrimination_{name}").score(truth.copy(), held_out(truth))
        assert scores.tolist() == [1.0, 0.75, 0.5, 0.25], name
    assert get_metric("centroid_accuracy").score(truth.copy(), held_out(truth)).tolist() == [0.0] * 4


def test_conditions_are_told_apart_within_their_context_only() -> None:
    held, _ = planted(n=20)
    far_apart = held.truth + 100.0 * (np.arange(20) % 2)[:, None]
    shared = np.stack([far_apart[i % 2 :: 2].mean(axis=0) for i in range(20)])
    two = held_out(far_apart, pool=np.arange(20) % 2)
    one = held_out(far_apart)
    assert mean_score("centroid_accuracy", shared, one) > 0.7
    assert mean_score("centroid_accuracy", shared, two) == pytest.approx(0.5, abs=0.1)
    lonely = held_out(held.truth, pool=np.arange(20))
    assert np.isnan(get_metric("discrimination_l1").score(held.truth, lonely)).all()


@pytest.mark.parametrize("name", CORRELATIONS)
def test_a_constant_prediction_or_truth_is_undefined_and_never_zero(name: str) -> None:
    held, _ = planted()
    assert np.isnan(get_metric(name).score(np.full_like(held.truth, 0.3), held_out(held.truth))).all()
    flat = held_out(np.full_like(held.truth, 0.1))
    assert np.isnan(get_metric(name).score(held.truth, flat)).all()
    assert np.isnan(get_metric("r2").score(held.truth, flat)).all()


def test_a_zero_prediction_has_no_cosine_and_the_discrimination_says_so() -> None:
    held, _ = planted()
    nothing = np.zeros_like(held.truth)
    assert np.isnan(get_metric("discrimination_cosine").score(nothing, held)).all()
    assert not np.isnan(get_metric("discrimination_l1").score(nothing, held)).any()


@pytest.mark.parametrize("name", ["rank_cosine", "discrimination_cosine"])
def test_conditions_without_a_direction_are_before_the_own_one_by_chance(name: str) -> None:
    held, _ = planted()
    silent = np.zeros_like(held.truth)
    noise = np.random.default_rng(4).normal(0, 1, held.truth.shape).astype(np.float32)
    scores = []
    for row in range(held.n_conditions):
        one = silent.copy()
        one[row] = noise[row]
        truth, prediction = (held.truth, one) if name == "rank_cosine" else (one, held.truth)
        found = get_metric(name).score(prediction, held_out(truth))
        scores.append(found[row])
        assert np.isnan(np.delete(found, row)).all()
    assert scores == pytest.approx([0.5] * held.n_conditions, abs=0.02)


vectors = st.integers(0, 2**32 - 1)


@settings(max_examples=25, deadline=None)
@given(seed=vectors, factor=st.floats(0.1, 50), shift=st.floats(-20, 20))
def test_correlations_do_not_change_with_scale_and_shift_of_the_prediction(
    seed: int, factor: float, shift: float
) -> None:
    held, _ = planted(seed % 1000, n=6, g=30)
    prediction = np.random.default_rng(seed).normal(0, 1, held.truth.shape)
    for name in ("pearson_delta", "pearson_delta_top20"):
        before, after = (get_metric(name).score(p, held) for p in (prediction, factor * prediction + shift))
        assert after == pytest.approx(before, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=vectors)
def test_scores_move_with_the_conditions_and_ignore_the_order_of_genes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n, g = 12, 25
    truth, prediction, mean = (
        generator.normal(size=(n, g)),
        generator.normal(size=(n, g)),
        generator.normal(size=g),
    )
    rows, genes = generator.permutation(n), generator.permutation(g)
    # Ranks of few genes can lie equally far from two truths; such a tie goes to the one that comes first.
    ranks = [np.argsort(np.argsort(values, axis=1), axis=1) for values in (prediction, truth)]
    likeness = np.corrcoef(*ranks)[:n, n:]
    gaps = np.abs(likeness - likeness.diagonal()[:, None]) + np.eye(n)
    assume(gaps.min() > 1e-6)
    for name in CONDITION_METRICS:
        score = get_metric(name).score
        plain = score(prediction, held_out(truth, mean=mean))
        assert score(prediction[rows], held_out(truth[rows], mean=mean)) == pytest.approx(
            plain[rows], abs=1e-9
        )
        shuffled = held_out(truth[:, genes], mean=mean[genes])
        assert score(prediction[:, genes], shuffled) == pytest.approx(plain, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=vectors, factor=st.floats(0.01, 1e4))
def test_cosine_discrimination_cannot_be_gamed_by_scale(seed: int, factor: float) -> None:
    held, _ = planted(seed % 1000, n=10, g=20)
    prediction = np.random.default_rng(seed).normal(0, 1, held.truth.shape)
    score = get_metric("discrimination_cosine").score
    assert score(factor * prediction, held) == pytest.approx(score(prediction, held))


def test_small_blocks_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    held, _ = planted()
    prediction = held.truth + np.random.default_rng(2).normal(0, 1, held.truth.shape)
    whole = {name: get_metric(name).score(prediction, held) for name in CONDITION_METRICS}
    monkeypatch.setattr(rowwise, "BLOCK_BYTES", 4096)
    monkeypatch.setattr("pertcast.evaluation.metrics.retrieval.BLOCK_BYTES", 4096)
    for name, scores in whole.items():
        assert get_metric(name).score(prediction, held) == pytest.approx(scores, abs=1e-12), name


def test_float32_data_is_summed_in_double_precision() -> None:
    generator = np.random.default_rng(0)
    truth = (1000 + generator.normal(0, 0.05, (3, 20_000))).astype(np.float32)
    prediction = (1000 + generator.normal(0, 0.05, (3, 20_000))).astype(np.float32)
    golden = [
        pearsonr(a.astype(np.float64), b.astype(np.float64))[0]
        for a, b in zip(prediction, truth, strict=True)
    ]
    assert get_metric("well_pearson").score(prediction, truth) == pytest.approx(golden, abs=1e-10)


def test_memory_beyond_the_inputs_is_bounded() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(400, 8000)).astype(np.float32)
    held = held_out(truth)
    prediction = truth + generator.normal(size=truth.shape).astype(np.float32)
    for name in ("pearson_delta", "pearson_delta_top20", "centroid_accuracy", "mse"):
        tracemalloc.start()
        get_metric(name).score(prediction, held)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * rowwise.BLOCK_BYTES, name


def test_every_metric_declares_itself_in_full() -> None:
    assert METRICS[PRIMARY_METRIC].level == "condition"
    for metric in METRICS.values():
        assert metric.formula and metric.source and metric.title
        assert metric.best == (1.0 if metric.direction == "higher" else 0.0)
    assert len({metric.formula for metric in METRICS.values()}) > 8


def test_the_registry_cannot_be_changed_and_suggests_the_nearest_name() -> None:
    with pytest.raises(TypeError):
        METRICS["pearson_delta"] = METRICS["mse"]  # type: ignore[index]
    with pytest.raises(ConfigError, match="pearson_delta"):
        get_metric("pearson_detla")


def test_predictions_of_the_wrong_shape_or_with_holes_are_refused_by_name() -> None:
    held, _ = planted()
    with pytest.raises(SchemaError, match="ridge"):
        held.check_prediction("ridge", held.truth[:-1])
    holes = held.truth.copy()
    holes[2, 3] = np.nan
    with pytest.raises(SchemaError, match="'c2', gene 'g3'"):
        held.check_prediction("ridge", holes)


def test_rank_order_of_pearson_follows_the_noise_added() -> None:
    held, _ = planted()
    noise = np.random.default_rng(9).normal(size=held.truth.shape)
    levels = [0.1, 0.5, 1.0, 2.0, 5.0]
    scores = [mean_score("pearson_delta", held.truth + level * noise, held) for level in levels]
    assert spearmanr(levels, scores).statistic == pytest.approx(-1)

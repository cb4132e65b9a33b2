"""Predictors whose worth is known: every metric says of them what is true, or its blindness is declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.ceilings.ceiling import SplitHalves, score_ceiling
from pertcast.evaluation.ceilings.skill import skills
from pertcast.evaluation.cells.cell_scores import CellScores, compare_cells
from pertcast.evaluation.from_store.store_cells import ShiftedControls
from pertcast.evaluation.gene_tests.differential import cell_tests
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.metrics import METRICS, Metric, metrics_of_level
from pertcast.evaluation.metrics.across import ACROSS
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard, condition_facts, score_conditions
from pertcast.evaluation.trust.direction import SIGN_BLIND
from pertcast.evaluation.trust.table import evaluate

Array = NDArray[Any]
N, G, CELLS, CONTROLS = 24, 80, 60, 120

SCALED = {"centroid_accuracy", "discrimination_l1", "discrimination_l2", "normalised_inverse_rank", "rank"}
"""Retrieval by distance: raised by multiplying a prediction of the wrong length, whatever its direction."""

LENGTH = {
    *(
        "mse",
        "rmse",
        "mae",
        "r2",
        "r2_train_mean",
        "r2_train_mean_pooled",
        "weighted_mse",
        "weighted_r2_delta",
    )
}
"""Errors: the right length is part of what they ask for."""

UNDIRECTED_SHAPE = {"variance_ratio", "gene_correlation_similarity", "dropout_difference"}
"""They ask how cells vary: cells that do not respond at all are what they are compared with."""


FROM_MEANS = ("responders_overlap", "responders_roc", "responders_pr")
"""They compare the truth's tests with the size of predicted means, which cannot tell significance quite."""


@dataclass(frozen=True)
class Cells:
    """Populations in memory; measured and predicted alike."""

    conditions: pl.DataFrame
    genes: tuple[str, ...]
    population: Array
    control_population: Array

    @property
    def control_group(self) -> Array:
        return np.zeros(len(self.population), dtype=np.int64)

    def cells(self, condition: int) -> Array:
        return self.population[condition]  # type: ignore[no-any-return]

    def controls(self, group: int) -> Array:
        return self.control_population


@dataclass(frozen=True)
class Planted:
    """Measured cells, what is known of them, and the effects that they were drawn with."""

    held: HeldOut
    measured: Cells
    base: Array
    effects: Array
    training: Array

    def drawn(self, effects: Array, seed: int) -> Cells:
        return replace(self.measured, population=draw(self.base, effects, CELLS, seed))

    def response(self, cells: Cells) -> Array:
        means: Array = cells.population.mean(axis=1) - self.held.control
        return means


def draw(base: Array, effects: Array, n_cells: int, seed: int) -> Array:
    generator = np.random.default_rng(seed)
    depth = generator.lognormal(0, 0.2, (len(effects), n_cells, 1))
    counts = generator.poisson(base * np.exp(effects)[:, None, :] * depth)
    return np.log1p(counts).astype(np.float32)


@pytest.fixture(scope="module")
def planted() -> Planted:
    generator = np.random.default_rng(5)
    base = generator.gamma(2.0, 3.0, G) + 0.3
    shared = 0.5 * generator.normal(0, 1, G) * (generator.random(G) < 0.3)
    effects = shared + generator.normal(0, 0.7, (2 * N, G)) * (generator.random((2 * N, G)) < 0.3)
    conditions = pl.DataFrame({"condition_id": [f"c{i:02d}" for i in range(N)]})
    genes = tuple(f"g{i}" for i in range(G))
    controls = draw(base, np.zeros((1, G)), CONTROLS, 1)[0]
    population = draw(base, effects[:N], CELLS, 2)
    measured = Cells(conditions, genes, population, controls)
    control = np.tile(controls.mean(0), (N, 1))
    training = draw(base, effects[N:], CELLS, 3).mean(1) - control[0]
    held = HeldOut(
        conditions=conditions,
        genes=genes,
        truth=population.mean(1) - control,
        control=control,
        train_perturbed_mean=training.mean(0, keepdims=True),
        train_mean_index=np.zeros(N, dtype=np.int64),
        pool=np.zeros(N, dtype=np.int64),
        cluster=np.arange(N),
        own_gene=np.full((N, 1), -1),
        tests=cell_tests(measured),
    )
    return Planted(held, measured, base, effects[:N], training)


def of_cells(planted: Planted, predicted: Any) -> CellScores:
    assert planted.held.tests is not None
    return compare_cells(planted.measured, predicted, planted.held.tests)


@pytest.fixture(scope="module")
def nothing(planted: Planted) -> dict[str, Array]:
    """What cells that do not respond, and means that do not change, score."""
    unchanged = np.zeros_like(planted.held.truth)
    cells = of_cells(planted, ShiftedControls(planted.measured, unchanged)).scores
    return {**score_conditions(unchanged, planted.held), **cells}


def gain(metric: Metric, scores: Mapping[str, Array], nothing: Mapping[str, Array]) -> float:
    """Return by how much the mean score is better than one without information."""
    reference = float(np.nanmean(nothing[metric.name])) if needs_reference(metric) else metric.uninformative
    assert reference is not None
    return metric.sign * (float(np.nanmean(scores[metric.name])) - reference)


def needs_reference(metric: Metric) -> bool:
    return metric.uninformative is None or metric.name in UNDIRECTED_SHAPE


def test_the_perfect_prediction_has_the_best_value_of_every_metric(planted: Planted) -> None:
    cells = of_cells(planted, planted.measured)
    scores = {**score_conditions(planted.held.truth, planted.held), **cells.scores}
    asked = (*metrics_of_level("condition"), *metrics_of_level("cells"))
    assert {metric.name for metric in asked} == set(scores)
    for metric in asked:
        values = scores[metric.name][~np.isnan(scores[metric.name])]
        assert len(values) >= N // 2, metric.name
        if metric.name.startswith(FROM_MEANS):
            assert values.mean() > 0.85, (
                f"{metric.name}: the largest means are not quite the significant genes"
            )
        else:
            np.testing.assert_allclose(values, metric.best, atol=2e-4, err_msg=metric.name)
    for metric_across in ACROSS.values():
        assert metric_across.score(cells.facts) == pytest.approx(1.0)


def test_the_mean_predictor_has_no_skill(planted: Planted) -> None:
    first, second = planted.training[::2].mean(0), planted.training[1::2].mean(0)
    means = {"mean_of_others": np.tile(first, (N, 1)), "train_mean": np.tile(second, (N, 1))}
    scores = {name: score_conditions(mean, planted.held) for name, mean in means.items()}
    scores["perfect"] = score_conditions(planted.held.truth, planted.held)
    contenders = (
        Contender("mean_of_others", "Mean of others", "model"),
        Contender("train_mean", "Mean", "baseline"),
        Contender("perfect", "Perfect", "ceiling"),
    )
    board = ScoreBoard(condition_facts(planted.held), contenders, scores)
    found = skills(board, "perfect", n_draws=500)
    for name in (
        "pearson_delta",
        "mse",
        "mae",
        "centroid_accuracy",
        "discrimination_cosine",
        "spearman_delta",
    ):
        assert found[name].low <= 0 <= found[name].high and abs(found[name].value) < 0.12, name
    same = replace(board, scores={**scores, "mean_of_others": scores["train_mean"]})
    for skill in skills(same, "perfect", n_draws=200).values():
        assert skill.reason or skill.value == skill.low == skill.high == 0
    perfect = replace(board, scores={**scores, "mean_of_others": scores["perfect"]})
    for name in ("pearson_delta", "mse", "centroid_accuracy"):
        assert skills(perfect, "perfect", n_draws=200)[name].value == pytest.approx(1.0)


def test_predictions_for_other_perturbations_are_worth_nothing(planted: Planted) -> None:
    own = planted.held.truth - planted.held.truth.mean(0)
    others = planted.training - planted.training.mean(0)
    held = replace(planted.held, truth=own, train_perturbed_mean=np.zeros((1, G)))
    dealt = [np.roll(others, k, axis=0) for k in range(N)]
    for metric in metrics_of_level("condition"):
        worth = float(np.nanmean([metric.score(each, held) for each in dealt]))
        if metric.name in LENGTH:
            unchanged = np.nanmean(metric.score(np.zeros_like(own), held))
            assert metric.sign * (worth - unchanged) < 0, f"{metric.name}: worse than no change"
        elif not metric.name.startswith(FROM_MEANS):
            assert worth == pytest.approx(metric.uninformative, abs=0.08), metric.name


def test_a_prediction_of_one_half_is_the_split_half_ceiling(planted: Planted) -> None:
    halves = [
        (
            planted.measured.population[:, side::2].mean(1)
            - planted.measured.control_population[side::2].mean(0)
        )
        for side in (0, 1)
    ]
    index = np.arange(N)
    untested = replace(planted.held, tests=None)
    row, _ = score_ceiling(SplitHalves(index, *halves), untested)
    predicted = score_conditions(halves[0], untested.take(index, truth=halves[1]))
    for name, values in predicted.items():
        np.testing.assert_array_equal(row[name], values, err_msg=name)


def test_the_opposite_of_the_truth_is_rewarded_by_no_metric_that_looks_at_the_direction(
    planted: Planted, nothing: dict[str, Array]
) -> None:
    opposite = planted.drawn(-planted.effects, 11)
    scores = {
        **score_conditions(-planted.held.truth, planted.held),
        **of_cells(planted, opposite).scores,
    }
    rewarded = {
        metric.name
        for metric in METRICS.values()
        if metric.name in scores and gain(metric, scores, nothing) > 0.02
    }
    assert rewarded <= set(SIGN_BLIND), "document what else is blind to the direction"
    assert {"overlap_at_N", "de_sig_genes_recall", "roc_auc", "responders_roc_auc"} <= rewarded


def test_blind_metrics_are_named_where_the_prediction_points_the_wrong_way(planted: Planted) -> None:
    predictions = {"wrong": -planted.held.truth, "train_mean": np.tile(planted.training.mean(0), (N, 1))}
    trust = evaluate(planted.held, predictions, model="wrong", n_draws=200)
    said = [note for note in trust.notes if "point away from the measured ones" in note]
    assert len(said) == 1 and "responders_roc_auc" in said[0]
    right = evaluate(planted.held, {**predictions, "wrong": planted.held.truth}, model="wrong", n_draws=200)
    assert not any("point away" in note for note in right.notes)
    assert trust.verdict.outcome == "worse"


def weak(planted: Planted) -> Array:
    """Return responses of the right direction, with noise, at a tenth of their length."""
    noise = np.random.default_rng(8).normal(0, planted.held.truth.std(), planted.held.truth.shape)
    response: Array = 0.1 * (planted.held.truth + 1.2 * noise)
    return response


@pytest.mark.parametrize("factor", [0.01, 0.1, 10.0, 100.0])
def test_length_moves_only_the_metrics_that_are_said_to_be_moved_by_it(
    planted: Planted, factor: float
) -> None:
    before = score_conditions(weak(planted), planted.held)
    after = score_conditions(factor * weak(planted), planted.held)
    moved = {name for name in before if not np.allclose(before[name], after[name], atol=1e-6, equal_nan=True)}
    assert moved <= SCALED | LENGTH | {"pearson_delta_pert", "retrieval_rank", "centroid_accuracy_ranks"}
    assert not moved & {"pearson_delta", "spearman_delta", "discrimination_cosine", "rank_cosine"}


def test_a_longer_prediction_gains_in_discrimination_by_distance_and_the_report_says_why(
    planted: Planted,
) -> None:
    short, long = weak(planted), 60 * weak(planted)
    scores = {name: score_conditions(v, planted.held) for name, v in (("short", short), ("long", long))}
    for name in ("discrimination_l1", "discrimination_l2"):
        assert scores["long"][name].mean() > scores["short"][name].mean() + 0.1, name
    cosine = [scores[name]["discrimination_cosine"].mean() for name in ("short", "long")]
    assert cosine[0] == pytest.approx(cosine[1], abs=1e-9)
    trust = evaluate(planted.held, {"model": long, "short": short}, model="model", n_draws=500)
    assert np.median(trust.board.amplitude["model"]) > 1.5
    assert any("such a gain can come from the length alone" in note for note in trust.notes)

"""Wells of the true distribution reach the measured halves; what is missing from a population shows."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.metrics.distribution import Points, energy_distance, squared_distances
from pertcast.evaluation.scores.score_board import Contender
from pertcast.evaluation.wells.comparison import HALVES, NOISE, NOTHING, compare_wells
from pertcast.evaluation.wells.distances import PointSet, Reference, distances
from pertcast.evaluation.wells.labelled import (
    MOST_OF_CONDITION,
    MOST_OF_CONTEXT,
    WellLabels,
    Wells,
    deal_wells,
    residuals,
)
from pertcast.evaluation.wells.populations import WellPopulations
from pertcast.evaluation.wells.samples import GeneratedWells
from pertcast.evaluation.wells.scores import MEASURES
from pertcast.evaluation.wells.variance import closeness, variance_ratios, variances
from pertcast.report.page import render_page
from pertcast.report.well_population_sections import well_population_sections
from pertcast_data.errors import SchemaError

Array = NDArray[Any]
G, PERTURBATIONS, DOSES, LINES, REPLICATES = 30, 24, 2, 2, 6
REPETITIONS = 2
MODEL = Contender("model", "Tried model", "model")


@dataclass(frozen=True)
class World:
    """Condition means that genes follow in modules, and noise that genes share."""

    labels: WellLabels
    mean: Array
    factors: Array
    sd: Array

    def draw(self, seed: int, shared: float = 1.0, size: float = 1.0) -> Array:
        random = np.random.default_rng(seed)
        together = shared * random.normal(size=(len(self.labels), len(self.factors))) @ self.factors
        alone = random.normal(size=self.mean.shape) * self.sd
        return (self.mean + size * (together + alone)).astype(np.float32)

    def independent(self, seed: int) -> Array:
        """The same variance a gene, nothing shared."""
        total = np.sqrt(self.sd**2 + np.square(self.factors).sum(axis=0))
        noise = np.random.default_rng(seed).normal(size=self.mean.shape) * total
        return (self.mean + noise).astype(np.float32)


def world(effect: float = 1.0, seed: int = 0) -> World:
    random = np.random.default_rng(seed)
    n = LINES * PERTURBATIONS * DOSES
    condition = np.repeat(np.arange(n), REPLICATES)
    labels = WellLabels(condition % LINES, condition, (condition // LINES) % PERTURBATIONS)
    modules = random.normal(size=(4, G))
    of_condition = effect * random.normal(size=(n, 4)) @ modules
    line = random.normal(0, 3, (LINES, G))
    mean = of_condition[condition] + line[labels.context]
    return World(labels, mean, 0.7 * random.normal(size=(2, G)), random.uniform(0.4, 0.9, G))


def compare(truth: World, samples: list[Array], independent: list[Array], **asked: Any) -> WellPopulations:
    measured = Wells(truth.draw(100), truth.labels)
    dealt = deal_wells(truth.labels, 10)
    generated = GeneratedWells(
        np.stack([each[dealt.first] for each in samples]),
        np.stack([each[dealt.first] for each in independent]),
    )
    genes = [f"g{i}" for i in range(G)]
    return compare_wells(measured, dealt, generated, model=MODEL, genes=genes, n_draws=60, **asked)


def noise_of(truth: World) -> list[Array]:
    return [truth.independent(seed) for seed in (51, 52)]


@pytest.fixture(scope="module")
def true() -> World:
    return world()


@pytest.fixture(scope="module")
def found(true: World) -> WellPopulations:
    return compare(true, [true.draw(seed) for seed in (1, 2)], noise_of(true))


@pytest.mark.parametrize("measure", MEASURES)
def test_samples_of_the_true_distribution_reach_the_measured_halves(
    found: WellPopulations, measure: str
) -> None:
    assert found.reaches_halves(measure)
    assert found.of(HALVES.name).scores[measure].mean > 0.8


def test_independent_noise_loses_what_replicates_share_and_nothing_of_the_variance(
    found: WellPopulations,
) -> None:
    noise, model = found.of(NOISE.name), found.model
    assert abs(noise.scores["replicate_correlation"].mean) < 0.15 < model.scores["replicate_correlation"].low
    assert noise.scores["replicate_variance"].mean == pytest.approx(
        model.scores["replicate_variance"].mean, abs=0.05
    )
    assert found.beats_noise("replicate_correlation") is True
    assert found.beats_noise("replicate_variance") is False


def test_two_draws_of_the_same_noise_do_not_beat_each_other(true: World) -> None:
    same = compare(true, [true.independent(seed) for seed in (61, 62)], noise_of(true))
    assert not any(same.beats_noise(measure) for measure in MEASURES)
    assert same.reaches_halves("replicate_correlation") is False


def test_noise_of_half_the_variance_is_told_by_the_ratio_gene_by_gene(true: World) -> None:
    narrow = compare(true, [true.draw(seed, size=np.sqrt(0.5)) for seed in (1, 2)], noise_of(true))
    low, middle, high = narrow.model.ratio_quartiles("replicates")
    assert low < middle < high
    assert middle == pytest.approx(0.5, abs=0.08)
    assert narrow.model.scores["replicate_variance"].mean == pytest.approx(0.5, abs=0.08)
    assert narrow.reaches_halves("replicate_variance") is False


def test_wells_in_which_nothing_happens_stand_at_zero_and_means_without_noise_are_no_population() -> None:
    weak = world(effect=0.3)
    bare = compare(weak, [weak.mean.astype(np.float32)] * 2, noise_of(weak))
    assert bare.of(NOTHING.name).scores["e_distance"].mean == pytest.approx(0, abs=1e-12)
    assert bare.model.scores["replicate_variance"].mean < 0.05
    for measure in ("variance", "e_distance", "mmd"):
        assert bare.reaches_halves(measure) is False


def test_where_perturbations_do_nothing_distances_have_no_scale() -> None:
    null = world(effect=0.0)
    null = replace(null, mean=np.zeros_like(null.mean))
    dull = compare(null, [null.draw(seed) for seed in (1, 2)], noise_of(null))
    assert np.isnan(dull.model.scores["e_distance"].mean)
    assert dull.reaches_halves("e_distance") is None
    assert np.isfinite(dull.model.distance["e_distance"])


def test_variances_are_those_of_numpy_and_weighted_labels_count_as_often_as_they_are_drawn() -> None:
    random = np.random.default_rng(0)
    values, label = random.normal(size=(12, 3)).astype(np.float32), np.repeat([0, 1, 2], [5, 4, 3])
    parts = [values[label == each].astype(np.float64) for each in range(3)]
    squares = [np.square(part - part.mean(axis=0)).sum(axis=0) for part in parts]
    once, drawn = variances(values, label, np.stack([np.ones(12), np.array([2.0, 0.0, 1.0])[label]]))
    assert once == pytest.approx(sum(squares) / 9, rel=1e-5)
    assert drawn == pytest.approx((2 * squares[0] + squares[2]) / (2 * 4 + 2), rel=1e-5)
    assert variances(values[:5], label[:5], np.ones((1, 5)))[0] == pytest.approx(
        parts[0].var(axis=0, ddof=1), rel=1e-5
    )
    assert np.isnan(variances(values[:2], np.array([0, 1]), np.ones((1, 2)))).all()


def test_closeness_takes_twofold_either_way_alike_and_skips_genes_that_do_not_vary() -> None:
    ratios = variance_ratios(np.array([[2.0, 1.0, 3.0]]), np.array([[1.0, 2.0, 0.0]]))
    assert np.isnan(ratios[0, 2])
    assert closeness(ratios) == pytest.approx([0.5])
    assert variance_ratios(np.array([0.0]), np.array([1.0])) == pytest.approx([0.01])


def points(values: Array, condition: Array, weight: Array | None = None) -> PointSet:
    counts = np.ones((1, len(values))) if weight is None else weight
    return PointSet(Points.of(values), condition, counts)


def test_distances_are_the_metrics_own_over_pairs_of_different_wells() -> None:
    random = np.random.default_rng(0)
    first, second = (random.normal(shift, 1, (n, 5)).astype(np.float32) for shift, n in ((0.5, 9), (0, 7)))
    reference = Reference.of(points(second, np.arange(7) + 100))
    energy, discrepancy = distances(points(first, np.arange(9)), reference)
    a, b = Points.of(first), Points.of(second)
    apart = [squared_distances(side, side)[~np.eye(len(side.cells), dtype=bool)] for side in (a, b)]
    assert energy[0] == pytest.approx(energy_distance(squared_distances(a, b), *apart), rel=1e-9)
    assert discrepancy[0] > 0


def test_a_resampled_distance_is_that_of_the_wells_repeated() -> None:
    random = np.random.default_rng(1)
    values, condition = random.normal(size=(8, 4)).astype(np.float32), np.repeat([0, 1, 2, 3], 2)
    other = random.normal(size=(6, 4)).astype(np.float32)
    counts = np.array([2, 1, 0, 3])[condition]
    weighted = distances(
        points(values, condition, counts[None].astype(float)), Reference.of(points(other, np.arange(6) + 9))
    )
    again = np.repeat(np.arange(8), counts)
    repeated = distances(
        points(values[again], condition[again]), Reference.of(points(other, np.arange(6) + 9))
    )
    assert weighted[0] == pytest.approx(repeated[0])
    assert weighted[1] == pytest.approx(repeated[1])


def test_two_halves_of_one_population_are_at_distance_zero_on_average() -> None:
    random = np.random.default_rng(2)
    found = []
    for _ in range(40):
        mean = np.repeat(random.normal(size=(15, 6)), 4, axis=0)
        values = (mean + random.normal(size=mean.shape)).astype(np.float32)
        condition, half = np.repeat(np.arange(15), 4), np.tile([0, 0, 1, 1], 15)
        sides = [points(values[half == each], condition[half == each]) for each in (0, 1)]
        found.append(float(distances(sides[0], Reference.of(sides[1]))[0][0]))
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found)) + 1e-3


def test_halves_share_no_well_and_hold_every_condition_that_has_replicates() -> None:
    condition = np.repeat(np.arange(30), np.tile([1, 3, 4], 10))
    labels = WellLabels(np.zeros_like(condition), condition, condition)
    dealt = deal_wells(labels, 10)
    assert dealt.are_halves and not set(dealt.first) & set(dealt.second)
    counts = [np.bincount(condition[half], minlength=30) for half in (dealt.first, dealt.second)]
    assert [tuple(each[:3]) for each in counts] == [(0, 1, 2), (0, 2, 2)]


def test_large_stores_are_thinned_out_by_whole_conditions_and_say_so() -> None:
    condition = np.repeat(np.arange(200), 14)
    labels = WellLabels(condition % 2, condition, condition)
    dealt = deal_wells(labels, 10)
    kept = np.concatenate([dealt.first, dealt.second])
    assert np.bincount(labels.context[kept]).max() <= MOST_OF_CONTEXT
    assert set(np.bincount(condition[kept])) == {0, MOST_OF_CONDITION}
    assert f"{len(kept):,} of 2,800 held-out wells" in dealt.remarks[0]
    again = deal_wells(labels, 10)
    assert np.array_equal(dealt.first, again.first) and np.array_equal(dealt.second, again.second)


def test_without_replicates_there_is_no_ceiling_and_it_is_said(true: World) -> None:
    single = np.arange(0, len(true.labels), REPLICATES)
    labels = true.labels.take(single)
    dealt = deal_wells(labels, 10)
    values = true.draw(100)[single]
    generated = GeneratedWells(true.draw(1)[single][None], true.independent(2)[single][None])
    alone = compare_wells(
        Wells(values, labels), dealt, generated, model=MODEL, genes=[f"g{i}" for i in range(G)], n_draws=20
    )
    assert not alone.has_halves and alone.reaches_halves("variance") is None
    assert np.isnan(alone.model.scores["replicate_variance"].mean)
    assert np.isnan(alone.model.scores["e_distance"].mean)
    assert np.isfinite(alone.model.distance["e_distance"])
    assert np.isfinite(alone.model.scores["gene_correlation"].mean)
    assert any("no ceiling" in line for line in alone.lines())


def test_residuals_have_no_mean_within_their_label() -> None:
    values, label = np.random.default_rng(0).normal(5, 1, (9, 2)).astype(np.float32), np.repeat([4, 7, 1], 3)
    left = residuals(values, label)
    assert [left[label == each].mean(axis=0) for each in (1, 4, 7)] == [pytest.approx([0, 0], abs=1e-6)] * 3


def test_wells_that_do_not_fit_are_refused_by_shape_and_place(true: World) -> None:
    draws = [true.draw(1)]
    with pytest.raises(SchemaError, match=r"shape \(1, 288, 29\), wanted \(repetitions, 288, 30\)"):
        compare(true, [each[:, 1:] for each in draws], noise_of(true)[:1])
    broken = draws[0].copy()
    broken[deal_wells(true.labels, 10).first[3], 2] = np.nan
    with pytest.raises(SchemaError, match="well 3 is not finite for gene number 2"):
        compare(true, [broken], noise_of(true)[:1])
    with pytest.raises(SchemaError, match="one of each for every well"):
        WellLabels(np.zeros(3, int), np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(SchemaError, match="one row for each labelled well"):
        Wells(np.zeros((2, 3)), true.labels)


def test_too_few_wells_are_refused(true: World) -> None:
    few = true.labels.take(np.arange(0, 48, REPLICATES))
    values = true.draw(0)[: 8 * REPLICATES : REPLICATES]
    with pytest.raises(SchemaError, match="6 wells beyond the first of their cell line"):
        compare_wells(
            Wells(values, few), deal_wells(few, 10), GeneratedWells(values[None], values[None]),
            model=MODEL, genes=[f"g{i}" for i in range(G)],
        )  # fmt: skip


def test_the_result_is_told_in_words_in_json_and_in_a_report(found: WellPopulations) -> None:
    lines = found.lines()
    assert lines[0].startswith("Wells generated by Tried model are within 0.05")
    assert max(map(len, lines)) <= 110
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(content["to_halves"]) == set(MEASURES)
    assert [each["name"] for each in content["contenders"]][:2] == ["model", NOISE.name]
    html = render_page(title="t", provenance="p", sections=well_population_sections(found))
    for title in ("Populations of wells", "Variance, gene by gene", "Which genes move together"):
        assert title in html


def test_the_same_seed_gives_the_same_result(true: World, found: WellPopulations) -> None:
    again = compare(true, [true.draw(seed) for seed in (1, 2)], noise_of(true))
    assert again.to_json() == found.to_json()


def test_an_unknown_contender_is_named_with_those_there_are(found: WellPopulations) -> None:
    with pytest.raises(KeyError, match="measured_halves"):
        found.of("nobody")

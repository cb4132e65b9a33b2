"""Ceilings: replicates score what replicates reach, and the estimated perfect score is the oracle's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sparse
from numpy.typing import NDArray
from pertcast.evaluation.ceilings.ceiling import (
    CEILING_OF_SKILL,
    Ceilings,
    SplitHalves,
    score_ceiling,
    score_ceilings,
    score_interpolated,
    score_perfect,
)
from pertcast.evaluation.ceilings.deconvolution import energies_without_error, values_without_error
from pertcast.evaluation.ceilings.denoise import reliability
from pertcast.evaluation.ceilings.replicate_noise import ReplicateNoise
from pertcast.evaluation.ceilings.retest import Retest
from pertcast.evaluation.from_store.replicates import replicate_tests
from pertcast.evaluation.from_store.store_truth import MeasuredResponses, measure_responses
from pertcast.evaluation.held_out import GeneTests, HeldOut
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.scores.score_board import score_conditions
from pertcast.evaluation.units import lay_out_units
from pertcast.multiple_testing import benjamini_hochberg
from pertcast_data.loading import pair_controls
from pertcast_data.simulate.atlas import simulate_atlas
from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.store import create_store
from scipy.stats import norm

Array = NDArray[Any]
TOLERANCE = 0.07
CASES = (("linear", 1.0, 2), ("linear", 2.0, 3), ("saturating", 1.0, 5))


@dataclass(frozen=True)
class Measured:
    """Held-out conditions of an atlas: what was measured of them, and what is true."""

    held: HeldOut
    responses: MeasuredResponses
    true: Array

    @cached_property
    def ceilings(self) -> Ceilings:
        """All ceilings, scored once."""
        return score_ceilings(self.responses, self.held)


def measure(path: Path, regime: str, noise: float, n_plates: int, seed: int = 0) -> Measured:
    """Hold out every third compound of a small atlas; means of the others are the training means."""
    atlas = simulate_atlas(
        AtlasConfig(
            regime=regime, noise=noise, n_plates=n_plates, seed=seed, n_genes=150, n_compounds=30,
            n_contexts=2, n_unprofiled=0, n_knockouts=4, n_pairs=1, n_cells=100, times=(24.0,),
        )
    )  # fmt: skip
    n_genes = atlas.intensities.shape[1]
    store = create_store(
        path,
        obs=atlas.wells.rename({"plate": "batch_id"}),
        var=pl.DataFrame({"gene_id": [f"g{i}" for i in range(n_genes)]}),
        batches=[atlas.intensities],
        measure="expression",
        normalisation="log2_intensity",
    )
    pairing, reader = pair_controls(store), store.reader()
    controls = pairing.means(reader)
    names = store.obs["pert_id"].to_numpy()
    held_names = np.array(sorted(set(names[~store.is_control]))[::3])
    is_test = np.isin(names, held_names)
    training = lay_out_units(store, np.flatnonzero(~is_test & ~store.is_control), pairing)
    seen = measure_responses(training, reader, n_genes, pairing, controls).truth
    units = lay_out_units(store, np.flatnonzero(is_test), pairing)
    responses = measure_responses(units, reader, n_genes, pairing, controls)
    lines, pool = np.unique(units.conditions["cell_iname"].to_numpy(), return_inverse=True)
    seen_line = training.conditions["cell_iname"].to_numpy()
    held = HeldOut(
        conditions=units.conditions,
        genes=store.genes,
        truth=responses.truth,
        control=responses.control,
        train_perturbed_mean=np.stack([seen[seen_line == line].mean(axis=0) for line in lines]),
        train_mean_index=pool,
        pool=pool,
        cluster=np.unique(units.conditions["pert_id"].to_numpy(), return_inverse=True)[1],
        own_gene=np.full((units.n_conditions, 1), -1),
        tests=replicate_tests(units, reader, pairing, controls, n_genes),
    )
    place = {name: i for i, name in enumerate(atlas.wells_truth.condition_ids)}
    rows = [place[name] for name in units.conditions["condition_id"]]
    return Measured(held, responses, atlas.wells_truth.response[rows])


@pytest.fixture(scope="module")
def atlases(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, float, int], Measured]:
    root = tmp_path_factory.mktemp("atlases")
    return {case: measure(root / f"{i}", *case) for i, case in enumerate(CASES)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "metric",
    [
        "pearson_delta",
        "pearson_delta_top20",
        "pearson_delta_pert",
        "r2",
        "centroid_accuracy",
        "discrimination_l2",
        "responders_roc_auc",
    ],
)
def test_the_estimated_perfect_score_is_what_the_known_truth_scores(
    atlases: Any, case: Any, metric: str
) -> None:
    atlas = atlases[case]
    chosen = [get_metric(metric)]
    real = np.nanmean(score_conditions(atlas.true, atlas.held, metrics=chosen)[metric])
    estimated = np.nanmean(atlas.ceilings.scores["perfect"][metric])
    assert estimated == pytest.approx(real, abs=TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_the_estimated_noise_is_the_distance_of_truth_and_measurement(atlases: Any, case: Any) -> None:
    atlas = atlases[case]
    errors = np.square(atlas.held.truth - atlas.true)
    assert atlas.responses.noise.variance().mean() == pytest.approx(errors.mean(), rel=0.15)
    by_gene = atlas.responses.noise.variance().mean(axis=0)
    assert np.corrcoef(by_gene, errors.mean(axis=0))[0, 1] > 0.65


@pytest.mark.parametrize("case", CASES)
def test_ceilings_stand_in_the_order_of_what_they_know(atlases: Any, case: Any) -> None:
    atlas = atlases[case]
    ceilings = atlas.ceilings
    assert [c.name for c in ceilings.contenders][-1] == CEILING_OF_SKILL
    error = {name: np.nanmean(scores["mse"]) for name, scores in ceilings.scores.items()}
    assert error["perfect"] < error["interpolated_duplicate"] < error["split_half"]
    likeness = {name: np.nanmean(scores["pearson_delta"]) for name, scores in ceilings.scores.items()}
    assert likeness["split_half"] < likeness["interpolated_duplicate"] < likeness["perfect"]
    assert likeness["perfect"] < likeness["bootstrap"]


@pytest.mark.parametrize("case", CASES)
def test_simulated_measurements_call_as_many_genes_as_the_real_one(atlases: Any, case: Any) -> None:
    atlas = atlases[case]
    retest = Retest.learn(atlas.held.tests, atlas.held.truth)
    real = np.mean(atlas.held.tests.q_value < 0.05)
    assert np.mean(retest.of(atlas.held.truth).q_value < 0.05) == pytest.approx(real, rel=0.15)
    anew = atlas.true + atlas.responses.noise.draw(np.random.default_rng(0))
    assert np.mean(retest.of(anew).q_value < 0.05) == pytest.approx(real, rel=0.3)
    nothing = atlas.responses.noise.draw(np.random.default_rng(1))
    assert np.mean(retest.of(nothing).q_value < 0.05) < 0.01


def test_two_halves_foretell_the_perfect_correlation_by_spearman_and_brown(atlases: Any) -> None:
    atlas = atlases[CASES[0]]
    ceilings = atlas.ceilings
    half = np.nanmean(ceilings.scores["split_half"]["pearson_delta"])
    perfect = np.nanmean(ceilings.scores["perfect"]["pearson_delta"])
    assert np.sqrt(2 * half / (1 + half)) == pytest.approx(perfect, abs=0.05)


def test_ceilings_are_the_same_every_time(atlases: Any) -> None:
    atlas = atlases[CASES[0]]
    chosen = [get_metric("pearson_delta"), get_metric("centroid_accuracy")]
    first, again, other = (
        score_perfect(atlas.held, atlas.responses.noise, seed, chosen) for seed in (3, 3, 4)
    )
    for metric, values in first.items():
        assert np.array_equal(values, again[metric], equal_nan=True)
    assert not np.array_equal(first["pearson_delta"], other["pearson_delta"])


def make_noise(n_conditions: int, n_genes: int, shared: bool, seed: int = 0) -> ReplicateNoise:
    generator = np.random.default_rng(seed)
    rows = generator.normal(0, 1, (400, n_genes)).astype(np.float32)
    share = sparse.csr_matrix(np.ones((n_conditions, 1)))
    controls = rows[:200] * 2 if shared else np.empty((0, n_genes), np.float32)
    return ReplicateNoise(rows, controls, np.full(n_conditions, 4), share, np.array([5]))


@pytest.mark.parametrize("shared", [False, True])
def test_draws_of_noise_have_the_stated_variance(shared: bool) -> None:
    noise = make_noise(30, 40, shared)
    generator = np.random.default_rng(1)
    draws = np.stack([noise.draw(generator) for _ in range(300)])
    assert np.square(draws).mean() == pytest.approx(noise.variance().mean(), rel=0.05)
    between = np.mean(draws[:, 0] * draws[:, 1])
    assert between == pytest.approx(4 / 5 if shared else 0, abs=0.06)


def two_halves_of_noise(n: int = 60, g: int = 80) -> tuple[HeldOut, SplitHalves]:
    """Responses that are noise alone, and tests that take a fourth of it for their error and call many."""
    first, second = np.random.default_rng(0).normal(0, np.sqrt(2), (2, n, g)).astype(np.float32)
    truth = (first + second) / 2
    statistic = 4 * truth
    held = HeldOut(
        conditions=pl.DataFrame({"condition_id": [f"c{i}" for i in range(n)]}),
        genes=tuple(f"g{i}" for i in range(g)),
        truth=truth,
        control=np.zeros_like(truth),
        train_perturbed_mean=np.zeros((1, g), dtype=np.float32),
        train_mean_index=np.zeros(n, dtype=np.int64),
        pool=np.zeros(n, dtype=np.int64),
        cluster=np.arange(n),
        own_gene=np.full((n, 1), -1),
        tests=GeneTests(statistic, benjamini_hochberg(2 * norm.sf(np.abs(statistic))), "too small an error"),
    )
    return held, SplitHalves(np.arange(n), first, second)


def test_which_genes_respond_in_one_half_is_not_told_by_tests_that_saw_the_other() -> None:
    held, halves = two_halves_of_noise()
    chosen = [get_metric("responders_roc_auc")]
    both_seen = held.take(halves.index, truth=halves.second)
    seen = score_conditions(halves.first, both_seen, metrics=chosen)["responders_roc_auc"]
    found, _ = score_ceiling(halves, held)
    assert np.nanmean(seen) > 0.65
    assert np.nanmean(found["responders_roc_auc"]) == pytest.approx(0.5, abs=0.03)


def test_a_response_near_zero_does_not_make_a_gene_respond_in_whatever_is_measured_next() -> None:
    """Statistics of rank tests scatter about the response: simulated ones must not call more for that."""
    generator = np.random.default_rng(0)
    truth = generator.normal(0, 1, (80, 100))
    statistic = truth + generator.normal(0, 0.5, truth.shape)
    tests = GeneTests(statistic, benjamini_hochberg(2 * norm.sf(np.abs(statistic))), "ranks")
    again = Retest.learn(tests, truth).of(generator.normal(0, 1, truth.shape))
    assert np.mean(tests.q_value < 0.05) < 0.005
    assert np.mean(again.q_value < 0.05) < 0.01


def test_the_interpolated_duplicate_gets_nothing_from_the_half_it_is_judged_by() -> None:
    held, halves = two_halves_of_noise()
    noise = make_noise(60, 80, False)
    noise = replace(noise, row_residuals=2 * noise.row_residuals)
    other = replace(halves, second=halves.second + np.arange(60, dtype=np.float32)[:, None])
    changed = replace(held, truth=(other.first + other.second) / 2)
    same = reliability(replace(held, truth=halves.first), noise.of_halves())
    assert np.mean(same) < 0.1
    for name in ("mse", "pearson_delta"):
        chosen = [score_interpolated(h, t, noise)[name] for h, t in ((halves, held), (other, changed))]
        mixed = same * halves.first
        golden = [
            score_conditions(mixed, t.take(h.index, truth=h.second), metrics=[get_metric(name)])[name]
            for h, t in ((halves, held), (other, changed))
        ]
        assert chosen == [pytest.approx(values, nan_ok=True) for values in golden]


def test_rows_that_are_copies_of_one_another_have_no_noise_and_a_perfect_ceiling() -> None:
    held, _ = two_halves_of_noise()
    copies = replace(make_noise(60, 80, False), row_residuals=np.zeros((20, 80), dtype=np.float32))
    perfect = score_perfect(held, copies, metrics=[get_metric("pearson_delta"), get_metric("mse")])
    assert perfect["pearson_delta"] == pytest.approx(1.0)
    assert perfect["mse"] == pytest.approx(0.0)


def test_noise_of_some_conditions_is_theirs() -> None:
    noise = make_noise(6, 10, True)
    noise.n_rows[:] = [1, 2, 3, 4, 5, 6]
    part = noise.take(np.array([4, 1]))
    assert part.variance() == pytest.approx(noise.variance()[[4, 1]])
    assert part.of_halves().variance().mean() > 1.8 * part.variance().mean()


def test_sizes_without_error_have_the_spread_of_the_true_ones() -> None:
    generator = np.random.default_rng(0)
    true = np.where(generator.random(400) < 0.6, 0.0, generator.gamma(2.0, 4.0, 400))
    measured = true + generator.normal(0, np.sqrt(4 + 0.5 * true))
    found = energies_without_error(measured, np.full(400, 4.0), 0.5)
    assert (found >= 0).all()
    assert np.std(found) == pytest.approx(np.std(true), rel=0.05)
    assert np.mean(np.sqrt(true)) < np.mean(np.sqrt(found)) < np.mean(np.sqrt(np.maximum(measured, 0)))
    signed = generator.normal(0, 1, 400)
    shrunk = values_without_error(signed + generator.normal(0, 1, 400), np.ones(400))
    assert np.std(shrunk) == pytest.approx(1, abs=0.2)


def test_without_replicates_there_is_no_ceiling_and_it_is_said(tmp_path: Path) -> None:
    atlas = measure(tmp_path / "single", "linear", 1.0, 1)
    ceilings = score_ceilings(atlas.responses, atlas.held)
    assert atlas.responses.noise is None
    assert ceilings.contenders == () and "Fewer than 8" in ceilings.remark

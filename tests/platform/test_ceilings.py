"""Ceilings: replicates score what replicates reach, and the estimated perfect score is the oracle's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sparse
from numpy.typing import NDArray
from pertcast.evaluation.ceiling import (
    CEILING_OF_SKILL,
    Ceilings,
    score_ceilings,
    score_perfect,
    spearman_brown,
)
from pertcast.evaluation.deconvolution import energies_without_error, values_without_error
from pertcast.evaluation.differential import replicate_tests
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.replicate_noise import ReplicateNoise
from pertcast.evaluation.retest import Retest
from pertcast.evaluation.score_board import score_conditions
from pertcast.evaluation.store_truth import MeasuredResponses, measure_responses
from pertcast.evaluation.units import lay_out_units
from pertcast_data.loading import pair_controls
from pertcast_data.simulate.atlas import simulate_atlas
from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.store import create_store

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
    assert spearman_brown(float(half)) == pytest.approx(
        np.nanmean(ceilings.scores["perfect"]["pearson_delta"]), abs=0.05
    )
    assert np.isnan(spearman_brown(-0.1))
    assert spearman_brown(1.0) == 1.0


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


def test_noise_of_some_conditions_is_theirs() -> None:
    noise = make_noise(6, 10, True)
    noise.n_rows[:] = [1, 2, 3, 4, 5, 6]
    part = noise.take(np.array([4, 1]))
    assert part.variance() == pytest.approx(noise.variance()[[4, 1]])
    assert part.half_variance().mean() > 1.8 * part.variance().mean()


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

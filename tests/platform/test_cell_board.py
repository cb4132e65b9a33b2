"""Populations of cells join the board: thinned alike for all, halves as their ceiling, effects ranked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from pertcast.evaluation.cells.across_summary import across_estimates
from pertcast.evaluation.cells.cell_board import HalfOfCells, chosen_conditions, with_cells
from pertcast.evaluation.from_store.contenders import HeldOutInputs, forecast, sample_cells
from pertcast.evaluation.from_store.held_out_part import of_one_kind
from pertcast.evaluation.gene_tests.differential import cell_tests
from pertcast.evaluation.held_out import GeneTests
from pertcast.evaluation.scores.pooled_boards import average_seeds
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard
from pertcast.evaluation.units import Units
from pertcast.models.batch import Prediction
from pertcast.models.sampling import gaussian_prediction

Array = NDArray[Any]
N, G, CELLS = 8, 12, 30


class ToyCells:
    """Conditions whose first genes rise, the more the later the condition; one control population."""

    def __init__(self, seed: int, strength: float = 1.0) -> None:
        self.seed, self.strength = seed, strength
        self.genes = tuple(f"g{i}" for i in range(G))
        self.control_group = np.zeros(N, np.int64)
        self.conditions = pl.DataFrame({"condition_id": [f"c{i}" for i in range(N)]})

    def cells(self, condition: int) -> Array:
        cells = np.random.default_rng((self.seed, condition)).normal(2, 0.5, (CELLS, G))
        cells[:, :4] += self.strength * 0.4 * (condition + 1)
        return cells.astype(np.float32)

    def controls(self, group: int) -> Array:
        return np.random.default_rng((self.seed, 99)).normal(2, 0.5, (2 * CELLS, G)).astype(np.float32)


def board() -> ScoreBoard:
    names = [("model", "model"), ("flat", "baseline"), ("split_half", "ceiling")]
    contenders = tuple(Contender(name, name, role) for name, role in names)  # type: ignore[arg-type]
    conditions = pl.DataFrame({"condition_id": [f"c{i}" for i in range(N)], "cluster": list("abcdefgh")})
    return ScoreBoard(conditions, contenders, {name: {"pearson_delta": np.ones(N)} for name, _ in names})


@pytest.fixture(scope="module")
def scored() -> ScoreBoard:
    truth = ToyCells(0)
    predicted = {"model": ToyCells(1), "flat": ToyCells(1, strength=0.0)}
    return with_cells(board(), truth, cell_tests(truth), predicted)[0]


def test_the_true_populations_win_and_halves_of_the_truth_are_the_ceiling(scored: ScoreBoard) -> None:
    def mean(who: str, metric: str) -> float:
        return float(np.nanmean(scored.scores[who][metric]))

    assert mean("model", "de_sig_genes_recall") > 0.8 > mean("flat", "de_sig_genes_recall")
    assert mean("model", "e_distance") < mean("flat", "e_distance") / 5
    assert mean("split_half", "e_distance") < mean("flat", "e_distance") / 5
    assert "e_distance" in [metric.name for metric in scored.metrics]


def test_effects_over_conditions_are_ranked_with_an_interval(scored: ScoreBoard) -> None:
    found = across_estimates(scored, 100)
    assert found["model"]["pearson_edistance"].mean > 0.9
    assert found["model"]["pearson_edistance"].low > 0.5
    assert found["flat"]["pearson_edistance"].mean < 0.7


def test_conditions_are_thinned_evenly_and_alike_for_everybody() -> None:
    truth = ToyCells(0)
    thinned, remarks = with_cells(
        board(), truth, cell_tests(truth), {"model": ToyCells(1), "flat": ToyCells(1)}, most_conditions=3
    )
    for who in ("model", "flat", "split_half"):
        defined = ~np.isnan(thinned.scores[who]["e_distance"])
        assert np.flatnonzero(defined).tolist() == [0, 3, 7]
    assert remarks[0] == "Metrics of cells: 3 of 8 conditions, evenly spaced."
    assert chosen_conditions(4, 9).tolist() == [0, 1, 2, 3]


def test_halves_of_cells_share_no_cell_and_hold_them_all() -> None:
    truth = ToyCells(0)
    first, second = HalfOfCells(truth, 0), HalfOfCells(truth, 1)
    both = np.concatenate([first.cells(2), second.cells(2)])
    assert len(first.cells(2)) == len(second.cells(2)) == CELLS // 2
    assert np.array_equal(np.sort(both, axis=0), np.sort(truth.cells(2), axis=0))
    assert len(np.unique(both, axis=0)) == CELLS


def test_all_conditions_are_tested_in_one_way() -> None:
    by_cell = GeneTests(np.ones((3, G)), np.ones((3, G)), "cells")
    by_batch = GeneTests(np.ones((3, G)), np.full((3, G), 0.5), "batches")
    assert of_one_kind(by_batch, by_cell) is by_batch
    assert of_one_kind(None, by_cell) is by_cell
    by_batch.q_value[1] = np.nan
    assert of_one_kind(by_batch, by_cell) is by_cell


def test_facts_of_cells_are_averaged_over_seeds(scored: ScoreBoard) -> None:
    pooled = average_seeds([scored, scored], (0, 1))
    facts = pooled.cell_facts["model"]["true_e_distance"]
    assert facts == pytest.approx(scored.cell_facts["model"]["true_e_distance"])


def _inputs(toy: Any, n_rows: list[int]) -> tuple[Any, HeldOutInputs]:
    world = toy.world(n_genes=G)
    conditions = world.conditions([[0], [0], [1]])
    rows = np.arange(sum(n_rows))
    units = Units(
        conditions=pl.DataFrame({"condition_id": ["a", "b"]}),
        table=pl.DataFrame({"unit": [0, 1, 2]}),
        rows=rows,
        unit_of_row=np.repeat(np.arange(3), n_rows),
        condition=np.array([0, 0, 1]),
        n_rows=np.array(n_rows),
        control_group=np.array([0, 1, 0]),
    )
    controls = np.stack([np.full(G, 1.0), np.full(G, 5.0)]).astype(np.float32)
    nothing = np.empty(0, dtype=np.int64)
    return world, HeldOutInputs(units, conditions, controls, nothing, None)  # type: ignore[arg-type]


class _Sampler:
    """Says a response of 1 with an sd of 2 in the first unit and 4 in the others; samples are 0 or -9."""

    samples_profiles = True

    def __init__(self, space: Any) -> None:
        self.space = space

    def predict(self, conditions: Any, basal: Any, n_samples: int = 0, noise: Any = None) -> Prediction:
        n = len(conditions)
        sd = torch.full((n, G), 4.0)
        sd[conditions.key == 13] = 2.0
        samples = torch.zeros(n, n_samples, G) if n_samples else None
        if samples is not None:
            samples[..., 0] = -9.0
        return Prediction(torch.ones(n, G), sd, samples)


def test_a_generative_model_is_asked_for_cells_by_the_share_of_each_plate(toy: Any) -> None:
    world, inputs = _inputs(toy, [30, 10, 5])
    cells = sample_cells(_Sampler(world.space), inputs.conditions, inputs, 0, 20)  # type: ignore[arg-type]
    assert cells.shape == (20, G)
    assert (cells[:15, 1:] == 1.0).all() and (cells[15:, 1:] == 5.0).all()
    assert (cells[:, 0] == 0.0).all()


class _NoisySampler(_Sampler):
    """Draws standard normal responses with the noise that it is given."""

    def predict(self, conditions: Any, basal: Any, n_samples: int = 0, noise: Any = None) -> Prediction:
        n = len(conditions)
        return gaussian_prediction(conditions, torch.zeros(n, G), torch.ones(n, G), n_samples, noise)


def test_cells_of_one_condition_get_other_noise_on_another_plate_and_the_same_when_asked_again(
    toy: Any,
) -> None:
    world, inputs = _inputs(toy, [20, 20, 5])
    assert inputs.control_means is not None
    model: Any = _NoisySampler(world.space)
    high = replace(inputs, control_means=inputs.control_means + 20.0)
    cells = sample_cells(model, inputs.conditions, high, 0, 40)
    first, second = cells[:20] - 21.0, cells[20:] - 25.0
    assert np.abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.3
    assert np.array_equal(cells, sample_cells(model, inputs.conditions, high, 0, 40))


def test_a_forecast_keeps_the_sd_of_single_profiles_over_a_conditions_rows(toy: Any) -> None:
    world, inputs = _inputs(toy, [30, 10, 5])
    found = forecast(_Sampler(world.space), inputs.conditions, inputs)  # type: ignore[arg-type]
    assert found.sd is not None
    assert found.sd[0] == pytest.approx(np.full(G, np.sqrt((30 * 4 + 10 * 16) / 40)))
    assert found.sd[1] == pytest.approx(np.full(G, 4.0))

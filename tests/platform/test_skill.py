"""Skill is 0 for what a baseline could have said, 1 at the ceiling, and undefined where there is no room."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.ceilings.skill import skill_of, skills
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard
from pertcast.evaluation.trust.strata import strata

Array = NDArray[Any]
N = 60


def board_of(
    columns: dict[str, Array], metric: str = "pearson_delta", seed_scores: Array | None = None
) -> ScoreBoard:
    """A board of one metric; `model`, `perfect` (ceiling), and baselines by any other name."""
    n = len(next(iter(columns.values())))
    roles: dict[str, Any] = {"model": "model", "perfect": "ceiling"}
    conditions = pl.DataFrame(
        {
            "condition_id": [f"c{i}" for i in range(n)],
            "cluster": [f"p{i // 2}" for i in range(n)],
            "effect_size": np.linspace(0.1, 1, n),
            "cell_iname": ["A" if i % 2 or i < n // 2 else "B" for i in range(n)],
        }
    )
    return ScoreBoard(
        conditions,
        tuple(Contender(name, name, roles.get(name, "baseline")) for name in columns),
        {name: {metric: values} for name, values in columns.items()},
        seeds=() if seed_scores is None else tuple(range(len(seed_scores))),
        seed_scores={} if seed_scores is None else {"model": {metric: seed_scores}},
    )


def test_the_ceiling_has_skill_one_and_the_strongest_baseline_skill_zero() -> None:
    base = np.random.default_rng(0).normal(0.3, 0.1, N)
    ceiling = base + 0.4
    top = skills(board_of({"model": ceiling, "mean": base, "zero": base - 0.2, "perfect": ceiling}))
    assert top["pearson_delta"].value == pytest.approx(1)
    assert top["pearson_delta"].baseline == "mean"
    copy = skills(board_of({"model": base, "mean": base, "perfect": ceiling}))["pearson_delta"]
    assert (copy.value, copy.low, copy.high) == (0, 0, 0)


def test_errors_count_downwards() -> None:
    base = np.random.default_rng(0).uniform(1, 2, N)
    scores = {"model": base * 0.75, "mean": base, "worse": base * 2, "perfect": base * 0.5}
    found = skills(board_of(scores, "mse"))["mse"]
    assert found.value == pytest.approx(0.5)
    assert found.baseline == "mean"


def test_the_interval_of_a_mean_predictors_skill_holds_zero_at_the_nominal_rate() -> None:
    generator = np.random.default_rng(5)
    held = []
    for repeat in range(200):
        difficulty = generator.normal(0.3, 0.2, N)
        noise = np.repeat(generator.normal(0, 0.05, N // 2), 2) + generator.normal(0, 0.05, N)
        gain = noise[None]
        found = skill_of(
            gain, 0.9 - difficulty, np.arange(N) // 2, baseline="mean", ceiling="perfect",
            n_draws=300, seed=repeat,
        )  # fmt: skip
        held.append(found.low <= 0 <= found.high)
    assert 0.89 <= np.mean(held) <= 0.985


def test_the_strongest_of_many_equal_baselines_does_not_make_a_mean_predictor_skilful() -> None:
    generator = np.random.default_rng(6)
    above = []
    for repeat in range(100):
        scores = {name: 0.3 + generator.normal(0, 0.05, N) for name in ("model", "a", "b", "c", "d")}
        found = skills(board_of({**scores, "perfect": np.full(N, 0.8)}), n_draws=300, seed=repeat)
        above.append(found["pearson_delta"].low > 0)
    assert np.mean(above) <= 0.025


@pytest.mark.parametrize(
    ("ceiling", "word"), [(0.2, "above mean"), (0.3, "above mean"), (np.nan, "not known")]
)
def test_without_room_above_the_baseline_skill_is_undefined_and_says_why(ceiling: float, word: str) -> None:
    base = 0.3 + np.random.default_rng(1).normal(0, 0.05, N)
    scores = {"model": base + 0.1, "mean": base, "perfect": np.full(N, ceiling)}
    found = skills(board_of(scores))["pearson_delta"]
    assert np.isnan([found.value, found.low, found.high]).all()
    assert word in found.reason


def test_without_a_baseline_or_a_ceiling_skill_is_undefined() -> None:
    values = np.full(N, 0.5)
    alone = skills(board_of({"model": values, "perfect": values + 0.1}))["pearson_delta"]
    assert alone.baseline == "" and "baseline" in alone.reason
    open_end = skills(board_of({"model": values, "mean": values}))["pearson_delta"]
    assert open_end.baseline == "mean" and "not known" in open_end.reason


def test_a_constant_prediction_wins_nothing_by_being_undefined() -> None:
    generator = np.random.default_rng(2)
    base = generator.normal(0.3, 0.02, N)
    silent = np.where(base > 0.3, base + 0.1, np.nan)
    scores = {"model": silent, "mean": base, "perfect": np.full(N, 0.8)}
    assert skills(board_of(scores))["pearson_delta"].value < 0


def test_seeds_that_disagree_widen_the_interval() -> None:
    generator = np.random.default_rng(3)
    base = generator.normal(0.3, 0.05, N)
    agreed = np.stack([base + 0.1 + generator.normal(0, 0.01, N) for _ in range(5)])
    apart = agreed + np.array([-0.2, -0.1, 0.0, 0.1, 0.2])[:, None]
    widths = []
    for by_seed in (agreed, apart):
        scores = {"model": by_seed.mean(axis=0), "mean": base, "perfect": np.full(N, 0.8)}
        found = skills(board_of(scores, seed_scores=by_seed))["pearson_delta"]
        assert found.value == pytest.approx(0.2, abs=0.01)
        widths.append(found.high - found.low)
    assert widths[1] > 5 * widths[0]


def test_perturbations_of_several_cell_lines_are_a_stratum_of_their_own() -> None:
    values = np.random.default_rng(4).normal(0.3, 0.05, N)
    board = board_of({"model": values, "mean": values - 0.1, "perfect": values + 0.1})
    found = {stratum.name: stratum for stratum in strata(board, "pearson_delta", "mean", 100, 0)}
    assert found["measured in more cell lines"].n_conditions == N // 2
    assert found["measured in fewer cell lines"].n_conditions == N // 2

"""A sweep's objectives, ranks, front and table, without Ray running."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError
from pertcast_jobs.run_config import Objective, SearchConfig, load_sweep
from pertcast_jobs.tune import SweepOutcome, TrialOutcome
from pertcast_jobs.tune.outcome import front, ranked
from pertcast_jobs.tune.resources import concurrent_trials, trial_resources
from pertcast_jobs.tune.trial import trial_config

ADVANTAGE_THEN_COST = SearchConfig().objectives


def trial(
    name: str, status: str, advantage: float | None, cost: float = 1.0, **values: object
) -> TrialOutcome:
    metrics = {} if advantage is None else {"advantage": advantage, "cost": cost, "epoch": 3.0}
    return TrialOutcome(name, status, values, metrics)  # type: ignore[arg-type]


def test_the_best_is_the_best_by_advantage_and_ties_go_by_cost() -> None:
    trials = [
        trial("a", "failed", None),
        trial("b", "done", 0.1, cost=5.0),
        trial("c", "stopped", None),
        trial("d", "done", 0.3, cost=9.0),
        trial("e", "done", 0.3, cost=2.0),
    ]
    assert [found.trial for found in ranked(trials, ADVANTAGE_THEN_COST)] == ["e", "d", "b", "c", "a"]
    by_loss = [Objective(metric="cost", mode="min")]
    assert [found.trial for found in ranked(trials, by_loss)][:3] == ["e", "b", "d"]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
def test_the_front_is_what_no_other_trial_beats(results: list[tuple[int, int]]) -> None:
    trials = [trial(str(i), "done", advantage, cost) for i, (advantage, cost) in enumerate(results)]
    found = front(trials, ADVANTAGE_THEN_COST)
    for i, (advantage, cost) in enumerate(results):
        is_beaten = any(s >= advantage and c <= cost and (s, c) != (advantage, cost) for s, c in results)
        assert (str(i) in found) == (not is_beaten)
    assert ranked(trials, ADVANTAGE_THEN_COST)[0].trial in found


def test_a_trial_that_is_not_done_is_never_on_the_front() -> None:
    assert front([trial("a", "stopped", 9.0), trial("b", "done", 0.1)], ADVANTAGE_THEN_COST) == {"b"}


def test_the_table_shows_every_trial_both_objectives_and_every_value() -> None:
    trials = (
        TrialOutcome(
            "000",
            "done",
            {"lr": 0.00123456, "width": 128},
            {"advantage": 0.25, "cost": 2e9, "epoch": 3},
            True,
        ),
        trial("001", "failed", None, lr=0.1),
    )
    outcome = SweepOutcome(
        Path("s"),
        ADVANTAGE_THEN_COST,
        "pearson_delta",
        "Ridge",
        trials,
        "000",
        Path("s/bundle"),
        Path("s/sweep.html"),
    )
    header, first, second = outcome.table()
    assert header == ("trial", "status", "front", "advantage", "cost", "epochs", "lr", "width")
    assert first == ("000", "done", "*", "0.25", "2e+09", "3", "0.001235", "128")
    assert second == ("001", "failed", "", "-", "-", "0", "0.1", "-")
    assert outcome.to_json()["front"] == ["000"]


def test_a_trials_values_reach_its_configuration() -> None:
    base = {"model": {"name": "response_mlp"}}
    config = trial_config(base, {"model.config.width": 64, "train.seed": 7})
    assert (config.model.config["width"], config.train.seed) == (64, 7)
    with pytest.raises(ConfigError, match="widht"):
        trial_config(base, {"model.config.widht": 64})


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "search.objectives=[{metric: advantag, mode: max}]",
            "no trial reports 'advantag'; nearest known: advantage",
        ),
        ("search.objectives=[{metric: skill, mode: max}]", "write advantage"),
        ("search.objectives=[{metric: cost, mode: min}, {metric: cost, mode: max}]", "objective once"),
        ("search.objectives=[]", "search.objectives"),
        ("search.scored_by=pearson_dleta", "nearest known: pearson_delta"),
        ("search.metric=validation_loss", "unknown key search.metric"),
        ("space={model.config.dropout: {uniform: [0.0, 0.3], step: 0.5}}", "wider than"),
        ("space={train.epochs: {int: [1, 9], step: 0.5}}", "whole number"),
        ("space={train.epochs: {choice: [1, 9], step: 2}}", "step goes with uniform or int"),
        ("space={train.epochs: {int: [1, 9], when: {train.seed: [1]}}}", "no choice above it"),
        (
            "space={train.seed: {choice: [1, 2]}, train.epochs: {int: [1, 9], when: {train.seed: [3]}}}",
            "never 3; it may be 1, 2",
        ),
    ],
)
def test_what_a_sweep_cannot_do_is_refused_before_anything_starts(override: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_sweep("response_mlp_sweep", [override])


def test_as_many_trials_run_at_a_time_as_their_workers_find_cpus_and_gpus() -> None:
    words = ["cluster.launcher=ray", "cluster.num_workers=2"]
    sweep = load_sweep("response_mlp_sweep", [*words, "cluster.cpus_per_worker=0.9"])
    assert trial_resources(sweep, {"CPU": 2.0}) == {"CPU": 0.01}
    assert [concurrent_trials(sweep, {"CPU": cpus}) for cpus in (2.0, 4.0)] == [1, 2]
    too_large = load_sweep("response_mlp_sweep", [*words, "cluster.cpus_per_worker=1"])
    with pytest.raises(ConfigError, match=r"needs 2\.01 CPUs, Ray has 2\."):
        trial_resources(too_large, {"CPU": 2.0})
    on_gpus = load_sweep("response_mlp_sweep", [*words, "cluster.use_gpu=true"])
    assert concurrent_trials(on_gpus, {"CPU": 64.0, "GPU": 5.0}) == 2
    with pytest.raises(ConfigError, match="needs 2 GPUs, Ray has 0"):
        trial_resources(on_gpus, {"CPU": 64.0})
    alone = load_sweep("response_mlp_sweep", ["cluster.use_gpu=true", "search.max_concurrent=3"])
    assert trial_resources(alone, {"CPU": 8.0, "GPU": 8.0}) == {"CPU": 1.0, "GPU": 1.0}
    assert concurrent_trials(alone, {"CPU": 8.0, "GPU": 8.0}) == 3

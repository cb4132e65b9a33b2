"""What trials try: a function of the seed, the trial's number and the results so far."""

from __future__ import annotations

from typing import Any

import pytest
from pertcast_jobs.run_config import SearchConfig, SpaceEntry
from pertcast_jobs.tune.records import TrialRecord
from pertcast_jobs.tune.searcher import scheduler
from pertcast_jobs.tune.space import startup_trials, suggest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

SPACE = {
    "kind": SpaceEntry(choice=("mean", [1, 2], None)),
    "rate": SpaceEntry(loguniform=(1e-4, 1e-2)),
    "share": SpaceEntry(uniform=(0.0, 0.5)),
    "layers": SpaceEntry(int=(2, 4)),
}


def drawn(space: dict[str, SpaceEntry], n: int = 60, **search: Any) -> list[dict[str, Any]]:
    return [suggest(number, space, SearchConfig(**search)) for number in range(n)]


def done(number: int, values: dict[str, Any], advantage: float, cost: float) -> TrialRecord:
    return TrialRecord(number, values, "done", {"advantage": advantage, "cost": cost})


def test_values_lie_within_the_space_and_reach_its_ends() -> None:
    found = drawn(SPACE)
    assert {str(values["kind"]) for values in found} == {"mean", "[1, 2]", "None"}
    assert {values["layers"] for values in found} == {2, 3, 4}
    assert all(1e-4 <= values["rate"] <= 1e-2 and 0 <= values["share"] <= 0.5 for values in found)
    assert sum(values["rate"] < 1e-3 for values in found) > 15


def test_steps_draw_only_their_multiples() -> None:
    space = {
        "share": SpaceEntry(uniform=(0.0, 0.5), step=0.25),
        "width": SpaceEntry(int=(64, 256), step=64),
    }
    found = drawn(space)
    assert {values["share"] for values in found} == {0.0, 0.25, 0.5}
    assert {values["width"] for values in found} == {64, 128, 192, 256}


def test_a_key_with_a_condition_is_drawn_only_where_it_holds() -> None:
    space = {
        "kind": SpaceEntry(choice=("pca", "vae", "none")),
        "dim": SpaceEntry(choice=(8, 16), when={"kind": ("pca", "vae")}),
        "beta": SpaceEntry(uniform=(0.0, 1.0), when={"kind": ("vae",)}),
    }
    for values in drawn(space):
        assert ("dim" in values) == (values["kind"] != "none")
        assert ("beta" in values) == (values["kind"] == "vae")


def test_random_trials_depend_on_seed_and_number_alone() -> None:
    search = SearchConfig(seed=4)
    before = [done(0, suggest(0, SPACE, search), 1.0, 1.0)]
    assert suggest(3, SPACE, search) == suggest(3, SPACE, search, before)
    assert suggest(3, SPACE, search) != suggest(4, SPACE, search)
    assert suggest(3, SPACE, search) != suggest(3, SPACE, SearchConfig(seed=5))


@pytest.mark.parametrize("n_objectives", [1, 2])
def test_optuna_draws_the_same_from_the_same_results_in_any_order_and_learns(n_objectives: int) -> None:
    objectives = SearchConfig().objectives[:n_objectives]
    search = SearchConfig(algorithm="optuna", trials=12, objectives=objectives)
    known: list[TrialRecord] = []
    for number in range(24):
        values = suggest(number, SPACE, search, known)
        assert values == suggest(number, SPACE, search, list(reversed(known)))
        advantage = -abs(values["share"] - 0.4)
        known.append(done(number, values, advantage, cost=values["layers"]))
    late = [record.values["share"] for record in known[-10:]]
    assert sum(abs(share - 0.4) for share in late) / 10 < 0.1


def test_optuna_learns_nothing_from_trials_that_failed_or_were_stopped_and_knows_those_that_run() -> None:
    search = SearchConfig(algorithm="optuna", trials=6)
    known = [done(i, suggest(i, SPACE, search), 0.1 * i, 1.0) for i in range(4)]
    without = suggest(9, SPACE, search, known)
    failed = [TrialRecord(5, suggest(5, SPACE, search), "failed"), TrialRecord(6, known[0].values, "stopped")]
    assert suggest(9, SPACE, search, [*known, *failed]) == without
    running = [TrialRecord(7 + i, known[-1].values) for i in range(8)]
    assert suggest(9, SPACE, search, [*known, *running]) != without


def test_optuna_draws_a_third_at_random_first() -> None:
    assert [startup_trials(SearchConfig(trials=n)) for n in (1, 8, 24, 300)] == [2, 2, 8, 10]


def test_the_scheduler_is_the_one_asked_for() -> None:
    assert isinstance(scheduler(SearchConfig()), FIFOScheduler)
    asha = scheduler(SearchConfig(scheduler="asha"))
    assert isinstance(asha, ASHAScheduler)
    assert asha.metric == "validation_loss"

"""A sweep's space and its table, without Ray running."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.run_config import SearchConfig, SpaceEntry
from pertcast_jobs.tune import SweepOutcome, TrialOutcome
from pertcast_jobs.tune.outcome import ranked
from pertcast_jobs.tune.space import scheduler, search_space
from pertcast_jobs.tune.trial import trial_config
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler


def trial(name: str, status: str, objective: float | None, **values: object) -> TrialOutcome:
    return TrialOutcome(name, status, values, objective, epochs=3)  # type: ignore[arg-type]


def test_trials_that_are_done_come_before_stopped_and_failed_ones() -> None:
    trials = [
        trial("a", "failed", None),
        trial("b", "done", 0.5),
        trial("c", "stopped", 0.1),
        trial("d", "done", 0.3),
    ]
    assert [found.trial for found in ranked(trials, "min")] == ["d", "b", "c", "a"]
    assert [found.trial for found in ranked(trials, "max")] == ["b", "d", "c", "a"]


def test_the_table_shows_every_trial_and_every_value() -> None:
    trials = (
        trial("a", "done", 0.25, lr=0.00123456, width=128),
        trial("b", "failed", None, lr=0.1, width=64),
    )
    outcome = SweepOutcome(Path("sweep"), "validation_loss", "min", trials, "a", Path("sweep/bundle"))
    header, first, second = outcome.table()
    assert header == ("trial", "status", "validation_loss", "epochs", "lr", "width")
    assert first == ("a", "done", "0.25", "3", "0.001235", "128")
    assert second[2] == "-"


@pytest.mark.parametrize("key", ["choice", "uniform", "loguniform", "int"])
def test_values_are_drawn_within_the_space(key: str) -> None:
    given = {"choice": ("a", "b"), "uniform": (0.0, 0.5), "loguniform": (1e-4, 1e-2), "int": (2, 4)}[key]
    domain = search_space({"k": SpaceEntry.model_validate({key: given})})["k"]
    drawn = domain.sample(size=400, random_state=np.random.default_rng(0))
    if key == "choice":
        assert set(drawn) == {"a", "b"}
    elif key == "int":
        assert set(drawn) == {2, 3, 4}
    else:
        assert min(drawn) >= given[0]
        assert max(drawn) <= given[1]


def test_the_scheduler_is_the_one_asked_for() -> None:
    assert isinstance(scheduler(SearchConfig()), FIFOScheduler)
    assert isinstance(scheduler(SearchConfig(scheduler="asha")), ASHAScheduler)


def test_a_trials_values_reach_its_configuration() -> None:
    base = {"model": {"name": "response_mlp"}}
    config = trial_config(base, {"model.config.width": 64, "train.seed": 7})
    assert (config.model.config["width"], config.train.seed) == (64, 7)
    with pytest.raises(ConfigError, match="widht"):
        trial_config(base, {"model.config.widht": 64})

"""From a sweep's space to the values of its trials.

What a trial tries depends on the sweep's seed, the trial's number and the results known when it is drawn, and
on nothing that only a process remembers: a sweep that is continued draws what it would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from pertcast_jobs.run_config import SearchConfig, SpaceEntry
from pertcast_jobs.tune.records import TrialRecord

Space = Mapping[str, SpaceEntry]


def suggest(
    number: int, space: Space, search: SearchConfig, known: Sequence[TrialRecord] = ()
) -> dict[str, Any]:
    """Return what a trial tries, by dotted key.

    Parameters
    ----------
    number
        The trial's.
    space
        What is possible.
    search
        Algorithm, objectives, seed.
    known
        Records of other trials; "optuna" learns from those that are done and keeps away from those that run.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        directions=["maximize" if each.mode == "max" else "minimize" for each in search.objectives],
        sampler=_sampler(number, search),
    )
    for record in sorted(known, key=lambda record: record.number):
        trial = _as_optuna(record, space, search)
        if trial is not None:
            study.add_trial(trial)
    return _draw(study.ask(), space)


def _sampler(number: int, search: SearchConfig) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    if search.algorithm == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup_trials(search), constant_liar=True)


def startup_trials(search: SearchConfig) -> int:
    """Return how many trials "optuna" draws at random before it learns: a third, 10 at most."""
    return min(10, max(2, search.trials // 3))


def _draw(trial: optuna.trial.Trial, space: Space) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, entry in space.items():
        if all(values.get(other, _NOTHING) in allowed for other, allowed in entry.when.items()):
            values[key] = _value(trial, key, entry)
    return values


def _value(trial: optuna.trial.Trial, key: str, entry: SpaceEntry) -> Any:
    if entry.choice is not None:
        return entry.choice[trial.suggest_categorical(key, range(len(entry.choice)))]
    if entry.int is not None:
        return trial.suggest_int(key, *entry.int, step=int(entry.step or 1))
    if entry.loguniform is not None:
        return trial.suggest_float(key, *entry.loguniform, log=True)
    assert entry.uniform is not None
    return trial.suggest_float(key, *entry.uniform, step=entry.step)


_NOTHING = object()


def distribution(entry: SpaceEntry) -> BaseDistribution:
    """Return Optuna's form of an entry; a choice is its place in the list, as any value may be a choice."""
    if entry.choice is not None:
        return CategoricalDistribution(tuple(range(len(entry.choice))))
    if entry.int is not None:
        return IntDistribution(*entry.int, step=int(entry.step or 1))
    if entry.loguniform is not None:
        return FloatDistribution(*entry.loguniform, log=True)
    assert entry.uniform is not None
    return FloatDistribution(*entry.uniform, step=entry.step)


def _as_optuna(record: TrialRecord, space: Space, search: SearchConfig) -> optuna.trial.FrozenTrial | None:
    """Return a record as Optuna knows trials, or None where there is nothing to learn from it."""
    shown = {key: entry for key, entry in space.items() if key in record.values}
    given: dict[str, Any] = {
        "params": {key: _parameter(entry, record.values[key]) for key, entry in shown.items()},
        "distributions": {key: distribution(entry) for key, entry in shown.items()},
    }
    if record.status == "begun":
        return optuna.trial.create_trial(state=TrialState.RUNNING, **given)
    values = [record.metrics.get(each.metric, math.nan) for each in search.objectives]
    if record.status != "done" or not all(map(math.isfinite, values)):
        return None
    return optuna.trial.create_trial(values=values, **given)


def _parameter(entry: SpaceEntry, value: Any) -> Any:
    return value if entry.choice is None else entry.choice.index(value)

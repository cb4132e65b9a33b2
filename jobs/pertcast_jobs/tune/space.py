"""From a sweep's configuration to Ray Tune's search space, search algorithm and scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from pertcast_jobs.run_config import SearchConfig, SpaceEntry

_NO_LAST_EPOCH = 1_000_000
"""ASHA must not end a trial at its own last epoch: the trial still has its bundle to write."""


def search_space(space: Mapping[str, SpaceEntry]) -> dict[str, Any]:
    """Return Ray Tune's domain of each key."""
    return {key: _domain(entry) for key, entry in space.items()}


def _domain(entry: SpaceEntry) -> Any:
    if entry.choice is not None:
        return tune.choice(list(entry.choice))
    if entry.int is not None:
        low, high = entry.int
        return tune.randint(low, high + 1)
    if entry.loguniform is not None:
        return tune.loguniform(*entry.loguniform)
    assert entry.uniform is not None
    return tune.uniform(*entry.uniform)


def search_algorithm(search: SearchConfig, max_concurrent: int) -> SearchAlgorithm | Searcher:
    """Return what draws the trials, seeded, with at most `max_concurrent` of them running."""
    if search.algorithm == "optuna":
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        parzen = OptunaSearch(metric=search.metric, mode=search.mode, seed=search.seed)
        return ConcurrencyLimiter(parzen, max_concurrent=max_concurrent)
    return BasicVariantGenerator(random_state=search.seed, max_concurrent=max_concurrent)


def scheduler(search: SearchConfig) -> TrialScheduler:
    """Return what ends trials early, or lets them all finish."""
    if search.scheduler == "none":
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch",
        max_t=_NO_LAST_EPOCH,
        grace_period=search.grace_epochs,
        reduction_factor=search.reduction,
    )


def trial_folder_name(trial: Any) -> str:
    """Return the name of a trial's folder, Tune's and the run's: its id."""
    return str(trial.trial_id)

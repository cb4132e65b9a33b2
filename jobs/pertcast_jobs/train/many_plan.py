"""Which folds and seeds are meant, and what training them all would take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pertcast_data.errors import ConfigError
from pertcast_data.splits import Split

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.train.many_record import Member
from pertcast_jobs.train.plan import plan_training


def chosen_folds(text: str | None, config: RunConfig) -> list[int]:
    """Return the folds that "all" or a list such as "0,2" means; the configuration's fold for None.

    Raises
    ------
    ConfigError
        The text is no list of numbers, or the split does not have such a fold.
    """
    _, path = config.data.require()
    n_folds = len(Split.load(path).folds)
    if text is not None and text.strip() == "all":
        return list(range(n_folds))
    folds = [config.data.fold] if text is None else _numbers(text, "--folds", "all, or a list such as 0,2")
    unknown = [fold for fold in folds if fold >= n_folds]
    if unknown:
        raise ConfigError(
            f"--folds: {path} has the folds 0 to {n_folds - 1}, not {', '.join(map(str, unknown))}."
        )
    return folds


def chosen_seeds(text: str | None, config: RunConfig) -> list[int]:
    """Return the seeds that a count ("5": from train.seed on) or a list ("0,3,7") means.

    Raises
    ------
    ConfigError
        The text is neither, or the count is 0.
    """
    first = config.train.seed
    if text is None:
        return [first]
    numbers = _numbers(text, "--seeds", "how many (5), or a list (0,3,7)")
    if "," in text:
        return numbers
    if numbers[0] < 1:
        raise ConfigError("--seeds 0 trains nothing. Give how many (5), or a list (0,3,7).")
    return list(range(first, first + numbers[0]))


def _numbers(text: str, option: str, wanted: str) -> list[int]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise ConfigError(f"{option} {text!r} cannot be read. Give {wanted}.")
    return sorted({int(word) for word in words})


def plan_many(config: RunConfig, folds: Sequence[int], seeds: Sequence[int]) -> dict[str, Any]:
    """Return what training every fold with every seed would do, as plain JSON; nothing is written.

    Raises
    ------
    ConfigError, LeakageError, ControlsMissing
        As the trainings would, before their first step.
    """
    members = [Member.of(fold, seed) for fold in folds for seed in seeds]
    of_fold = {fold: plan_training(Member.of(fold, seeds[0]).config(config)) for fold in folds}
    cluster = config.cluster
    return {
        "members": [member.name for member in members],
        "folds": {str(fold): plan for fold, plan in of_fold.items()},
        "steps": sum(of_fold[member.fold]["steps"] for member in members),
        "launcher": cluster.launcher,
        "cpus_per_member": cluster.cpus_per_worker,
        "gpus_per_member": int(cluster.use_gpu),
        "memory_bytes_per_member": max(plan["memory_bytes_per_worker"] for plan in of_fold.values()),
    }

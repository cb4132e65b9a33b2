"""`pertcast train --ensemble K`: what it would do, what it did, in lines or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from pertcast_jobs.progress import progress_bar
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.train.ensemble import EnsembleOutcome, member_seeds, require_size, train_ensembles
from pertcast_jobs.train.many_plan import plan_many
from pertcast_jobs.train.plan import predicting_bytes

Lines = Callable[[dict[str, Any]], list[str]]


def train_ensemble(
    config: RunConfig,
    out: Path | None,
    folds: Sequence[int],
    size: int,
    many_lines: Lines,
    *,
    resume: bool,
    as_json: bool,
) -> None:
    """Train an ensemble on each fold, or print what that would take where `out` is None.

    Parameters
    ----------
    config, out, folds, size, resume
        As in `train_ensembles`.
    many_lines
        Returns the lines of a plan of many trainings.
    as_json
        Print JSON.

    Raises
    ------
    typer.Exit
        With 1: a member failed, and its ensemble is not written.
    """
    require_size(size)
    if out is None:
        plan = _plan(config, folds, size)
        print(json.dumps(plan, indent=1) if as_json else "\n".join(_plan_lines(plan, many_lines)))
        return
    with progress_bar(f"train {size} x {config.model.name}", "steps") as progress:
        outcome = train_ensembles(config, out, folds, size, resume=resume, progress=progress)
    print(json.dumps(outcome.to_json(), indent=1) if as_json else "\n".join(_lines(outcome)))
    if outcome.members.failed:
        raise typer.Exit(1)


def _plan(config: RunConfig, folds: Sequence[int], size: int) -> dict[str, Any]:
    plan = plan_many(config, folds, member_seeds(config, size))
    parameters = max(own["parameters"] for own in plan["folds"].values())
    return {**plan, "ensemble": size, "memory_bytes_predicting": predicting_bytes(size * parameters)}


def _plan_lines(plan: dict[str, Any], many_lines: Lines) -> list[str]:
    count, size = len(plan["folds"]), plan["ensemble"]
    what = f"{count} ensembles of {size} members each" if count > 1 else f"1 ensemble of {size} members"
    memory = f"about {plan['memory_bytes_predicting'] / 1e9:.2f} GB with all {size} members loaded"
    return [f"ensemble         {what}", *many_lines(plan), f"predicting       {memory}"]


def _lines(outcome: EnsembleOutcome) -> list[str]:
    members, lines = outcome.members, []
    for name, trained in members.trained.items():
        losses = ", ".join(f"{loss} {value:.6g}" for loss, value in sorted(trained.validation.items()))
        lines.append(f"{name:<16} trained  {losses}".rstrip())
    lines += [f"{name:<16} FAILED   {reason}" for name, reason in members.failed.items()]
    lines += [f"ensemble         {ensemble.bundle}" for ensemble in outcome.ensembles]
    if members.failed:
        lines.append(
            "An ensemble with a failed member is not written. Mend it, and run the same command with "
            "--resume: only what is missing is trained."
        )
    else:
        lines.append(f"next: pertcast evaluate {outcome.path}")
    return lines

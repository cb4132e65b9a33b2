"""`pertcast train --replay RUN`: the recorded training once more, and whether its weights are the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pertcast.training.bundle import load_bundle_files
from pertcast.training.files import write_json
from pertcast_data.progress import ProgressCallback, no_progress
from torch import Tensor

from pertcast_jobs.run_config import load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.outcome import TrainingOutcome
from pertcast_jobs.train.prepare import PreparedRun, prepare
from pertcast_jobs.train.replay_facts import (
    Difference,
    config_of_replay,
    explaining_differences,
    recorded_bundle,
    require_same_training,
    tolerance_between,
)
from pertcast_jobs.train.run import run_training

REPLAY_FILE = "replay.json"


@dataclass(frozen=True)
class Deviation:
    """How far the weights of two trainings are apart.

    Attributes
    ----------
    tensors
        How many there are.
    bit_equal
        Whether every tensor is the same, bit for bit.
    tensor
        The one that is relatively furthest off; None where all are equal.
    absolute, relative
        Its largest difference, and that as a share of its largest magnitude; infinite for a tensor of another
        shape or one that only one of the two has.
    """

    tensors: int
    bit_equal: bool
    tensor: str | None = None
    absolute: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True)
class Replay:
    """What a replay found.

    Attributes
    ----------
    recorded
        The run that was replayed.
    outcome
        The new training.
    differences
        Facts of code and environment that differ.
    tolerance
        Largest relative deviation that counts as equal; 0: bit for bit.
    weights
        How far the weights are apart.
    validation
        Held-out losses by name: recorded, and of the replay.
    """

    recorded: Path
    outcome: TrainingOutcome
    differences: tuple[Difference, ...]
    tolerance: float
    weights: Deviation
    validation: Mapping[str, tuple[float, float]]

    @property
    def is_equal(self) -> bool:
        """Whether weights and held-out losses agree within the tolerance."""
        if self.tolerance == 0.0:
            return self.weights.bit_equal and all(a == b for a, b in self.validation.values())
        losses = (abs(a - b) / max(abs(a), 1e-12) for a, b in self.validation.values())
        return max(self.weights.relative, *losses, 0.0) <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; an infinite deviation is null."""
        weights = {
            name: value if not isinstance(value, float) or math.isfinite(value) else None
            for name, value in asdict(self.weights).items()
        }
        return {
            "verdict": "equal" if self.is_equal else "different",
            "recorded": str(self.recorded),
            "replay": str(self.outcome.run),
            "tolerance": self.tolerance,
            "weights": weights,
            "validation": {
                name: {"recorded": before, "replay": now} for name, (before, now) in self.validation.items()
            },
            "differences": [asdict(each) for each in self.differences],
        }

    def verdict(self) -> str:
        """Return the verdict in a line."""
        of = f"{self.weights.tensors} tensors and {len(self.validation)} held-out losses"
        wanted = "bit for bit" if self.tolerance == 0.0 else f"within {self.tolerance:g}"
        if self.is_equal and self.weights.bit_equal:
            return f"EQUAL: {of} are those of {self.recorded}, bit for bit."
        furthest = (
            "the weights are equal, held-out losses are not"
            if self.weights.bit_equal
            else f"{self.weights.tensor} deviates by {self.weights.absolute:.3g} "
            f"({self.weights.relative:.3g} of its largest value)"
        )
        if self.is_equal:
            return f"EQUAL {wanted}: {of} of {self.recorded}; furthest off, {furthest}."
        return f"DIFFERENT from {self.recorded}, where {of} should agree {wanted}: {furthest}."


def replay_run(
    path: Path,
    out: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    progress: ProgressCallback = no_progress,
) -> Replay:
    """Train a recorded run again and compare; writes ``replay.json`` into the new run's folder.

    Parameters
    ----------
    path
        The recorded run.
    out
        Folder of the new run; None: beside the recorded one, with "-replay" behind its name.
    overrides
        ``a.b=c`` for what moved, such as ``data.store=STORE``.
    resume
        Continue the replay at `out`.
    progress
        Told of the steps done.

    Raises
    ------
    ConfigError
        The run is not done, or data, split or configuration are others than recorded.
    CorruptBundle
        The run's bundle was changed.
    """
    run = RunFolder.open(path)
    bundle = recorded_bundle(run)
    config = config_of_replay(run, load_config(run.config_path, overrides))
    outcome = run_training(
        config,
        run.path.with_name(f"{run.path.name}-replay") if out is None else out,
        resume=resume,
        progress=progress,
        accept=lambda prepared: require_same_training(run, prepared),
    )
    before, now = run.manifest(), RunFolder.open(outcome.run).manifest()
    losses = before.result["validation"]
    replay = Replay(
        recorded=run.path,
        outcome=outcome,
        differences=tuple(explaining_differences(before, now)),
        tolerance=tolerance_between(before, now),
        weights=deviation(bundle.weights, load_bundle_files(outcome.bundle).weights),
        validation={name: (losses[name], outcome.validation[name]) for name in losses},
    )
    write_json(outcome.run / REPLAY_FILE, replay.to_json())
    return replay


def check_replay(path: Path, overrides: Sequence[str] = ()) -> tuple[PreparedRun, list[Difference]]:
    """Return what `replay_run` would train, and what differs that may explain other numbers; trains nothing.

    Raises
    ------
    ConfigError, CorruptBundle
        As `replay_run` would, before its first step.
    """
    run = RunFolder.open(path)
    recorded_bundle(run)
    prepared = prepare(config_of_replay(run, load_config(run.config_path, overrides)))
    require_same_training(run, prepared)
    return prepared, explaining_differences(run.manifest(), prepared.manifest())


def deviation(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> Deviation:
    """Return how far two state dicts are apart."""
    furthest = Deviation(len(before.keys() | now.keys()), bit_equal=True)
    for name in sorted(before.keys() | now.keys()):
        absolute, relative = _distance(before.get(name), now.get(name))
        if relative > 0 and (furthest.bit_equal or relative > furthest.relative):
            furthest = Deviation(furthest.tensors, False, name, absolute, relative)
    return furthest


def _distance(before: Tensor | None, now: Tensor | None) -> tuple[float, float]:
    if before is None or now is None or before.shape != now.shape or before.dtype != now.dtype:
        return math.inf, math.inf
    if torch.equal(before, now):
        return 0.0, 0.0
    absolute = float((before.double() - now.double()).abs().max())
    largest = float(before.double().abs().max())
    is_number = math.isfinite(absolute) and largest > 0
    return absolute, absolute / largest if is_number else math.inf

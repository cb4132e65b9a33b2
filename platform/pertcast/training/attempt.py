"""One attempt at a training: the checkpoint it goes on from, and its events from the start to its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pertcast_data.errors import ConfigError, Preempted

from pertcast.training.checkpoint import TrainingState
from pertcast.training.distributed import rank, world_size
from pertcast.training.events import EVENTS_FILE, EventKind, read_events
from pertcast.training.run import TrainingRun
from pertcast.training.storage_faults import StorageUnavailable
from pertcast.training.window import NonFiniteLoss

log = logging.getLogger(__name__)

Resumed = tuple[Path, TrainingState] | None
"""A verified checkpoint and what it says; None for a training that begins anew."""


def resume_run(run: TrainingRun, run_dir: Path | None, resume: Literal["auto", "never"]) -> Resumed:
    """Take up the newest checkpoint that is good, on every rank the same; write the event of the start.

    Raises
    ------
    ConfigError
        There is one and `resume` is "never", or it is of another training.
    StorageUnavailable
        The storage could not be read for `train.storage_patience_s`.
    """
    folder = run.keeper.newest(lambda: _missed(run_dir, run.keeper.place))
    if folder is None:
        run.events.write("started", 0)
        return None
    if resume == "never":
        raise ConfigError(f"{folder.parent} holds checkpoints: resume, or train into another run folder.")
    state = run.restore(folder)
    if rank() == 0:
        log.info("resuming at step %d from %s", state.position.global_step, folder.name)
    workers = f"{state.ranks} ranks then, {world_size()} now"
    run.events.write("resumed", run.global_step, f"from {folder.name}; {workers}")
    return folder, state


def _missed(run_dir: Path | None, place: str) -> str:
    """Say which checkpoint of this run ought to be at `place`; "" where none was ever written."""
    if run_dir is None:
        return ""
    written = [event for event in read_events(run_dir / EVENTS_FILE) if event.kind == "checkpoint"]
    if not written:
        return ""
    return (
        f"{place} holds no checkpoint, though {written[-1].text} was written (so {EVENTS_FILE} says; delete "
        "that file to begin anew)"
    )


@contextmanager
def told(run: TrainingRun) -> Iterator[None]:
    """Write the event of how the attempt inside the block ended."""
    try:
        yield
    except BaseException as error:
        run.events.write(_kind_of(error), run.global_step, _in_words(error))
        raise
    run.events.write("finished", run.global_step)


def _kind_of(error: BaseException) -> EventKind:
    kinds: tuple[tuple[type[BaseException], EventKind], ...] = (
        (Preempted, "preempted"),
        (KeyboardInterrupt, "interrupted"),
        (NonFiniteLoss, "non_finite"),
        (StorageUnavailable, "storage_unavailable"),
    )
    return next((kind for type_, kind in kinds if isinstance(error, type_)), "failed")


def _in_words(error: BaseException) -> str:
    return str(error) or type(error).__name__

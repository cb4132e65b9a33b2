"""What happened to a run, one JSON line an event: `events.jsonl` in its folder, over all attempts.

Writing an event never ends a training: where the storage is away, it is written once that is back.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from pertcast.training.distributed import rank, world_size
from pertcast.training.patient_file import LineFile

EVENTS_FILE: Final = "events.jsonl"

EventKind = Literal[
    "started",
    "resumed",
    "checkpoint",
    "checkpoint_failed",
    "damaged_checkpoint_skipped",
    "storage_unavailable",
    "interrupted",
    "preempted",
    "non_finite",
    "failed",
    "finished",
    "workers_lost",
    "workers_started",
]
"""What can happen. The last two are written by a launcher that replaces workers, the others by `fit`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes
    ----------
    time
        Seconds since 1970 (UTC).
    kind
        What happened.
    global_step
        Optimiser steps taken so far over all stages.
    world_size
        Number of ranks that train.
    text
        The rest, in words.
    """

    time: float
    kind: EventKind
    global_step: int
    world_size: int
    text: str = ""


class EventLog:
    """Appends events to `events.jsonl` of a run folder; only rank 0 writes.

    Parameters
    ----------
    run_dir
        The run folder; None: events are not kept.
    """

    def __init__(self, run_dir: Path | None) -> None:
        self._file = None if run_dir is None else LineFile(run_dir / EVENTS_FILE)

    def write(self, kind: EventKind, global_step: int, text: str = "", *, ranks: int | None = None) -> None:
        """Write an event.

        Parameters
        ----------
        kind, global_step, text
            As in `Event`.
        ranks
            Number of ranks; those of this process group where None.
        """
        if self._file is None or rank() != 0:
            return
        event = Event(round(time.time(), 3), kind, global_step, ranks or world_size(), text)
        self._file.add_line(json.dumps(asdict(event)))


def read_events(path: Path) -> list[Event]:
    """Return the events of an `events.jsonl`, oldest first; none where there is no file.

    A line that a kill cut short is left out.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    events = []
    for line in text.splitlines():
        try:
            event = Event(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if event.kind in get_args(EventKind):
            events.append(event)
    return events

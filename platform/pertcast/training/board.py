"""TensorBoard curves without TensorBoard's writer, whose thread dies with the first write that fails."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pertcast.training.patient_file import PatientFile


class Board:
    """Writes scalars into an event file of its own below a folder; what cannot be written is kept for later.

    Parameters
    ----------
    folder
        TensorBoard's log folder; made when needed, unless the folder that it lies in is away.
    resumed_step
        Optimiser steps already taken: TensorBoard hides earlier files' curves after that. 0 for a new run.
    """

    def __init__(self, folder: Path, resumed_step: int = 0) -> None:
        # TensorBoard takes a second to import, which only a training needs.
        from torch.utils.tensorboard.writer import Event, SessionLog  # type: ignore[attr-defined]

        self._folder = folder
        now = time.time()
        name = (
            f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        )
        self._file = PatientFile(folder / name)
        events = [Event(wall_time=now, file_version="brain.Event:2")]
        if resumed_step:
            begun = SessionLog(status=SessionLog.START)
            events.append(Event(wall_time=now, step=resumed_step + 1, session_log=begun))
        self._add(events)

    def add_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Write the values of one step."""
        from torch.utils.tensorboard.summary import scalar
        from torch.utils.tensorboard.writer import Event  # type: ignore[attr-defined]

        now = time.time()
        values = {name: scalar(name, value) for name, value in scalars.items()}  # type: ignore[no-untyped-call]
        self._add([Event(wall_time=now, step=step, summary=value) for value in values.values()])

    def _add(self, events: list[Any]) -> None:
        from torch.utils.tensorboard import RecordWriter

        records = io.BytesIO()
        writer = RecordWriter(records)
        for event in events:
            writer.write(event.SerializeToString())
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
        self._file.add(records.getvalue())

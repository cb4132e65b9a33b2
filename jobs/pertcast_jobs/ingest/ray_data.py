"""The runner on Ray Data: numbers of pieces flow through actors, which read and write files of their own.

Only numbers travel through Ray. A piece whose actor died is done again by another, to the same bytes; on
several machines the folder beside the store must be one that all of them see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
import ray.data
from pertcast_data.errors import PertcastError
from pertcast_data.ingest.writing.worker import IngestWorker, Stage

from pertcast_jobs.ray_pieces import NO_FAILURE, failure, quiet_ray_data, raise_failure
from pertcast_jobs.ray_session import ray_session

_BLOCKS_A_WORKER = 64


class PieceWorker:
    """One actor: does the pieces it is given."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self._folder, self._stage = folder, stage

    @cached_property
    def _worker(self) -> IngestWorker:
        return IngestWorker(self._folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the piece of a row; "failure" and "message" are empty unless it failed."""
        try:
            self._worker.run(self._stage, int(row["piece"]))
        except PertcastError as error:
            return {**row, **failure(error)}
        return {**row, **NO_FAILURE}


def ray_data(folder: Path, stage: Stage, numbers: Sequence[int]) -> Iterator[int]:
    """Do the pieces on the Ray that is there, or on one started for the length of the stage."""
    if not numbers:
        return
    with ray_session(dashboard=False), quiet_ray_data():
        workers = max(1, min(len(numbers), int(ray.cluster_resources().get("CPU", 1))))
        pieces = ray.data.from_items(
            [{"piece": number} for number in numbers], override_num_blocks=len(numbers)
        )
        done = pieces.map(
            PieceWorker,
            fn_constructor_args=(folder.resolve(), stage),
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in done.iter_rows():
            raise_failure(row)
            yield int(row["piece"])

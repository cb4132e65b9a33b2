"""The runner on Ray Data: numbers of pieces flow through tasks, which read and write files of their own.

Only numbers travel through Ray. A piece whose process died is done again by another, to the same bytes; on
several machines the folder beside the store must be one that all of them see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
import ray.data
from pertcast_data.errors import PertcastError
from pertcast_data.ingest.writing.worker import IngestWorker, Stage
from pertcast_data.ingest.writing.workspace import Workspace

from pertcast_jobs.ray_pieces import NO_FAILURE, failure, quiet_ray_data, raise_failure
from pertcast_jobs.ray_session import ray_session

_BLOCKS_A_WORKER = 64


@lru_cache(maxsize=2)
def _worker(folder: Path, stage: Stage, fingerprint: str) -> IngestWorker:
    """Return the worker of this process: it reads the plan once for all pieces of a stage."""
    return IngestWorker(folder)


def do_piece(row: dict[str, Any], folder: Path, stage: Stage, fingerprint: str) -> dict[str, Any]:
    """Do the piece of a row; "failure" and "message" are empty unless it failed."""
    if Workspace(folder).is_stopped:
        return {**row, **NO_FAILURE}
    try:
        _worker(folder, stage, fingerprint).run(stage, int(row["piece"]))
    except PertcastError as error:
        return {**row, **failure(error)}
    return {**row, **NO_FAILURE}


def ray_data(folder: Path, stage: Stage, numbers: Sequence[int]) -> Iterator[int]:
    """Do the pieces on the Ray that is there, or on one started for the length of the stage.

    Tasks and not actors: the processes of the first stage serve the second, their imports done.
    """
    if not numbers:
        return
    with ray_session(dashboard=False), quiet_ray_data():
        workers = max(1, min(len(numbers), int(ray.cluster_resources().get("CPU", 1))))
        blocks = min(len(numbers), _BLOCKS_A_WORKER * workers)
        pieces = ray.data.from_items([{"piece": number} for number in numbers], override_num_blocks=blocks)
        done = pieces.map(
            do_piece,
            fn_args=(folder.resolve(), stage, Workspace(folder).plan.fingerprint),
            num_cpus=1,
            compute=ray.data.TaskPoolStrategy(size=workers),
        )
        failed = None
        for row in done.iter_rows():
            if failed is None and row["failure"]:
                # To the end all the same: what is still at work must not write into a folder that is removed.
                failed = row
                Workspace(folder).stop()
            if failed is None:
                yield int(row["piece"])
        if failed is not None:
            raise_failure(failed)

"""What one rank of a Ray run does, in its own process on any machine of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from pertcast.encoding import ConditionEncoder
from pertcast.training.fit import fit
from pertcast.training.reports import TrainReport, told_to
from pertcast_data.errors import Preempted

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.gauges import gauged
from pertcast_jobs.train.in_process import cpu_weights
from pertcast_jobs.train.outcome import Trained
from pertcast_jobs.train.prepare import build_seeded_model, open_training_data, take_up_priors
from pertcast_jobs.train.ray_stops import hears_of_stops
from pertcast_jobs.train.ray_storage import fenced_store, require_shared
from pertcast_jobs.train.tracking import tracked
from pertcast_jobs.train.worker_notes import NoteWriter, epoch_offsets, validation_metrics


@dataclass(frozen=True)
class WorkerTask:
    """What every rank is given.

    Attributes
    ----------
    config
        The run's configuration, with absolute paths.
    run_path
        The run's folder.
    encoder
        Reference to the fitted encoder's state.
    tells_validation
        Whether each validation is reported to Ray, as Tune wants it.
    folders, mark
        Folders that every machine must see, and the mark that the driver left in them.
    stop_key
        What the driver's request to stop is kept under.
    """

    config: RunConfig
    run_path: Path
    encoder: ray.ObjectRef
    tells_validation: bool
    folders: tuple[Path, ...]
    mark: str
    stop_key: str


def train_worker(given: Mapping[str, Any]) -> Trained | None:
    """Train as one rank; rank 0 returns the trained model.

    Where the driver asked to stop, all ranks return None once the checkpoint is written.

    Parameters
    ----------
    given
        "task": the `WorkerTask`.

    Raises
    ------
    Preempted
        This process or its node is about to be ended; the checkpoint is written.
    """
    task: WorkerTask = given["task"]
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    config, run = task.config, RunFolder(task.run_path)
    torch.set_num_threads(config.cluster.threads_per_worker)
    require_shared(task.folders, task.mark)
    store = fenced_store(config, run)
    notes = NoteWriter(run.workers_path, rank)

    encoder = ConditionEncoder.from_state(*ray.get(task.encoder))
    model = build_seeded_model(config, encoder)
    take_up_priors(model, config, encoder)
    offsets = epoch_offsets(model.stages(), config.train.epochs)

    def report(news: TrainReport) -> None:
        notes(news)
        if task.tells_validation and news.kind == "validation":
            ray.train.report(validation_metrics(news, offsets))

    with hears_of_stops(task.stop_key) as stops:
        try:
            with tracked(config, run, rank) as track:
                result = fit(
                    model,
                    open_training_data(config, encoder, rank, world_size),
                    config.train,
                    run.path,
                    device=ray.train.torch.get_device() if config.cluster.use_gpu else "cpu",
                    report=told_to(report, track, gauged(run.path, rank)),
                    store=store,
                    interrupts=stops,
                )
        except Preempted:
            raise
        except KeyboardInterrupt:
            return None
    return Trained(weights=cpu_weights(model), result=result) if rank == 0 else None

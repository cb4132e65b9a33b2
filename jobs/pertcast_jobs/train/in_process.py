"""The launcher without a cluster: this process trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pertcast.training.fit import fit
from pertcast.training.reports import TrainReport, told_to
from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback

from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.checkpoint_place import open_checkpoint_store
from pertcast_jobs.train.gauges import gauged
from pertcast_jobs.train.outcome import Trained
from pertcast_jobs.train.prepare import (
    PreparedRun,
    build_seeded_model,
    open_training_data,
    take_up_priors,
)
from pertcast_jobs.train.tracking import tracked
from pertcast_jobs.train.worker_notes import (
    NoteWriter,
    epoch_offsets,
    progress_note,
    validation_metrics,
)

MetricsCallback = Callable[[Mapping[str, Any]], None]


def choose_device(use_gpu: bool) -> torch.device:
    """Return the device to train on; raises ConfigError for a GPU that is not there."""
    if not use_gpu:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("cluster.use_gpu=true, but torch finds no GPU here. Set cluster.use_gpu=false.")
    return torch.device("cuda")


def train_in_process(
    prepared: PreparedRun,
    run: RunFolder,
    progress: ProgressCallback,
    listen: MetricsCallback | None = None,
) -> Trained:
    """Train in this process, resuming from the run's newest checkpoint.

    Parameters
    ----------
    prepared, run
        What to train and where to.
    progress
        Told of the steps done.
    listen
        Given the metrics of each validation.
    """
    config = prepared.config
    model = build_seeded_model(config, prepared.encoder)
    take_up_priors(model, config, prepared.encoder)
    offsets = epoch_offsets(model.stages(), config.train.epochs)
    notes = NoteWriter(run.workers_path, 0)

    def report(news: TrainReport) -> None:
        notes(news)
        progress(news.step, news.total_steps, progress_note(news))
        if listen is not None and news.kind == "validation":
            listen(validation_metrics(news, offsets))

    with tracked(config, run) as track:
        result = fit(
            model,
            open_training_data(config, prepared.encoder),
            config.train,
            run.path,
            device=choose_device(config.cluster.use_gpu),
            report=told_to(report, track, gauged(run.path)),
            store=open_checkpoint_store(config, run),
        )
    return Trained(weights=cpu_weights(model), result=result)


def cpu_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a model's state dict on the CPU, detached."""
    return {name: value.detach().cpu() for name, value in model.state_dict().items()}

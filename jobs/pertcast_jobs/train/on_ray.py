"""The launcher on Ray Train: one to many workers, on one or many machines; a killed worker is replaced.

Each worker opens the store itself. Checkpoints go through ray.train.report, and a restarted group
continues at the last registered one; all numbers are those of an undisturbed run.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from pertcast.encoding import ConditionEncoder
from pertcast.training.checkpoint import WriteShare
from pertcast.training.fit import fit
from pertcast.training.reports import Position, TrainReport
from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback
from ray.train.torch import TorchConfig, TorchTrainer

from pertcast_jobs.run_config import ClusterConfig, RunConfig
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.in_process import cpu_weights
from pertcast_jobs.train.outcome import Trained
from pertcast_jobs.train.prepare import PreparedRun, build_seeded_model, open_training_data
from pertcast_jobs.train.worker_notes import NoteWriter, epoch_offsets, followed, validation_metrics

log = logging.getLogger(__name__)


class RayCheckpoints:
    """Checkpoints kept by Ray Train, in the storage of the run."""

    def save(self, position: Position, metrics: Mapping[str, float], write: WriteShare) -> None:
        """Hand this rank's share to Ray, which joins all ranks' in one folder and registers it."""
        with tempfile.TemporaryDirectory(prefix="pertcast-checkpoint-") as folder:
            write(Path(folder))
            ray.train.report(
                {**metrics, "global_step": position.global_step},
                checkpoint=ray.train.Checkpoint.from_directory(folder),
            )

    def latest(self) -> Path | None:
        """Return the last registered checkpoint as a local folder, fetched from remote storage if need be."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        local = Path(checkpoint.path)
        return local if local.is_dir() else Path(checkpoint.to_directory())


def train_worker(payload: Mapping[str, Any]) -> Trained | None:
    """Train as one rank of a Ray run; rank 0 returns the trained model.

    Parameters
    ----------
    payload
        "config" (plain), "run" (path), "encoder" (reference to its state), "tells_validation" (whether each
        validation is reported to Ray, as Tune wants it).
    """
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    config = RunConfig.model_validate(payload["config"])
    run = RunFolder(Path(payload["run"]))
    torch.set_num_threads(config.cluster.threads_per_worker)
    notes = NoteWriter(run.workers_path, rank)

    encoder = ConditionEncoder.from_state(*ray.get(payload["encoder"]))
    model = build_seeded_model(config, encoder)
    offsets = epoch_offsets(model.stages(), config.train.epochs)

    def report(news: TrainReport) -> None:
        notes(news)
        if payload["tells_validation"] and news.kind == "validation":
            ray.train.report(validation_metrics(news, offsets))

    result = fit(
        model,
        open_training_data(config, encoder, rank, world_size),
        config.train,
        run.path,
        device=ray.train.torch.get_device() if config.cluster.use_gpu else "cpu",
        report=report,
        store=RayCheckpoints(),
    )
    return Trained(weights=cpu_weights(model), result=result) if rank == 0 else None


def worker_environment(cluster: ClusterConfig) -> dict[str, str]:
    """Return the environment variables of a worker."""
    variables = {"OMP_NUM_THREADS": str(cluster.threads_per_worker), "RAY_USAGE_STATS_ENABLED": "0"}
    if not cluster.use_gpu:
        variables["DS_ACCELERATOR"] = "cpu"
    return variables


def require_resources(cluster: ClusterConfig) -> None:
    """Raise ConfigError where Ray does not have what the workers need: it would wait for ever."""
    available = ray.cluster_resources()
    needed = {"CPU": cluster.cpus_per_worker * cluster.num_workers}
    if cluster.use_gpu:
        needed["GPU"] = float(cluster.num_workers)
    for name, amount in needed.items():
        if available.get(name, 0.0) < amount:
            raise ConfigError(
                f"The run needs {amount:g} {name}s for {cluster.num_workers} workers, Ray has "
                f"{available.get(name, 0.0):g}. Lower cluster.num_workers or "
                "cluster.cpus_per_worker, or add nodes."
            )


def train_on_ray(
    prepared: PreparedRun,
    run: RunFolder,
    progress: ProgressCallback,
    *,
    callbacks: tuple[Any, ...] = (),
    tells_validation: bool = False,
) -> Trained:
    """Train with Ray Train on the cluster this process is connected to.

    Parameters
    ----------
    prepared, run
        What to train and where to; the run's folder must be seen by every node.
    progress
        Told of rank 0's steps.
    callbacks
        Ray Train callbacks, such as Tune's.
    tells_validation
        Report every validation to Ray beside the checkpoints.

    Raises
    ------
    ConfigError
        The cluster does not have the resources.
    ray.train.TrainingFailedError
        More workers died than `cluster.max_failures`.
    """
    cluster = prepared.config.cluster
    require_resources(cluster)
    storage = cluster.storage_path or run.path
    name = run.checkpoints_path.name if cluster.storage_path is None else run.path.name
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "config": prepared.config.model_dump(mode="json"),
            "run": str(run.path),
            "encoder": ray.put(prepared.encoder.state()),
            "tells_validation": tells_validation,
        },
        torch_config=TorchConfig(backend="nccl" if cluster.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=cluster.num_workers,
            use_gpu=cluster.use_gpu,
            resources_per_worker={"CPU": cluster.cpus_per_worker, **({"GPU": 1} if cluster.use_gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=cluster.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=prepared.config.train.keep_checkpoints),
            worker_runtime_env={"env_vars": worker_environment(cluster)},
            callbacks=list(callbacks),
        ),
    )
    with followed(run.workers_path, progress):
        trained = trainer.fit().return_value
    assert isinstance(trained, Trained)
    return trained

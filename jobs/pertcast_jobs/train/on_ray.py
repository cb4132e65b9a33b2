"""The launcher on Ray Train: one to many workers, on one or many machines; a killed worker is replaced.

Each worker opens the store itself. Checkpoints go through ray.train.report, and a restarted group
continues at the last registered one; all numbers are those of an undisturbed run.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import ray
import ray.train
import ray.train.torch
import torch
from pertcast.encoding import ConditionEncoder
from pertcast.training.checkpoint import WriteShare
from pertcast.training.fit import fit
from pertcast.training.reports import Position, TrainReport
from pertcast_data.errors import ConfigError, PertcastError
from pertcast_data.progress import ProgressCallback
from ray.train.torch import TorchConfig, TorchTrainer

from pertcast_jobs.run_config import ClusterConfig, RunConfig
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.in_process import cpu_weights
from pertcast_jobs.train.outcome import Trained
from pertcast_jobs.train.prepare import (
    PreparedRun,
    build_seeded_model,
    open_training_data,
    take_up_priors,
)
from pertcast_jobs.train.worker_notes import NoteWriter, epoch_offsets, followed, validation_metrics

log = logging.getLogger(__name__)


Result = TypeVar("Result")


class TrainingFailed(PertcastError):
    """Workers failed more often than the run allows."""


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
    take_up_priors(model, config, encoder)
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


def checkpoint_storage(cluster: ClusterConfig, run: RunFolder) -> tuple[str, str]:
    """Return where Ray keeps checkpoints: a folder or address, and the name of the run's part of it.

    Ray resumes what it finds under the name: it must be this run's alone, and the same at each attempt.
    """
    if cluster.storage_path is None:
        return str(run.path), run.checkpoints_path.name
    identity = f"{run.path}|{run.manifest().created}".encode()
    return str(cluster.storage_path), f"{run.path.name}-{blake2b(identity, digest_size=6).hexdigest()}"


def interruptible(call: Callable[[], Result]) -> Result:
    """Return what `call` returns; on the main thread, Ctrl-C raises KeyboardInterrupt at once.

    Ray Train takes over the signal for good when it runs on the main thread, so there it gets its own.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    outcome: Future[Result] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 (handed to the waiting thread, whatever it is)
            outcome.set_exception(error)

    threading.Thread(target=work, name="ray-train", daemon=True).start()
    return outcome.result()


def _training_failed(error: ray.train.TrainingFailedError, run: RunFolder) -> TrainingFailed:
    """Return the first worker's error with the remedy."""
    failures = getattr(error, "worker_failures", {})
    reasons = [f"worker {rank}: {_last_line(failure)}" for rank, failure in sorted(failures.items())]
    return TrainingFailed(
        f"The workers of {run.path} failed too often: {'; '.join(reasons) or _last_line(error)}. Mend it and "
        f"continue with `pertcast train {run.config_path} --out {run.path} --resume`."
    )


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


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
    TrainingFailed
        Workers failed more often than `cluster.max_failures`.
    """
    cluster = prepared.config.cluster
    require_resources(cluster)
    storage, name = checkpoint_storage(cluster, run)
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
            storage_path=storage,
            failure_config=ray.train.FailureConfig(max_failures=cluster.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=prepared.config.train.keep_checkpoints),
            worker_runtime_env={"env_vars": worker_environment(cluster)},
            callbacks=list(callbacks),
        ),
    )
    with followed(run.workers_path, progress):
        try:
            result = interruptible(trainer.fit)
        except ray.train.TrainingFailedError as error:
            raise _training_failed(error, run) from error
    trained = result.return_value
    assert isinstance(trained, Trained)
    return trained

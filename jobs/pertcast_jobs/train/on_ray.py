"""The launcher on Ray Train: one to many workers, on one or many machines; what dies is replaced.

Ray starts, watches and restarts the workers. Each opens the store itself and takes up the newest checkpoint
of the run, as every launcher does; all numbers are those of an undisturbed run.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import Any, TypeVar

import ray
import ray.train
from pertcast_data.errors import ConfigError, Preempted
from pertcast_data.progress import ProgressCallback

from pertcast_jobs.run_config import ClusterConfig
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.outcome import Trained
from pertcast_jobs.train.prepare import PreparedRun
from pertcast_jobs.train.ray_elastic import SizedTrainer, ray_train_settings
from pertcast_jobs.train.ray_failures import JudgesFailures, training_error
from pertcast_jobs.train.ray_stops import StoppableTorch, ask_from_driver, forget_stop
from pertcast_jobs.train.ray_storage import forget_mark, mark_folders, shared_folders
from pertcast_jobs.train.ray_worker import WorkerTask, train_worker
from pertcast_jobs.train.worker_notes import followed

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_LOOK_EVERY_S = 0.5


def worker_environment(cluster: ClusterConfig) -> dict[str, str]:
    """Return the environment variables of a worker."""
    variables = {"OMP_NUM_THREADS": str(cluster.threads_per_worker), "RAY_USAGE_STATS_ENABLED": "0"}
    if not cluster.use_gpu:
        variables["DS_ACCELERATOR"] = "cpu"
    return variables


def require_resources(cluster: ClusterConfig) -> None:
    """Raise ConfigError where Ray does not have what the workers need: it would wait for ever."""
    available = ray.cluster_resources()
    workers = cluster.fewest_workers
    needed = {"CPU": cluster.cpus_per_worker * workers}
    if cluster.use_gpu:
        needed["GPU"] = float(workers)
    key = "num_workers" if cluster.min_workers is None else "min_workers"
    for name, amount in needed.items():
        if available.get(name, 0.0) < amount:
            raise ConfigError(
                f"The run needs {amount:g} {name}s for {workers} workers, Ray has "
                f"{available.get(name, 0.0):g}. Lower cluster.{key} or cluster.cpus_per_worker, or add nodes."
            )


def interruptible(call: Callable[[], Result], ask_to_stop: Callable[[], None], grace_s: float) -> Result:
    """Return what `call` returns; an interruption of the main thread asks it to stop, and is then raised.

    Ray Train takes over Ctrl-C for good when it runs on the main thread, so there it gets its own thread.

    Parameters
    ----------
    call
        What takes long.
    ask_to_stop
        Makes `call` return early.
    grace_s
        Seconds that it may take for that; a Ctrl-C ends the wait at once.

    Raises
    ------
    KeyboardInterrupt
        The interruption: a Ctrl-C, or what the command line makes of SIGTERM.
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
    try:
        # A wait without end may sleep through a signal that another thread was given.
        while not outcome.done():
            futures.wait([outcome], timeout=_LOOK_EVERY_S)
        return outcome.result()
    except KeyboardInterrupt:
        log.warning("asking the workers for a last checkpoint; interrupt again to end at once")
        ask_to_stop()
        _await_end(outcome, grace_s)
        raise


def _await_end(outcome: Future[Result], grace_s: float) -> None:
    deadline = time.monotonic() + grace_s
    while True:
        try:
            while not outcome.done() and (left := deadline - time.monotonic()) > 0:
                futures.wait([outcome], timeout=min(left, _LOOK_EVERY_S))
        except Preempted:
            continue  # Batch systems send SIGTERM to a script and to its children: twice to this process.
        if not outcome.done():
            log.warning("the workers did not end within %g s (cluster.stop_grace_s)", grace_s)
        return


def _trainer(task: WorkerTask, bookkeeping: str, callbacks: tuple[Any, ...]) -> SizedTrainer:
    cluster = task.config.cluster
    return SizedTrainer(
        task.config,
        train_worker,
        train_loop_config={"task": task},
        torch_config=StoppableTorch(
            backend="nccl" if cluster.use_gpu else "gloo", timeout_s=cluster.collective_timeout_s
        ),
        run_config=ray.train.RunConfig(
            name=task.run_path.name,
            storage_path=bookkeeping,
            failure_config=ray.train.FailureConfig(max_failures=cluster.max_failures),
            worker_runtime_env={"env_vars": worker_environment(cluster)},
            callbacks=[JudgesFailures(task.run_path), *callbacks],
        ),
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
        What to train and where to.
    progress
        Told of rank 0's steps.
    callbacks
        Ray Train callbacks, such as Tune's.
    tells_validation
        Report every validation to Ray.

    Raises
    ------
    ConfigError
        The cluster does not have the resources, or its machines do not see the folder of checkpoints.
    TrainingFailed
        Workers failed more often than `cluster.max_failures`.
    PertcastError
        What a worker raised on purpose: it would only happen again.
    KeyboardInterrupt
        Interrupted; the workers were asked for a last checkpoint.
    """
    config, cluster = prepared.config, prepared.config.cluster
    require_resources(cluster)
    folders, stop_key = shared_folders(config, run), f"pertcast-stop-{secrets.token_hex(8)}"
    task = WorkerTask(
        config=config,
        run_path=run.path,
        encoder=ray.put(prepared.encoder.state()),
        tells_validation=tells_validation,
        folders=folders,
        mark=mark_folders(folders),
        stop_key=stop_key,
    )
    with (
        tempfile.TemporaryDirectory(prefix="pertcast-ray-train-", ignore_cleanup_errors=True) as bookkeeping,
        ray_train_settings(cluster),
        followed(run.workers_path, progress),
    ):
        trainer = _trainer(task, bookkeeping, callbacks)
        try:
            result = interruptible(trainer.fit, lambda: ask_from_driver(stop_key), cluster.stop_grace_s)
        except ray.train.TrainingFailedError as error:
            raise training_error(error, run) from error
        finally:
            forget_stop(stop_key)
            forget_mark(folders, task.mark)
    trained = result.return_value
    assert isinstance(trained, Trained)
    return trained

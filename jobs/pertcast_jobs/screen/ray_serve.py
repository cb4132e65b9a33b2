"""The executor on Ray Serve: replicas of an autoscaled deployment hold the bundle and are asked for shards.

Replicas follow the load: one at the beginning, more while many shards wait, one again while the tables
are written. The application is the screen's own, so that it lives beside others on the same Ray.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from hashlib import sha256
from typing import Any, Final

import ray
from pertcast.predictor import Predictor
from pertcast_data.errors import PertcastError
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, ProxyLocation
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from pertcast_jobs.progress import told_regularly
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.screen.executors import Resources
from pertcast_jobs.screen.ray_workers import Worker, WorkersDied, worker_limits, worker_options
from pertcast_jobs.screen.served_shards import ReplicaCount, ServedShards
from pertcast_jobs.screen.shards import ShardTask

REPLICAS: Final = "ShardReplica"
"""Name of the deployment within the application."""

SHARDS_A_REPLICA: Final = 2
"""One is computed while the next one waits at the replica, so that none waits for the other process."""

LOAD_INTERVAL_S: Final = 0.5
"""How often load is measured; scaling looks at the last three measurements."""

UPSCALE_DELAY_S: Final = 1.0
DOWNSCALE_DELAY_S: Final = 3.0

LONGEST_SHARD_S: Final = 600.0
"""How long a replica that is no longer needed may take for the shard it computes."""

_CONTROLLER, _NAMESPACE = "SERVE_CONTROLLER_ACTOR", "serve"


@serve.deployment(name=REPLICAS)
class ShardReplica:
    """One replica: counts as ready when the bundle is loaded and one prediction ran.

    Parameters
    ----------
    task
        What to compute.
    """

    def __init__(self, task: ShardTask) -> None:
        self._worker = Worker(task)
        # A thread of its own for shards, one at a time: the replica's loop stays free for health checks.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shard")
        try:
            self._worker.prepare()
        except PertcastError:
            # Serve would try again and again; the first shard meets the same error and tells it as it is.
            logging.getLogger(__name__).warning("the replica is not prepared", exc_info=True)

    async def compute(self, shard: int) -> dict[str, Any]:
        """Compute a shard and return its row; shards that came before are computed first."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._worker.compute, shard)


def application_name(task: ShardTask) -> str:
    """Return the name of the screen's application, which is the same when the screen is run again."""
    return f"pertcast-screen-{sha256(task.out.encode()).hexdigest()[:12]}"


@contextmanager
def ray_serve(task: ShardTask, predictor: Predictor, resources: Resources) -> Iterator[ServedShards]:
    """Compute shards on the Ray that is there, or on one started for the length of the block.

    The same holds for Serve: an application that is there already stays as it is.

    Raises
    ------
    WorkersDied
        The replicas do not come up.
    """
    with ray_session(dashboard=False) as session, _serve_there():
        least, most = worker_limits(resources, session)
        name = application_name(task)
        with _application(_bind(task, least, most, resources), name) as handle:
            replicas = ReplicaCount(name, REPLICAS)
            replicas.look()
            with (
                told_regularly(replicas.look, LOAD_INTERVAL_S),
                ServedShards(handle, SHARDS_A_REPLICA * (most + 1), replicas) as compute,
            ):
                yield compute


def _bind(task: ShardTask, least: int, most: int, resources: Resources) -> Application:
    deployment = ShardReplica.options(  # type: ignore[attr-defined]
        autoscaling_config=AutoscalingConfig(
            min_replicas=least,
            initial_replicas=least,
            max_replicas=most,
            target_ongoing_requests=SHARDS_A_REPLICA,
            metrics_interval_s=LOAD_INTERVAL_S,
            look_back_period_s=3 * LOAD_INTERVAL_S,
            upscale_delay_s=UPSCALE_DELAY_S,
            downscale_delay_s=DOWNSCALE_DELAY_S,
        ),
        max_ongoing_requests=SHARDS_A_REPLICA,
        graceful_shutdown_timeout_s=LONGEST_SHARD_S,
        graceful_shutdown_wait_loop_s=0.1,
        ray_actor_options=worker_options(resources),
    )
    return deployment.bind(task)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Serve's notes of what it starts and ends off the terminal."""
    logger = logging.getLogger("ray.serve")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _is_serving() -> bool:
    """Whether there is a Serve on this Ray, with or without an application."""
    try:
        ray.get_actor(_CONTROLLER, namespace=_NAMESPACE)
    except ValueError:
        return False
    return True


@contextmanager
def _serve_there() -> Iterator[None]:
    """Use the Serve that is there, or run one without a proxy: shards are asked for by this process."""
    with _quiet():
        if _is_serving():
            yield
            return
        serve.start(proxy_location=ProxyLocation.Disabled)
        try:
            yield
        finally:
            # Others may have come to this Serve meanwhile.
            if not serve.status().applications:
                with redirect_stdout(io.StringIO()):
                    serve.shutdown()


@contextmanager
def _application(application: Application, name: str) -> Iterator[DeploymentHandle[Any]]:
    """Deploy for the length of the block; what a killed process left under the name goes first."""
    if name in serve.status().applications:
        serve.delete(name)
    try:
        try:
            handle = serve.run(application, name=name, route_prefix=None)
        except (RuntimeError, RayServeException) as error:
            raise WorkersDied(f"The replicas of the screen did not come up: {error}") from error
        yield handle
    finally:
        serve.delete(name)

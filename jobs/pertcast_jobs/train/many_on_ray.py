"""Many trainings as Ray tasks: as many at a time as the cluster has CPUs (or GPUs) for.

A task whose process dies is started again by Ray and continues at its newest checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import ray
from ray.exceptions import RayError, RayTaskError

from pertcast_jobs.run_config import ClusterConfig
from pertcast_jobs.train.many_member import Ended, Job, train_member
from pertcast_jobs.train.on_ray import require_resources, worker_environment
from pertcast_jobs.train.outcome import TrainingOutcome

log = logging.getLogger(__name__)

_ASK_EVERY_S = 1.0
_FAREWELL_S = 20.0
"""How long members may take to write their checkpoints after an interruption."""


def train_beside_each_other(jobs: Sequence[Job]) -> Iterator[Ended]:
    """Train members on the cluster that this process is connected to, and yield each as it ends.

    Parameters
    ----------
    jobs
        Members of one cluster configuration; their folders must be seen by every node.

    Raises
    ------
    ConfigError
        The cluster does not have what one member needs: it would wait for ever.
    KeyboardInterrupt
        Passed on after the members were asked to write their checkpoints and end.
    """
    cluster = jobs[0][1].cluster
    require_resources(cluster)
    task = _task(cluster)
    waiting = {task.remote(job): job for job in jobs}
    try:
        while waiting:
            ended, _ = ray.wait(list(waiting), timeout=_ASK_EVERY_S)
            for reference in ended:
                yield waiting.pop(reference)[0], _result(reference)
    finally:
        _cancel(list(waiting))


def _task(cluster: ClusterConfig) -> ray.remote_function.RemoteFunction:
    return ray.remote(train_member).options(
        num_cpus=cluster.cpus_per_worker,
        num_gpus=1 if cluster.use_gpu else 0,
        max_retries=cluster.max_failures,
        runtime_env={"env_vars": worker_environment(cluster)},
    )


def _result(reference: ray.ObjectRef) -> TrainingOutcome | BaseException:
    found: TrainingOutcome | BaseException
    try:
        found = ray.get(reference)
    except RayTaskError as error:
        found = error.cause or error
    except RayError as error:
        found = error
    return found


def _cancel(references: list[ray.ObjectRef]) -> None:
    """Interrupt what still trains, and give it time to write its checkpoint."""
    for reference in references:
        ray.cancel(reference)
    if references:
        ray.wait(references, num_returns=len(references), timeout=_FAREWELL_S)

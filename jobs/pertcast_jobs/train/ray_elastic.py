"""Ray Train with a number of workers that follows the cluster, in sizes that the batch divides into."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import ray
import ray.train
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ScalingDecision
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy

from pertcast_jobs.run_config import ClusterConfig, RunConfig

_START_TIMEOUT: Final = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
_ELASTIC_START_TIMEOUT_S: Final = 5.0
"""Ray waits a minute for resources that went away with a node; an elastic run rather counts anew."""

_ASK_WITHIN_S: Final = 10.0
_COUNT_EVERY_S: Final = 1.0


def scaling(cluster: ClusterConfig) -> ray.train.ScalingConfig:
    """Return what Ray is asked for: how many workers, of what size."""
    resources = {"CPU": cluster.cpus_per_worker, **({"GPU": 1} if cluster.use_gpu else {})}
    sizes: Any = cluster.num_workers
    if cluster.min_workers is not None:
        sizes = (cluster.min_workers, cluster.num_workers)
    return ray.train.ScalingConfig(
        num_workers=sizes,
        use_gpu=cluster.use_gpu,
        resources_per_worker=resources,
        elastic_resize_monitor_interval_s=cluster.look_for_nodes_every_s,
    )


class FittingSizes(ElasticScalingPolicy):  # type: ignore[misc]
    """Ray's elastic policy with two changes: only sizes that the batch divides into, and no stale nodes.

    Parameters
    ----------
    scaling_config
        Fewest and most workers.
    sizes
        Numbers of workers that may train.
    """

    def __init__(self, scaling_config: ray.train.ScalingConfig, sizes: Sequence[int]) -> None:
        super().__init__(scaling_config)
        self._sizes = tuple(sizes)

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Return with how many workers to start, or that there are too few."""
        decision = super().make_decision_for_non_running_worker_group()
        if isinstance(decision, NoopDecision):
            time.sleep(_COUNT_EVERY_S)  # Ray asks again at once, which keeps a core busy.
        return decision

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        possible = super()._count_possible_workers(reserved_resources)
        return max((size for size in self._sizes if size <= possible), default=0)

    def _get_reserved_resources(self) -> Any:
        # Ray's own coordinator looks at the nodes every 20 s; "recompute" makes it look now.
        try:
            return ray.get(
                self._autoscaling_coordinator.get_reserved_resources.remote(
                    self._requester_id, recompute=True
                ),
                timeout=_ASK_WITHIN_S,
            )
        except ray.exceptions.RayError:
            return None


class SizedTrainer(TorchTrainer):  # type: ignore[misc]
    """Ray's TorchTrainer, whose elastic runs take only the sizes that fit the configuration.

    Parameters
    ----------
    config
        The run's configuration.
    worker
        What each worker runs.
    **parts
        As of TorchTrainer.
    """

    def __init__(self, config: RunConfig, worker: Any, **parts: Any) -> None:
        super().__init__(worker, scaling_config=scaling(config.cluster), **parts)
        self._config = config

    def _initialize_and_run_controller(self, **parts: Any) -> ray.train.Result:
        if self._config.cluster.min_workers is not None:
            parts["scaling_policy"] = FittingSizes(self.scaling_config, self._config.worker_counts())
        return super()._initialize_and_run_controller(**parts)


@contextmanager
def ray_train_settings(cluster: ClusterConfig) -> Iterator[None]:
    """Set what Ray Train reads from the environment while the block runs; what the user set stays."""
    if cluster.min_workers is None or _START_TIMEOUT in os.environ:
        yield
        return
    os.environ[_START_TIMEOUT] = str(_ELASTIC_START_TIMEOUT_S)
    try:
        yield
    finally:
        del os.environ[_START_TIMEOUT]

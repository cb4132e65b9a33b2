"""Builds the Serve application from typed settings, for `pertcast serve` and for `serve run`.

A cluster names ``pertcast_serve.builder:build`` in its serve configuration.
"""

from __future__ import annotations

from pathlib import Path

from pertcast.training.bundle import find_bundle
from pydantic import BaseModel, ConfigDict, Field
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from pertcast_serve.deployments import BatchedPredictor, Ingress


class ServeConfig(BaseModel):
    """Settings of one served bundle; unknown ones are refused.

    Attributes
    ----------
    bundle
        Folder of a bundle or of a run.
    device
        Torch device of a replica's weights ("cpu", "cuda").
    min_replicas, max_replicas
        Bounds of the predictor's autoscaling; min 0 lets it scale to nothing.
    target_ongoing_requests
        Requests in flight a replica that autoscaling aims at.
    max_batch_size
        Most requests predicted together.
    batch_wait_s
        Longest wait for a batch to fill, in seconds.
    max_queued_requests
        Requests that may wait for a replica before 503 is answered.
    cpus_per_replica, gpus_per_replica
        Resources of a replica.
    upscale_delay_s, downscale_delay_s
        How long load must last before replicas are added or taken away, in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str
    device: str = "cpu"
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(2, ge=1)
    target_ongoing_requests: float = Field(4, gt=0)
    max_batch_size: int = Field(32, ge=1)
    batch_wait_s: float = Field(0.005, ge=0)
    max_queued_requests: int = Field(256, ge=1)
    cpus_per_replica: float = Field(0.5, gt=0)
    gpus_per_replica: float = Field(0, ge=0)
    upscale_delay_s: float = Field(5, ge=0)
    downscale_delay_s: float = Field(60, ge=0)


def build(config: ServeConfig) -> Application:
    """Return the application: ingress and autoscaled predictor; raises CorruptBundle for a bad bundle."""
    bundle = find_bundle(Path(config.bundle))
    predictor = BatchedPredictor.options(  # type: ignore[attr-defined]
        autoscaling_config=AutoscalingConfig(
            min_replicas=config.min_replicas,
            initial_replicas=max(1, config.min_replicas),
            max_replicas=config.max_replicas,
            target_ongoing_requests=config.target_ongoing_requests,
            upscale_delay_s=config.upscale_delay_s,
            downscale_delay_s=config.downscale_delay_s,
        ),
        max_ongoing_requests=4 * config.max_batch_size,
        max_queued_requests=config.max_queued_requests,
        ray_actor_options={"num_cpus": config.cpus_per_replica, "num_gpus": config.gpus_per_replica},
    ).bind(str(bundle), config.device, config.max_batch_size, config.batch_wait_s)
    ingress = Ingress.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=512
    )
    return ingress.bind(predictor)

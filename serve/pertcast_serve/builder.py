"""Builds the Serve application from typed settings, for `pertcast serve` and for `serve run`.

A cluster names ``pertcast_serve.builder:build`` in its serve configuration.
"""

from __future__ import annotations

from pathlib import Path

from pertcast.training.bundle import find_bundle
from pydantic import BaseModel, ConfigDict, Field, model_validator
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from pertcast_serve.deployments import BatchedPredictor, Ingress
from pertcast_serve.schemas import MAX_CONDITIONS

LOAD_INTERVAL_S = 1.0
"""How often load is measured; scaling looks at the last three measurements."""
_SPARE_REQUESTS = 64


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
    rows_per_pass
        Conditions that a forward pass is padded to: small answers faster, large computes more at once.
    max_batch_conditions
        Most conditions predicted together.
    batch_wait_s
        Longest wait for a batch to fill, in seconds.
    max_ongoing_requests
        Most requests that a replica holds, batched or waiting.
    max_queued_requests
        Requests that may wait for a replica beyond that before 503 is answered.
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
    rows_per_pass: int = Field(32, ge=1)
    max_batch_conditions: int = Field(256, ge=MAX_CONDITIONS)
    batch_wait_s: float = Field(0.005, ge=0)
    max_ongoing_requests: int = Field(256, ge=1)
    max_queued_requests: int = Field(256, ge=1)
    cpus_per_replica: float = Field(0.5, gt=0)
    gpus_per_replica: float = Field(0, ge=0)
    upscale_delay_s: float = Field(5, ge=0)
    downscale_delay_s: float = Field(60, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> ServeConfig:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        if self.device != "cpu" and not self.gpus_per_replica:
            raise ValueError(f"device {self.device} needs gpus_per_replica: Ray hides all GPUs without it")
        return self

    @property
    def capacity(self) -> int:
        """Requests that all replicas and the queue before them can hold."""
        return self.max_replicas * self.max_ongoing_requests + self.max_queued_requests


def build(config: ServeConfig) -> Application:
    """Return the application: ingress and autoscaled predictor; ConfigError where there is no bundle."""
    bundle = find_bundle(Path(config.bundle)).absolute()
    predictor = BatchedPredictor.options(  # type: ignore[attr-defined]
        autoscaling_config=AutoscalingConfig(
            min_replicas=config.min_replicas,
            initial_replicas=max(1, config.min_replicas),
            max_replicas=config.max_replicas,
            target_ongoing_requests=config.target_ongoing_requests,
            metrics_interval_s=LOAD_INTERVAL_S,
            look_back_period_s=3 * LOAD_INTERVAL_S,
            upscale_delay_s=config.upscale_delay_s,
            downscale_delay_s=config.downscale_delay_s,
        ),
        max_ongoing_requests=config.max_ongoing_requests,
        max_queued_requests=config.max_queued_requests,
        ray_actor_options={"num_cpus": config.cpus_per_replica, "num_gpus": config.gpus_per_replica},
    ).bind(str(bundle), config.device, config.rows_per_pass, config.max_batch_conditions, config.batch_wait_s)
    # The ingress holds more than the predictor, so that overload is answered by it, with a remedy.
    ingress = Ingress.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=config.capacity + _SPARE_REQUESTS
    )
    return ingress.bind(predictor)

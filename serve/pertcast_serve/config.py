"""Settings of one served bundle, for the command line and for a cluster's configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pertcast_serve.schemas import MAX_CONDITIONS


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
    downscale_delay_s: float = Field(30, ge=0)

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

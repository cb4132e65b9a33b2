"""Settings of a server, for the command line and a cluster's configuration; unknown ones are refused."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pertcast_serve.access.caller import Scope
from pertcast_serve.schemas.predict import MAX_CONDITIONS, MAX_GENES

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""Names of models, libraries and collections: they stand in paths of the interface."""


class Settings(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Scaling(Settings):
    """How many replicas a deployment has, and what each may use.

    Attributes
    ----------
    min_replicas, max_replicas
        Bounds of autoscaling; min 0 lets it scale to nothing.
    target_ongoing_requests
        Requests in flight a replica that autoscaling aims at.
    max_ongoing_requests
        Most requests that a replica holds, batched or waiting.
    max_queued_requests
        Requests that may wait for a replica beyond that before 503 is answered.
    cpus_per_replica, gpus_per_replica
        Resources of a replica.
    upscale_delay_s, downscale_delay_s
        How long load must last before replicas are added or taken away, in seconds.
    drain_s
        Longest time that a replica which is taken away may finish its requests in, in seconds.
    """

    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(2, ge=1)
    target_ongoing_requests: float = Field(4, gt=0)
    max_ongoing_requests: int = Field(256, ge=1)
    max_queued_requests: int = Field(256, ge=1)
    cpus_per_replica: float = Field(0.5, ge=0)
    gpus_per_replica: float = Field(0, ge=0)
    upscale_delay_s: float = Field(5, ge=0)
    downscale_delay_s: float = Field(30, ge=0)
    drain_s: float = Field(20, ge=0)

    @model_validator(mode="after")
    def _has_bounds_in_order(self) -> Scaling:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self

    @property
    def capacity(self) -> int:
        """Requests that all replicas and the queue before them can hold."""
        return self.max_replicas * self.max_ongoing_requests + self.max_queued_requests


class PredictorSettings(Scaling):
    """The batched predictor.

    Attributes
    ----------
    device
        Torch device of a replica's weights ("cpu", "cuda").
    rows_per_pass
        Sizes that a forward pass may be padded to, rising: small answers faster, large computes more at once.
    max_batch_conditions
        Most conditions predicted together.
    batch_wait_s
        Longest wait for a batch to fill, in seconds.
    models_per_replica
        Bundles that a replica keeps loaded; the one unused for longest is given up first.
    cached_conditions
        Encoded conditions that a replica remembers.
    """

    device: str = "cpu"
    rows_per_pass: tuple[int, ...] = (1, 8, 32, 128)
    max_batch_conditions: int = Field(256, ge=MAX_CONDITIONS)
    batch_wait_s: float = Field(0.005, ge=0)
    models_per_replica: int = Field(3, ge=1)
    cached_conditions: int = Field(4096, ge=0)

    @model_validator(mode="after")
    def _can_run(self) -> PredictorSettings:
        sizes = self.rows_per_pass
        if not sizes or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
            raise ValueError(f"rows_per_pass {list(sizes)} must be rising whole numbers from 1")
        if self.device != "cpu" and not self.gpus_per_replica:
            raise ValueError(f"device {self.device} needs gpus_per_replica: Ray hides all GPUs without it")
        return self


class TrustedProxy(Settings):
    """A proxy that logs users in and names them in a header.

    Attributes
    ----------
    header
        The header, for example X-Forwarded-User.
    networks
        Addresses that may set it, as networks ("10.0.0.0/8"). From elsewhere it counts for nothing.
    scopes
        What its users may do.
    """

    header: str = Field("X-Forwarded-User", min_length=1, max_length=100)
    networks: tuple[str, ...] = Field(min_length=1)
    scopes: tuple[Scope, ...] = ("predict", "screen")

    @field_validator("networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks


class AccessSettings(Settings):
    """Who may call.

    Attributes
    ----------
    keys
        File of hashed keys (`pertcast key create`). Without it, and without a proxy, only loopback is served.
    trusted_proxy
        A proxy that names users.
    audit
        File that a line a call is added to; none where None.
    """

    keys: Path | None = None
    trusted_proxy: TrustedProxy | None = None
    audit: Path | None = None

    @property
    def is_open(self) -> bool:
        """Whether everyone who reaches the server may call it."""
        return self.keys is None and self.trusted_proxy is None


class Limits(Settings):
    """What one caller may ask; published in /v1/metadata.

    Attributes
    ----------
    conditions, genes
        Most conditions, and most chosen genes, of one request.
    body_bytes
        Largest body.
    request_s
        Longest time that a request may take before 503, in seconds; screens go on without it.
    concurrent_requests
        Requests of one key in flight before 429.
    running_screens
        Screens of one key that are queued or running before 429.
    screen_profiles
        Most profiles of one screen.
    """

    conditions: int = Field(MAX_CONDITIONS, ge=1, le=MAX_CONDITIONS)
    genes: int = Field(MAX_GENES, ge=1, le=MAX_GENES)
    body_bytes: int = Field(4 << 20, ge=1024)
    request_s: float = Field(60, gt=0)
    concurrent_requests: int = Field(256, ge=1)
    running_screens: int = Field(4, ge=1)
    screen_profiles: int = Field(1_000_000, ge=1)


class ScreenSettings(Settings):
    """Where screens are run and kept.

    Attributes
    ----------
    folder
        Holds one folder a screen; a shared volume on a cluster. Screens are off where None.
    runner
        "ray": jobs of a Ray cluster, through its Jobs API. "processes": processes of this machine, which
        need no dashboard of Ray; `pertcast serve` takes them.
    jobs_address
        Address of the Ray Jobs API; that of this Ray where None.
    executor
        As of `pertcast screen --executor`.
    workers
        As of `pertcast screen --workers`.
    """

    folder: Path | None = None
    runner: Literal["ray", "processes"] = "ray"
    jobs_address: str | None = None
    executor: str = "in-process"
    workers: int | None = Field(None, ge=1)


class ServeConfig(Settings):
    """Settings of a server.

    Attributes
    ----------
    models
        Name -> folder of a bundle or run. The first answers requests that name none. A folder (or link) that
        comes to hold another bundle is served as a new version, without a restart.
    libraries
        Name -> finished screen (predicted) or store of responses (measured): what signatures are compared
        with.
    gene_sets
        Name -> .gmt file.
    ingress_replicas
        Processes that speak HTTP.
    root_path
        Path that a proxy serves this server under, without the last slash.
    """

    models: dict[str, Path] = Field(min_length=1)
    libraries: dict[str, Path] = Field(default_factory=dict)
    gene_sets: dict[str, Path] = Field(default_factory=dict)
    predictor: PredictorSettings = Field(default_factory=PredictorSettings)
    analysis: Scaling = Field(default_factory=Scaling)
    ingress_replicas: int = Field(1, ge=1)
    access: AccessSettings = Field(default_factory=AccessSettings)
    limits: Limits = Field(default_factory=Limits)
    screens: ScreenSettings = Field(default_factory=ScreenSettings)
    root_path: str = Field("", pattern=r"^(/[A-Za-z0-9_.~-]+)*$")

    @field_validator("models", "libraries", "gene_sets")
    @classmethod
    def _have_plain_names(cls, named: dict[str, Path]) -> dict[str, Path]:
        for name in named:
            if not re.fullmatch(NAME_PATTERN, name):
                raise ValueError(f"{name!r} is no name: use letters, digits, '_', '.' and '-', at most 64")
        return named

"""The kinds of KubeRay (1.5), and the names that it takes for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from pertcast_jobs.cluster.kube.kinds.fields import Count, Fields, Plain

LONGEST_NAME: Final[Mapping[str, int]] = MappingProxyType({"RayCluster": 63, "RayJob": 47, "RayService": 47})
"""KubeRay's bounds; it appends to the names of jobs and services for their clusters and pods."""

NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
"""What can stand in names of hosts, as KubeRay's services have them."""


class AuthOptions(Fields):
    """Who may talk to a cluster: "token" for those who hold the token of the cluster's secret."""

    mode: Literal["token", "disabled"]


class AutoscalerOptions(Fields):
    """The container beside the head that asks for pods and gives them back."""

    version: Literal["v1", "v2"] | None = None
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] | None = None
    idle_timeout_seconds: Count | None = None
    image: str | None = None
    image_pull_policy: str | None = None
    env: Annotated[tuple[Plain, ...], Field(strict=False)] = ()
    env_from: Annotated[tuple[Plain, ...], Field(strict=False)] = ()
    resources: Plain | None = None
    security_context: Plain | None = None
    volume_mounts: Annotated[tuple[Plain, ...], Field(strict=False)] = ()


class GcsFaultToleranceOptions(Fields):
    """A Redis that keeps the head's state."""

    redis_address: str
    redis_username: Plain | None = None
    redis_password: Plain | None = None
    external_storage_namespace: str | None = None


def _numbers_are_numbers(params: Mapping[str, str]) -> Mapping[str, str]:
    """Refuse texts where `ray start` takes a number."""
    for name in ("num-cpus", "num-gpus", "memory", "object-store-memory"):
        if name in params and not params[name].replace(".", "", 1).isdigit():
            raise ValueError(f"{name} {params[name]!r} is no number")
    return params


StartParams = Annotated[Mapping[str, str], AfterValidator(_numbers_are_numbers)]


class HeadGroupSpec(Fields):
    """The head: one pod."""

    template: Plain
    ray_start_params: StartParams = Field(default_factory=dict)
    service_type: str | None = None
    head_service: Plain | None = None
    enable_ingress: bool | None = None
    resources: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None


class ScaleStrategy(Fields):
    """Pods that go first; the autoscaler writes it."""

    workers_to_delete: Annotated[tuple[str, ...], Field(strict=False)] = ()


class WorkerGroupSpec(Fields):
    """Workers that are alike: from `min_replicas` to `max_replicas` pods (of `num_of_hosts` each)."""

    group_name: str = Field(min_length=1)
    template: Plain
    ray_start_params: StartParams = Field(default_factory=dict)
    replicas: Count = 0
    min_replicas: Count = 0
    max_replicas: Count = 2**31 - 1
    num_of_hosts: int = Field(1, ge=1)
    idle_timeout_seconds: Count | None = None
    suspend: bool | None = None
    resources: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    scale_strategy: ScaleStrategy | None = None

    @model_validator(mode="after")
    def _has_bounds_in_order(self) -> WorkerGroupSpec:
        if not self.min_replicas <= self.replicas <= self.max_replicas:
            raise ValueError(
                f"replicas {self.replicas} is not between minReplicas {self.min_replicas} and maxReplicas "
                f"{self.max_replicas}"
            )
        return self


class RayClusterSpec(Fields):
    """A Ray cluster: what a RayCluster is, and what RayJob and RayService have inside."""

    head_group_spec: HeadGroupSpec
    worker_group_specs: Annotated[tuple[WorkerGroupSpec, ...], Field(strict=False)] = ()
    ray_version: str | None = None
    auth_options: AuthOptions | None = None
    enable_in_tree_autoscaling: bool = False
    autoscaler_options: AutoscalerOptions | None = None
    gcs_fault_tolerance_options: GcsFaultToleranceOptions | None = None
    head_service_annotations: Mapping[str, str] | None = None
    suspend: bool | None = None
    managed_by: str | None = None

    @model_validator(mode="after")
    def _has_groups_of_different_names(self) -> RayClusterSpec:
        names = [group.group_name for group in self.worker_group_specs]
        if len(set(names)) < len(names):
            raise ValueError(f"two workerGroupSpecs have one groupName: {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _restarts_no_pod_by_itself(self) -> RayClusterSpec:
        options = self.autoscaler_options
        if not (self.enable_in_tree_autoscaling and options and options.version == "v2"):
            return self
        workers = (group.template for group in self.worker_group_specs)
        for template in (self.head_group_spec.template, *workers):
            pod = template.get("spec")
            if isinstance(pod, Mapping) and pod.get("restartPolicy", "Never") != "Never":
                raise ValueError("autoscaler v2 takes only pods with restartPolicy Never, which it replaces")
        return self


class RayJobSpec(Fields):
    """A command on a cluster of its own (`ray_cluster_spec`) or on one that stands (`cluster_selector`)."""

    entrypoint: str = Field(min_length=1)
    ray_cluster_spec: RayClusterSpec | None = None
    cluster_selector: Mapping[str, str] | None = None
    runtime_env_yaml: str | None = Field(None, alias="runtimeEnvYAML")
    submission_mode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"] = "K8sJobMode"
    submitter_pod_template: Plain | None = None
    submitter_config: Plain | None = None
    job_id: str | None = None
    metadata: Mapping[str, str] | None = None
    entrypoint_num_cpus: float = Field(0, ge=0)
    entrypoint_num_gpus: float = Field(0, ge=0)
    entrypoint_resources: str | None = None
    backoff_limit: Count | None = None
    active_deadline_seconds: Annotated[int, Field(gt=0)] | None = None
    shutdown_after_job_finishes: bool = False
    ttl_seconds_after_finished: Count = 0
    suspend: bool = False
    deletion_strategy: Plain | None = None
    managed_by: str | None = None

    @model_validator(mode="after")
    def _is_taken_by_the_operator(self) -> RayJobSpec:
        """Hold the operator's own checks (`validation.go`)."""
        if self.ray_cluster_spec is None and not self.cluster_selector:
            raise ValueError("one of rayClusterSpec and clusterSelector is needed")
        if self.cluster_selector:
            if not self.cluster_selector.get("ray.io/cluster"):
                raise ValueError("clusterSelector must name a RayCluster as ray.io/cluster")
            if self.suspend or self.backoff_limit:
                raise ValueError(
                    "a job on a standing cluster (clusterSelector) has no suspend or backoffLimit"
                )
        if self.suspend and not self.shutdown_after_job_finishes:
            raise ValueError("a suspended job needs shutdownAfterJobFinishes: true")
        if self.ttl_seconds_after_finished and not self.shutdown_after_job_finishes:
            raise ValueError("ttlSecondsAfterFinished needs shutdownAfterJobFinishes: true")
        return self


class UpgradeStrategy(Fields):
    """How a changed cluster takes the place of the old one."""

    type: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"] | None = None
    cluster_upgrade_options: Plain | None = None


class RayServiceSpec(Fields):
    """A Serve application on a cluster of its own."""

    ray_cluster_config: RayClusterSpec
    serve_config_v2: str = Field(alias="serveConfigV2")
    serve_service: Plain | None = None
    upgrade_strategy: UpgradeStrategy | None = None
    ray_cluster_deletion_delay_seconds: Count | None = None
    exclude_head_pod_from_serve_svc: bool = False
    managed_by: str | None = None

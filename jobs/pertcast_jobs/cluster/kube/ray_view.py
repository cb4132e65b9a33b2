"""Ray clusters as the rules see them: head, groups of workers, and what Ray may have of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pertcast_jobs.cluster.kube.kinds.ray import RayClusterSpec, RayJobSpec, RayServiceSpec
from pertcast_jobs.cluster.kube.objects import Container, Document, Pod

GPU: Final = "nvidia.com/gpu"
_OPERATORS_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
        "ray.io/is-ray-node": "yes",
    }
)
"""Labels that KubeRay gives to every pod of a cluster."""


@dataclass(frozen=True, eq=False)
class Group:
    """A Ray cluster's head, or one group of its workers."""

    name: str
    path: str
    pod: Pod
    start_params: Mapping[str, str]
    most: int
    """How many pods it may have."""

    @property
    def container(self) -> Container:
        """The container that runs Ray: the first, as KubeRay takes it."""
        return self.pod.containers[0]

    @property
    def cpus(self) -> float:
        """CPUs that Ray sees in one pod."""
        told = self.start_params.get("num-cpus")
        return self.container.amount("cpu") if told is None else float(told)

    @property
    def gpus(self) -> float:
        """GPUs that Ray sees in one pod."""
        told = self.start_params.get("num-gpus")
        return self.container.amount(GPU) if told is None else float(told)


@dataclass(frozen=True, eq=False)
class Cluster:
    """A Ray cluster that an object describes."""

    document: Document
    path: str
    spec: RayClusterSpec
    head: Group
    workers: tuple[Group, ...] = ()

    @property
    def groups(self) -> tuple[Group, ...]:
        """The head, then the workers."""
        return (self.head, *self.workers)

    @property
    def most_cpus(self) -> float:
        """CPUs that Ray sees in the largest pod; infinite where one has no limit: all of its machine's."""
        return max(
            group.cpus if "num-cpus" in group.start_params or group.container.amount("cpu") else math.inf
            for group in self.groups
            if group.most
        )

    @property
    def autoscaler(self) -> Container | None:
        """The container that the operator puts into the head's pod, if the cluster scales itself."""
        if not self.spec.enable_in_tree_autoscaling:
            return None
        path = f"{self.path}.autoscalerOptions"
        return Container(self.head.pod, path, self.document.at(path), is_autoscaler=True)


def cluster_in(document: Document) -> Cluster | None:
    """Return the Ray cluster that an object describes, or None where it describes none."""
    spec: Any = document.spec
    path = "spec"
    if isinstance(spec, RayJobSpec):
        spec, path = spec.ray_cluster_spec, "spec.rayClusterSpec"
    elif isinstance(spec, RayServiceSpec):
        spec, path = spec.ray_cluster_config, "spec.rayClusterConfig"
    if not isinstance(spec, RayClusterSpec):
        return None

    def group(name: str, role: str, where: str, given: Any, most: int) -> Group:
        labels = {
            **(given.template.get("metadata") or {}).get("labels", {}),
            **_OPERATORS_LABELS,
            "ray.io/node-type": role,
            "ray.io/group": name,
        }
        pod = Pod(document, f"{where}.template", given.template, labels)
        return Group(name, where, pod, given.ray_start_params, most)

    head = group("headgroup", "head", f"{path}.headGroupSpec", spec.head_group_spec, 1)
    workers = [
        group(given.group_name, "worker", f"{path}.workerGroupSpecs[{number}]", given, _most(spec, number))
        for number, given in enumerate(spec.worker_group_specs)
    ]
    return Cluster(document, path, spec, head, tuple(workers))


def _most(spec: RayClusterSpec, number: int) -> int:
    """Return how many pods a group may have; without the autoscaler nothing adds any."""
    group = spec.worker_group_specs[number]
    return group.num_of_hosts * (group.max_replicas if spec.enable_in_tree_autoscaling else group.replicas)

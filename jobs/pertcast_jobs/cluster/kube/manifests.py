"""Manifests as the rules see them: objects, Ray clusters, pods and containers, each with its path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel

from pertcast_jobs.cluster.kube.kinds import SPECS, RayClusterSpec, RayJobSpec, RayServiceSpec
from pertcast_jobs.cluster.kube.quantity import quantity

Plain = Mapping[str, Any]
GPU: Final = "nvidia.com/gpu"
_POD_TEMPLATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Deployment": "spec.template",
        "StatefulSet": "spec.template",
        "DaemonSet": "spec.template",
        "Job": "spec.template",
        "CronJob": "spec.jobTemplate.spec.template",
    }
)
_OPERATORS_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
        "ray.io/is-ray-node": "yes",
    }
)
"""Labels that KubeRay gives to every pod of a cluster."""


@dataclass(frozen=True, eq=False)
class Document:
    """One object; `spec` is its parsed spec where `kinds.SPECS` has its kind."""

    body: Plain
    spec: BaseModel | None = None

    @property
    def kind(self) -> str:
        """Its kind, empty where it says none."""
        found = self.body.get("kind")
        return found if isinstance(found, str) else ""

    @property
    def group(self) -> str:
        """The group of its apiVersion, empty for Kubernetes' first kinds."""
        return str(self.body.get("apiVersion") or "").rpartition("/")[0]

    @property
    def metadata(self) -> Plain:
        """Its metadata."""
        found = self.body.get("metadata")
        return found if isinstance(found, Mapping) else {}

    @property
    def name(self) -> str:
        """Its name, empty where it has none."""
        return str(self.metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        """Its namespace, empty where it says none."""
        return str(self.metadata.get("namespace") or "")

    def at(self, path: str) -> Any:
        """Return what stands at a path of plain keys, or an empty mapping."""
        found: Any = self.body
        for key in path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return {} if found is None else found


@dataclass(frozen=True, eq=False)
class Pod:
    """A pod template and where it stands."""

    document: Document
    path: str
    template: Plain
    labels: Plain

    @property
    def spec(self) -> Plain:
        """The pod's spec."""
        return self.template.get("spec") or {}

    @property
    def ports(self) -> dict[str | int, int]:
        """Name and number of each port of the pod's containers -> number."""
        found: dict[str | int, int] = {}
        for container in self.spec.get("containers") or ():
            for port in container.get("ports") or ():
                found[port["containerPort"]] = port["containerPort"]
                if port.get("name"):
                    found[port["name"]] = port["containerPort"]
        return found


@dataclass(frozen=True, eq=False)
class Container:
    """A container and where it stands; `image` is the operator's own where it is None."""

    pod: Pod
    path: str
    body: Plain
    is_autoscaler: bool = False

    @property
    def security(self) -> dict[str, Any]:
        """Its security context over the pod's."""
        of_pod = self.pod.spec.get("securityContext") or {}
        return {**of_pod, **(self.body.get("securityContext") or {})}

    def amount(self, resource: str) -> float:
        """Return the limit of a resource, 0 where it has none."""
        return quantity(((self.body.get("resources") or {}).get("limits") or {}).get(resource) or 0)


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
        path = f"{self.pod.path}.spec.containers[0]"
        return Container(self.pod, path, self.pod.spec["containers"][0])

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


def _without_nulls(value: Any) -> Any:
    """Return a value without the keys that are null, which to Kubernetes are not there."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(held) for key, held in value.items() if held is not None}
    return [_without_nulls(held) for held in value] if isinstance(value, list) else value


def _clusters(document: Document) -> Iterator[Cluster]:
    """Yield the Ray cluster of an object, if it has one."""
    spec: Any = document.spec
    path = "spec"
    if isinstance(spec, RayJobSpec):
        spec, path = spec.ray_cluster_spec, "spec.rayClusterSpec"
    elif isinstance(spec, RayServiceSpec):
        spec, path = spec.ray_cluster_config, "spec.rayClusterConfig"
    if not isinstance(spec, RayClusterSpec):
        return

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
    yield Cluster(document, path, spec, head, tuple(workers))


def _most(spec: RayClusterSpec, number: int) -> int:
    """Return how many pods a group may have; without the autoscaler nothing adds any."""
    group = spec.worker_group_specs[number]
    return group.num_of_hosts * (group.max_replicas if spec.enable_in_tree_autoscaling else group.replicas)


@dataclass(frozen=True, eq=False)
class Manifests:
    """Objects that are applied together, each of the right shape."""

    documents: tuple[Document, ...]

    @classmethod
    def parse(cls, bodies: Sequence[Plain]) -> Manifests:
        """Return the view of objects that the rules of `rules.shape` have found nothing in."""
        found = []
        for body in map(_without_nulls, bodies):
            model = SPECS.get((body["apiVersion"], body["kind"]))
            found.append(Document(body, None if model is None else model.model_validate(body["spec"])))
        return cls(tuple(found))

    @cached_property
    def clusters(self) -> tuple[Cluster, ...]:
        """All Ray clusters."""
        return tuple(cluster for document in self.documents for cluster in _clusters(document))

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """All pod templates: of Ray clusters and of Kubernetes' own kinds."""
        found = [group.pod for cluster in self.clusters for group in cluster.groups]
        for document in self.documents:
            if document.kind == "Pod":
                found.append(Pod(document, "", document.body, document.metadata.get("labels") or {}))
            elif document.kind in _POD_TEMPLATES:
                path = _POD_TEMPLATES[document.kind]
                template = document.at(path)
                labels = (template.get("metadata") or {}).get("labels") or {}
                found.append(Pod(document, path, template, labels))
        return tuple(found)

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """All containers; those of autoscalers as well, which share the pod of their head."""
        found = []
        for pod in self.pods:
            start = f"{pod.path}." if pod.path else ""
            for key in ("initContainers", "containers"):
                for number, body in enumerate(pod.spec.get(key) or ()):
                    found.append(Container(pod, f"{start}spec.{key}[{number}]", body))
        for cluster in self.clusters:
            if cluster.spec.enable_in_tree_autoscaling:
                body = _document_part(cluster, "autoscalerOptions")
                path = f"{cluster.path}.autoscalerOptions"
                found.append(Container(cluster.head.pod, path, body, is_autoscaler=True))
        return tuple(found)

    def of_kind(self, *kinds: str) -> list[Document]:
        """Return the objects of some kinds."""
        return [document for document in self.documents if document.kind in kinds]

    def has(self, kind: str, name: str, namespace: str) -> bool:
        """Return whether an object is among these."""
        return any(found.name == name and found.namespace == namespace for found in self.of_kind(kind))

    def is_whole(self, namespace: str) -> bool:
        """Return whether a namespace is described as a whole: only then can something be missing in it.

        Objects without their Namespace (one RayJob, say) are a part, whose other parts stand elsewhere.
        """
        return any(found.name == namespace for found in self.of_kind("Namespace"))

    def pods_in(self, namespace: str) -> list[Pod]:
        """Return the pods of a namespace."""
        return [pod for pod in self.pods if pod.document.namespace == namespace]

    def cluster_of(self, job: Document) -> Cluster | None:
        """Return the cluster that a RayJob or RayService runs on, or None where it is not among these."""
        for cluster in self.clusters:
            if cluster.document is job:
                return cluster
        selector = job.spec.cluster_selector if isinstance(job.spec, RayJobSpec) else None
        name = (selector or {}).get("ray.io/cluster")
        for cluster in self.clusters:
            found = cluster.document
            if found.kind == "RayCluster" and found.name == name and found.namespace == job.namespace:
                return cluster
        return None


def _document_part(cluster: Cluster, key: str) -> Plain:
    found = cluster.document.at(f"{cluster.path}.{key}")
    return found if isinstance(found, Mapping) else {}

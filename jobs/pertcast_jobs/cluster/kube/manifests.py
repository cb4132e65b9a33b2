"""Manifests as the rules see them: all objects that are applied together, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

from pertcast_jobs.cluster.kube.kinds import SPECS
from pertcast_jobs.cluster.kube.kinds.fields import Plain
from pertcast_jobs.cluster.kube.kinds.ray import RayJobSpec
from pertcast_jobs.cluster.kube.objects import Container, Document, Pod, without_nulls
from pertcast_jobs.cluster.kube.ray_view import Cluster, cluster_in
from pertcast_jobs.cluster.kube.selectors import NAMESPACE_LABEL, Party, selects

EXTERNAL: Final = "pertcast.io/external"
"""Annotation of any object of a namespace: what is made by other means, ``Secret/a Namespace/b``."""

_POD_TEMPLATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Deployment": "spec.template",
        "StatefulSet": "spec.template",
        "DaemonSet": "spec.template",
        "Job": "spec.template",
        "CronJob": "spec.jobTemplate.spec.template",
    }
)


@dataclass(frozen=True, eq=False)
class Manifests:
    """Objects that are applied together, each of the right shape."""

    documents: tuple[Document, ...]

    @classmethod
    def parse(cls, bodies: Sequence[Plain]) -> Manifests:
        """Return the view of objects that the rules of `rules.shape` have found nothing in."""
        found = []
        for body in map(without_nulls, bodies):
            model = SPECS.get((body["apiVersion"], body["kind"]))
            found.append(Document(body, None if model is None else model.model_validate(body["spec"])))
        return cls(tuple(found))

    @cached_property
    def clusters(self) -> tuple[Cluster, ...]:
        """All Ray clusters."""
        found = map(cluster_in, self.documents)
        return tuple(cluster for cluster in found if cluster is not None)

    @property
    def whole_clusters(self) -> list[Cluster]:
        """The Ray clusters of namespaces that are described as a whole."""
        return [cluster for cluster in self.clusters if self.is_whole(cluster.document.namespace)]

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
        autoscalers = [cluster.autoscaler for cluster in self.clusters]
        return (
            *(found for pod in self.pods for found in (*pod.first_containers, *pod.containers)),
            *(container for container in autoscalers if container is not None),
        )

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

    def policies(self, namespace: str) -> list[Plain]:
        """Return the specs of a namespace's network policies."""
        return [found.at("spec") for found in self.of_kind("NetworkPolicy") if found.namespace == namespace]

    def external(self, namespace: str) -> set[tuple[str, str]]:
        """Return (kind, name) of what a namespace is said to get by other means (`EXTERNAL`)."""
        found = set()
        for document in self.documents:
            if document.namespace == namespace or (document.kind, document.name) == ("Namespace", namespace):
                for word in ((document.metadata.get("annotations") or {}).get(EXTERNAL) or "").split():
                    kind, _, name = word.partition("/")
                    found.add((kind, name))
        return found

    def party(self, pod: Pod) -> Party:
        """Return a pod as network policies see it."""
        name = pod.document.namespace
        labels: dict[str, str] = {}
        for namespace in self.of_kind("Namespace"):
            if namespace.name == name:
                labels = namespace.metadata.get("labels") or {}
        return Party(pod.labels, {**labels, NAMESPACE_LABEL: name}, pod.ports)

    def pods_in(self, namespace: str) -> list[Pod]:
        """Return the pods of a namespace."""
        return [pod for pod in self.pods if pod.document.namespace == namespace]

    def selected(self, document: Document, selector: Plain) -> list[Pod]:
        """Return the pods of an object's namespace that a LabelSelector takes."""
        return [pod for pod in self.pods_in(document.namespace) if selects(selector, pod.labels)]

    def watched_services(self, monitor: Document) -> list[Document]:
        """Return the services that a ServiceMonitor selects."""
        selector = monitor.at("spec.selector")
        return [
            service
            for service in self.of_kind("Service")
            if service.namespace == monitor.namespace
            and selects(selector, service.metadata.get("labels") or {})
        ]

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

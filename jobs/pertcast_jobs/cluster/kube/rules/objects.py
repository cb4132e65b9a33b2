"""Rules about names and namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pertcast_jobs.cluster.kube.kinds import SPECS
from pertcast_jobs.cluster.kube.kinds.ray import LONGEST_NAME, NAME
from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.objects import Document
from pertcast_jobs.cluster.kube.rules.problem import Problem

_NAMESPACED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "": (
            *("ConfigMap", "Endpoints", "LimitRange", "PersistentVolumeClaim", "Pod", "PodTemplate"),
            *("ReplicationController", "ResourceQuota", "Secret", "Service", "ServiceAccount"),
        ),
        "apps": ("ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"),
        "autoscaling": ("HorizontalPodAutoscaler",),
        "batch": ("CronJob", "Job"),
        "networking.k8s.io": ("Ingress", "NetworkPolicy"),
        "policy": ("PodDisruptionBudget",),
        "rbac.authorization.k8s.io": ("Role", "RoleBinding"),
        "storage.k8s.io": ("CSIStorageCapacity",),
    }
)
"""Kubernetes' own kinds that lie in a namespace, by their group; the others are the whole cluster's."""


def duplicate_object(manifests: Manifests) -> Iterator[Problem]:
    """Find objects that are there twice: the second would overwrite the first."""
    seen: set[tuple[str, str, str, str]] = set()
    for document in manifests.documents:
        key = (document.group, document.kind, document.namespace, document.name)
        if key in seen:
            yield Problem(document, "metadata.name", "is there twice", "rename or remove one")
        seen.add(key)


def name_too_long(manifests: Manifests) -> Iterator[Problem]:
    """Find names of Ray's kinds that leave no room for what KubeRay appends."""
    for document in manifests.of_kind(*LONGEST_NAME):
        longest = LONGEST_NAME[document.kind]
        if len(document.name) > longest:
            what = f"{len(document.name)} characters; KubeRay takes {longest} of a {document.kind}"
            yield Problem(document, "metadata.name", what, "shorten it")


def name_not_a_label(manifests: Manifests) -> Iterator[Problem]:
    """Find names of Ray's kinds that cannot stand in names of hosts, as KubeRay's services have them."""
    for document in manifests.of_kind(*LONGEST_NAME):
        if not NAME.fullmatch(document.name):
            what = f"{document.name!r} is no DNS label"
            yield Problem(
                document, "metadata.name", what, "begin with a letter; lowercase letters, digits and - only"
            )


def namespace_not_restricted(manifests: Manifests) -> Iterator[Problem]:
    """Find namespaces that take pods which break the strictest pod security standard."""
    key = "pod-security.kubernetes.io/enforce"
    for document in manifests.of_kind("Namespace"):
        level = (document.metadata.get("labels") or {}).get(key)
        if level != "restricted":
            yield Problem(document, f"metadata.labels.{key}", f"is {level!r}", "set it to restricted")


def _has_a_namespace(document: Document) -> bool:
    """Return whether objects of a kind are known to lie in namespaces; of foreign kinds nobody knows."""
    return (document.body["apiVersion"], document.kind) in SPECS or document.kind in _NAMESPACED.get(
        document.group, ()
    )


def namespace_missing(manifests: Manifests) -> Iterator[Problem]:
    """Find objects without a namespace among others with one: they would land wherever kubectl points."""
    named = {document.namespace for document in manifests.documents if document.namespace}
    for document in manifests.documents:
        if named and not document.namespace and _has_a_namespace(document):
            what = f"is missing, while others are in {', '.join(sorted(named))}"
            yield Problem(document, "metadata.namespace", what, "name the namespace of every object")

"""Rules about Ray clusters: versions, tokens, the head, shared memory, and the namespace's quota."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Final

from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.quantity import quantity
from pertcast_jobs.cluster.kube.ray_view import GPU, Cluster, Group
from pertcast_jobs.cluster.kube.rules.problem import Problem

_COUNTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "requests.cpu": "cpu",
        "limits.cpu": "cpu",
        "requests.memory": "memory",
        "limits.memory": "memory",
        f"requests.{GPU}": GPU,
    }
)
"""Lines of a quota -> the resource that containers ask for (requests are the limits here)."""


def no_token_auth(manifests: Manifests) -> Iterator[Problem]:
    """Find clusters on which everyone who reaches them can run code."""
    for cluster in manifests.clusters:
        options = cluster.spec.auth_options
        if options is None or options.mode != "token":
            yield Problem(
                cluster.document,
                f"{cluster.path}.authOptions.mode",
                "who reaches the cluster runs code on it",
                "set it to token; the operator (KubeRay 1.5.1+) makes one",
            )


def ray_version_differs(manifests: Manifests) -> Iterator[Problem]:
    """Find clusters of another Ray than Pertcast is built and tested with."""
    ours = version("ray")
    for cluster in manifests.clusters:
        if cluster.spec.ray_version != ours:
            what = f"is {cluster.spec.ray_version}; Pertcast runs on Ray {ours}"
            yield Problem(cluster.document, f"{cluster.path}.rayVersion", what, f"set it to {ours}")


def work_on_the_head(manifests: Manifests) -> Iterator[Problem]:
    """Find heads that take work: a task that takes a head's memory takes the cluster with it."""
    for cluster in manifests.clusters:
        if cluster.workers and cluster.head.start_params.get("num-cpus") != "0":
            path = f"{cluster.head.path}.rayStartParams.num-cpus"
            yield Problem(cluster.document, path, "the head takes work", 'set it to "0"')


def _shared_memory(group: Group) -> float | None:
    """Return the bytes of a pod's /dev/shm, or None where nothing bounds it."""
    for mount in group.container.body.get("volumeMounts") or ():
        if mount["mountPath"] == "/dev/shm":
            size = (group.pod.volumes.get(mount["name"], {}).get("emptyDir") or {}).get("sizeLimit")
            return None if size is None else quantity(size)
    return None


def shared_memory_too_small(manifests: Manifests) -> Iterator[Problem]:
    """Find object stores that /dev/shm has no room for: the node is evicted when they fill."""
    for cluster in manifests.clusters:
        for group in cluster.groups:
            wanted = group.start_params.get("object-store-memory")
            held = _shared_memory(group)
            if wanted is not None and held is not None and float(wanted) > held:
                yield Problem(
                    cluster.document,
                    f"{group.path}.rayStartParams.object-store-memory",
                    f"{float(wanted) / 2**30:.1f} GiB; /dev/shm has {held / 2**30:.1f} GiB",
                    "raise the sizeLimit of the volume at /dev/shm, or lower the store",
                )


def _at_most(cluster: Cluster, resource: str) -> float:
    """Return what all containers of a cluster ask for when it has all its pods."""
    return sum(
        group.most
        * sum(
            quantity(((container.get("resources") or {}).get("limits") or {}).get(resource) or 0)
            for container in group.pod.spec["containers"]
        )
        for group in cluster.groups
    )


def cluster_exceeds_quota(manifests: Manifests) -> Iterator[Problem]:
    """Find clusters that cannot grow to their maximum within their namespace's quota."""
    for quota in manifests.of_kind("ResourceQuota"):
        for line, allowed in quota.at("spec.hard").items():
            if line not in _COUNTED:
                continue
            for cluster in manifests.clusters:
                wanted = _at_most(cluster, _COUNTED[line])
                if cluster.document.namespace == quota.namespace and wanted > quantity(allowed):
                    name = f"{cluster.document.kind}/{cluster.document.name}"
                    what = f"{allowed}; {name} at its maximum asks for {wanted:g}"
                    yield Problem(
                        quota, f"spec.hard.{line}", what, "raise it, or lower the groups' maxReplicas"
                    )

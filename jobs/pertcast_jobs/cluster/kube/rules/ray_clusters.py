"""Rules about Ray clusters: versions, tokens, the head, what pods write to, and the namespace's quota."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Final

from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.objects import Container, Pod
from pertcast_jobs.cluster.kube.quantity import quantity
from pertcast_jobs.cluster.kube.ray_view import GPU, Cluster, Group
from pertcast_jobs.cluster.kube.rules.problem import Problem

_COUNTED: Final = frozenset(
    {"pods", "requests.cpu", "limits.cpu", "requests.memory", "limits.memory", f"requests.{GPU}"}
)
"""Lines of a quota that clusters use up."""

_TOKEN_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_NEVER_WRITABLE: Final = ("configMap", "secret", "projected", "downwardAPI")


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


def autoscaler_without_token(manifests: Manifests) -> Iterator[Problem]:
    """Find autoscalers without the key to the API server that they ask for pods with."""
    for cluster in manifests.clusters:
        scaler, pod = cluster.autoscaler, cluster.head.pod
        if scaler is None or pod.spec.get("automountServiceAccountToken") is not False:
            continue
        held = [mount["name"] for mount in scaler.mounts if mount["mountPath"].rstrip("/") == _TOKEN_FOLDER]
        if not set(held) & pod.token_volumes:
            yield Problem(
                cluster.document,
                f"{scaler.path}.volumeMounts",
                "the autoscaler has no key to the API server, and the pod gives it none",
                f"mount a projected volume with a serviceAccountToken at {_TOKEN_FOLDER}",
            )


def _written_folders(container: Container) -> list[str]:
    """Return where what runs in a container writes: sessions, temporary files, caches."""
    named = (container.variable("TMPDIR"), container.variable("HOME"))
    return sorted({"/tmp", *(folder for folder in named if folder)})


def _writable_folders(container: Container) -> Iterator[str]:
    """Yield where a volume that takes files is mounted, each with a slash behind it."""
    for mount in container.mounts:
        volume = container.pod.volumes.get(mount["name"], {})
        if not mount.get("readOnly") and not set(_NEVER_WRITABLE) & set(volume):
            yield f"{mount['mountPath'].rstrip('/')}/"


def nothing_writable(manifests: Manifests) -> Iterator[Problem]:
    """Find Ray's containers with a read-only root that have no room for what they write."""
    for cluster in manifests.clusters:
        for container in (group.container for group in cluster.groups):
            if container.security.get("readOnlyRootFilesystem") is not True:
                continue
            rooms = tuple(_writable_folders(container))
            for folder in _written_folders(container):
                if not f"{folder.rstrip('/')}/".startswith(rooms):
                    yield Problem(
                        cluster.document,
                        f"{container.path}.volumeMounts",
                        f"the root is read-only, and nothing is mounted at {folder}",
                        "mount an emptyDir there",
                    )


def _shared_memory(group: Group) -> float | None:
    """Return the bytes of a pod's /dev/shm, or None where nothing bounds it."""
    for mount in group.container.mounts:
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


def _at_most(cluster: Cluster, line: str) -> float:
    """Return what a cluster that has all its pods takes of a line of a quota."""
    if line == "pods":
        return sum(group.most for group in cluster.groups)
    kind, _, resource = line.partition(".")
    ask = Container.amount if kind == "limits" else Container.request

    def of_pod(pod: Pod) -> float:
        lasting = sum(ask(container, resource) for container in pod.containers)
        return max([lasting, *(ask(container, resource) for container in pod.first_containers)])

    beside_the_head = ask(cluster.autoscaler, resource) if cluster.autoscaler else 0
    return beside_the_head + sum(group.most * of_pod(group.pod) for group in cluster.groups)


def _at_once(clusters: Sequence[Cluster]) -> Iterator[tuple[Cluster, ...]]:
    """Yield the clusters that are there together: those that stand, and each job's, which can wait."""
    standing = [one for one in clusters if one.document.kind != "RayJob" and not one.spec.suspend]
    if standing:
        yield tuple(standing)
    yield from ((one,) for one in clusters if one not in standing)


def cluster_exceeds_quota(manifests: Manifests) -> Iterator[Problem]:
    """Find clusters that cannot grow to their maximum within their namespace's quota."""
    for quota in manifests.of_kind("ResourceQuota"):
        here = [one for one in manifests.clusters if one.document.namespace == quota.namespace]
        for line, allowed in quota.at("spec.hard").items():
            for clusters in _at_once(here) if line in _COUNTED else ():
                wanted = sum(_at_most(cluster, line) for cluster in clusters)
                if wanted > quantity(allowed):
                    names = " and ".join(f"{one.document.kind}/{one.document.name}" for one in clusters)
                    what = f"{allowed}; {names} at the maximum: {wanted:g}"
                    yield Problem(
                        quota, f"spec.hard.{line}", what, "raise it, or lower the groups' maxReplicas"
                    )

"""Rules about what a container may do to its node, its cluster and itself (pod security: restricted)."""

from __future__ import annotations

from collections.abc import Iterator

from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.objects import Container
from pertcast_jobs.cluster.kube.rules.problem import Problem


def _of_context(container: Container, key: str, what: str, remedy: str) -> Problem:
    return Problem(container.pod.document, f"{container.path}.securityContext.{key}", what, remedy)


def pod_runs_as_root(manifests: Manifests) -> Iterator[Problem]:
    """Find containers that run, or may run, as root."""
    for container in manifests.containers:
        security = container.security
        if security.get("runAsUser") == 0:
            yield _of_context(container, "runAsUser", "is root", "name the image's user (1000)")
        elif security.get("runAsNonRoot") is not True:
            yield _of_context(
                container, "runAsNonRoot", "is not set: the image may run as root", "set runAsNonRoot: true"
            )


def writable_root(manifests: Manifests) -> Iterator[Problem]:
    """Find containers that can change their own image's files."""
    for container in manifests.containers:
        if container.security.get("readOnlyRootFilesystem") is not True:
            yield _of_context(
                container,
                "readOnlyRootFilesystem",
                "is not set: what breaks in can change the program",
                "set it to true, and mount an emptyDir where the program writes",
            )


def privilege_escalation(manifests: Manifests) -> Iterator[Problem]:
    """Find containers whose processes may get more rights than their parents have."""
    for container in manifests.containers:
        if container.security.get("privileged"):
            yield _of_context(container, "privileged", "is all of the node's rights", "remove it")
        elif container.security.get("allowPrivilegeEscalation") is not False:
            yield _of_context(container, "allowPrivilegeEscalation", "is not forbidden", "set it to false")


def capabilities_kept(manifests: Manifests) -> Iterator[Problem]:
    """Find containers with some of root's capabilities."""
    for container in manifests.containers:
        capabilities = container.security.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            yield _of_context(container, "capabilities.drop", "does not drop all", "drop: [ALL]")
        if capabilities.get("add"):
            yield _of_context(container, "capabilities.add", f"adds {capabilities['add']}", "remove it")


def seccomp_missing(manifests: Manifests) -> Iterator[Problem]:
    """Find containers that may make any system call."""
    for container in manifests.containers:
        profile = (container.security.get("seccompProfile") or {}).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            yield _of_context(container, "seccompProfile.type", f"is {profile!r}", "set it to RuntimeDefault")


def host_access(manifests: Manifests) -> Iterator[Problem]:
    """Find pods that see the node's files, network or processes."""
    for pod in manifests.pods:
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(key):
                yield Problem(pod.document, f"{pod.spec_path}.{key}", "is the node's own", "remove it")
        for number, volume in enumerate(pod.spec.get("volumes") or ()):
            if volume.get("hostPath"):
                yield Problem(
                    pod.document,
                    f"{pod.spec_path}.volumes[{number}].hostPath",
                    "is a folder of the node",
                    "use a claim or an emptyDir",
                )


def service_account_token_mounted(manifests: Manifests) -> Iterator[Problem]:
    """Find users' code with a key to the API server; the autoscaler alone needs one."""
    for pod in manifests.pods:
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield Problem(
                pod.document,
                f"{pod.spec_path}.automountServiceAccountToken",
                "gives every container a key to the API server",
                "set it to false (mount a projected token into the autoscaler)",
            )
    for container in manifests.containers:
        for number, mount in enumerate(container.mounts):
            if mount["name"] in container.pod.token_volumes and not container.is_autoscaler:
                yield Problem(
                    container.pod.document,
                    f"{container.path}.volumeMounts[{number}]",
                    f"{mount['name']} holds a key to the API server",
                    "mount it into the autoscaler only",
                )

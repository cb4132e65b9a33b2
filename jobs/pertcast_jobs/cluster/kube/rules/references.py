"""Rules about names that must lead somewhere: volumes, claims, secrets, selectors, ports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pertcast_jobs.cluster.kube.kinds.fields import Plain
from pertcast_jobs.cluster.kube.kinds.prometheus import PodMonitorSpec, ServiceMonitorSpec
from pertcast_jobs.cluster.kube.kinds.ray import RayJobSpec
from pertcast_jobs.cluster.kube.manifests import EXTERNAL, Manifests
from pertcast_jobs.cluster.kube.objects import Container, Document, Pod
from pertcast_jobs.cluster.kube.rules.problem import Problem

_KUBERNETES_OWN: Final = ("ConfigMap", "kube-root-ca.crt")


def volume_missing(manifests: Manifests) -> Iterator[Problem]:
    """Find mounts without their volume, and volumes without their claim."""
    for container in manifests.containers:
        volumes = container.pod.volumes
        for number, mount in enumerate(container.mounts):
            if mount["name"] not in volumes:
                yield Problem(
                    container.pod.document,
                    f"{container.path}.volumeMounts[{number}].name",
                    f"the pod has no volume {mount['name']}",
                    f"its volumes: {', '.join(sorted(volumes)) or 'none'}",
                )
    for pod in manifests.pods:
        namespace = pod.document.namespace
        for number, claim in pod.claims.items() if manifests.is_whole(namespace) else ():
            if not manifests.has("PersistentVolumeClaim", claim, namespace):
                yield Problem(
                    pod.document,
                    f"{pod.spec_path}.volumes[{number}].persistentVolumeClaim.claimName",
                    f"there is no claim {claim}",
                    "add the PersistentVolumeClaim or correct the name",
                )


def claim_of_one_node(manifests: Manifests) -> Iterator[Problem]:
    """Find claims that only one node may mount and pods of more than one do: the others never start."""
    counts = dict.fromkeys(manifests.pods, 1)
    counts |= {group.pod: group.most for cluster in manifests.clusters for group in cluster.groups}
    for document in manifests.of_kind("PersistentVolumeClaim"):
        modes = document.at("spec.accessModes") or ()
        most = sum(
            count
            for pod, count in counts.items()
            if pod.document.namespace == document.namespace and document.name in pod.claims.values()
        )
        if most > 1 and not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
            yield Problem(
                document,
                "spec.accessModes",
                f"{', '.join(modes) or 'none'}; up to {most} pods mount it, on nodes of their own",
                "set [ReadWriteMany], and name a storage class that offers it",
            )


def _of_container(container: Container) -> Iterator[tuple[str, str, Plain]]:
    """Yield (path, kind, reference) of the config maps and secrets in a container's environment."""
    for number, source in enumerate(container.body.get("envFrom") or ()):
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if source.get(key):
                yield f"{container.path}.envFrom[{number}].{key}", kind, source[key]
    for number, variable in enumerate(container.body.get("env") or ()):
        for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            found = (variable.get("valueFrom") or {}).get(key)
            if found:
                yield f"{container.path}.env[{number}].valueFrom.{key}", kind, found


def _of_volumes(pod: Pod) -> Iterator[tuple[str, str, Plain]]:
    """Yield (path, kind, reference) of the config maps and secrets among a pod's volumes."""
    for number, volume in enumerate(pod.spec.get("volumes") or ()):
        path = f"{pod.spec_path}.volumes[{number}]"
        if volume.get("configMap"):
            yield f"{path}.configMap", "ConfigMap", volume["configMap"]
        if volume.get("secret"):
            secret = volume["secret"]
            yield f"{path}.secret", "Secret", {**secret, "name": secret.get("secretName")}
        for place, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            for key, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                if source.get(key):
                    yield f"{path}.projected.sources[{place}].{key}", kind, source[key]


def config_map_or_secret_missing(manifests: Manifests) -> Iterator[Problem]:
    """Find config maps and secrets that pods read and nobody makes."""
    found: list[tuple[Document, str, str, Plain]] = []
    for container in manifests.containers:
        found += [(container.pod.document, *reference) for reference in _of_container(container)]
    for pod in manifests.pods:
        found += [(pod.document, *reference) for reference in _of_volumes(pod)]
    for document, path, kind, reference in found:
        name, namespace = str(reference.get("name")), document.namespace
        if reference.get("optional") or not manifests.is_whole(namespace):
            continue
        made_elsewhere = {_KUBERNETES_OWN, *manifests.external(namespace)}
        if manifests.has(kind, name, namespace) or (kind, name) in made_elsewhere:
            continue
        yield Problem(
            document,
            path,
            f"there is no {kind} {name}",
            f"add it, or annotate an object here: {EXTERNAL}: {kind}/{name}",
        )


def _selections(manifests: Manifests) -> Iterator[tuple[Document, str, list[Any]]]:
    """Yield (object, path of its selector, what it selects) of all that select something."""
    for document in manifests.of_kind("Service"):
        selector = document.at("spec.selector")
        if selector:
            found = manifests.selected(document, {"matchLabels": selector})
            yield document, "spec.selector", found
    for document in manifests.of_kind("PodDisruptionBudget"):
        yield document, "spec.selector", manifests.selected(document, document.at("spec.selector"))
    for document in manifests.of_kind("NetworkPolicy"):
        selector = document.at("spec.podSelector")
        if selector:
            yield document, "spec.podSelector", manifests.selected(document, selector)
    for document in manifests.documents:
        if isinstance(document.spec, ServiceMonitorSpec):
            yield document, "spec.selector", manifests.watched_services(document)
        elif isinstance(document.spec, PodMonitorSpec):
            selector = document.at("spec.selector")
            yield document, "spec.selector", manifests.selected(document, selector)
        elif isinstance(document.spec, RayJobSpec) and document.spec.cluster_selector:
            path = "spec.clusterSelector"
            yield document, path, [cluster for cluster in [manifests.cluster_of(document)] if cluster]


def selector_matches_nothing(manifests: Manifests) -> Iterator[Problem]:
    """Find what selects no pod, service or cluster, and so silently does nothing."""
    for document, path, found in _selections(manifests):
        if not found and manifests.is_whole(document.namespace):
            yield Problem(
                document, path, "selects nothing that is here", "correct the labels here or those of the pods"
            )

"""The rule about ports: who names a port names one that something listens at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pertcast_jobs.cluster.kube.kinds.fields import Plain
from pertcast_jobs.cluster.kube.kinds.prometheus import PodMonitorSpec, ServiceMonitorSpec
from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.objects import Document, Pod
from pertcast_jobs.cluster.kube.rules.problem import Problem


def _unknown(document: Document, path: str, port: Any, known: set[Any]) -> Problem:
    ports = ", ".join(sorted(str(one) for one in known)) or "none"
    return Problem(document, path, f"nothing selected has the port {port}", f"ports there: {ports}")


def _ports(pods: list[Pod]) -> set[str | int]:
    return {port for pod in pods for port in pod.ports}


def _of_services(manifests: Manifests) -> Iterator[Problem]:
    for document in manifests.of_kind("Service"):
        selector = document.at("spec.selector")
        known = _ports(manifests.selected(document, {"matchLabels": selector})) if selector else set()
        for number, port in enumerate(document.at("spec.ports") or ()):
            target = port.get("targetPort", port["port"])
            if known and target not in known:
                yield _unknown(document, f"spec.ports[{number}].targetPort", target, known)


def _is_among(port: Plain, known: set[str | int]) -> bool:
    """Return whether a policy's entry names all ports, or one, or a range with one, that is known."""
    first = port.get("port")
    if first is None or first in known:
        return True
    last = port.get("endPort", 0)
    return any(isinstance(one, int) and first <= one <= last for one in known if last)


def _of_policies(manifests: Manifests) -> Iterator[Problem]:
    for document in manifests.of_kind("NetworkPolicy"):
        known = _ports(manifests.selected(document, document.at("spec.podSelector")))
        for number, rule in enumerate(document.at("spec.ingress") or ()):
            for place, port in enumerate(rule.get("ports") or ()):
                if known and not _is_among(port, known):
                    path = f"spec.ingress[{number}].ports[{place}].port"
                    yield _unknown(document, path, port["port"], known)


def _of_monitors(manifests: Manifests) -> Iterator[Problem]:
    for document in manifests.documents:
        if isinstance(document.spec, PodMonitorSpec):
            key, endpoints = "podMetricsEndpoints", document.spec.pod_metrics_endpoints
            known = _ports(manifests.selected(document, document.at("spec.selector")))
        elif isinstance(document.spec, ServiceMonitorSpec):
            key, endpoints = "endpoints", document.spec.endpoints
            known = {
                port.get("name")
                for service in manifests.watched_services(document)
                for port in service.at("spec.ports") or ()
            }
        else:
            continue
        for number, endpoint in enumerate(endpoints):
            if known and endpoint.port is not None and endpoint.port not in known:
                yield _unknown(document, f"spec.{key}[{number}].port", endpoint.port, known)


def ports_differ(manifests: Manifests) -> Iterator[Problem]:
    """Find services, network policies and monitors of ports that no selected container has."""
    yield from _of_services(manifests)
    yield from _of_policies(manifests)
    yield from _of_monitors(manifests)

"""Rules about who may talk with whom, and about pods that are moved off their node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pertcast_jobs.cluster.kube.kinds.fields import Plain
from pertcast_jobs.cluster.kube.manifests import EXTERNAL, Manifests
from pertcast_jobs.cluster.kube.ray_view import Cluster, Group
from pertcast_jobs.cluster.kube.rules.problem import Problem
from pertcast_jobs.cluster.kube.selectors import NAMESPACE_LABEL, Party, is_allowed, reaches_out, selects

_DASHBOARD_PORT: Final = 8265
_OPERATOR: Final[Mapping[str, str]] = MappingProxyType({"app.kubernetes.io/name": "kuberay-operator"})
_OPERATORS_NAMESPACE: Final = "kuberay"
"""Where docs/kubernetes.md installs the operator."""

_NAMES_PORTS: Final = (53, 5353)  # the second is OpenShift's
_API_SERVER_PORTS: Final = (443, 6443, 8443, 16443)  # as Kubernetes' distributions have it


def _denies_all(policy: Plain) -> bool:
    """Return whether a policy fences all pods, both ways, and lets nothing through."""
    return (
        not policy.get("podSelector")
        and {"Ingress", "Egress"} <= set(policy.get("policyTypes") or ())
        and not policy.get("ingress")
        and not policy.get("egress")
    )


def no_default_deny(manifests: Manifests) -> Iterator[Problem]:
    """Find namespaces whose pods may talk where no policy allows it."""
    for namespace in manifests.of_kind("Namespace"):
        has_pods = bool(manifests.pods_in(namespace.name))
        if has_pods and not any(map(_denies_all, manifests.policies(namespace.name))):
            yield Problem(
                namespace,
                "metadata.name",
                "pods may talk with everyone: no policy denies what is not allowed",
                "add a NetworkPolicy with podSelector {} and policyTypes [Ingress, Egress] alone",
            )


def _cut_off(manifests: Manifests, cluster: Cluster, group: Group, other: Group) -> str | None:
    """Return which way is closed between two groups of a cluster."""
    policies = manifests.policies(cluster.document.namespace)
    here, there = manifests.party(group.pod), manifests.party(other.pod)
    if not is_allowed(policies, "Ingress", here, there):
        return f"{group.name} takes no connection from {other.name}"
    if not is_allowed(policies, "Egress", there, here):
        return f"{other.name} may not connect to {group.name}"
    return None


def nodes_cut_off(manifests: Manifests) -> Iterator[Problem]:
    """Find Ray clusters whose nodes do not reach each other on all ports: Ray draws them at random."""
    for cluster in manifests.whole_clusters:
        pairs = [(one, other) for one in cluster.groups for other in cluster.groups]
        closed = [what for pair in pairs if (what := _cut_off(manifests, cluster, *pair))]
        if closed:
            yield Problem(
                cluster.document,
                f"{cluster.path}.headGroupSpec.template.metadata.labels",
                f"network policies part the cluster's nodes: {closed[0]}",
                "allow all ports both ways between pods that share a label of this cluster",
            )


def operator_cut_off(manifests: Manifests) -> Iterator[Problem]:
    """Find heads that the operator does not reach to submit jobs and to ask for health."""
    for cluster in manifests.whole_clusters:
        namespace = cluster.document.namespace
        named = {name for kind, name in manifests.external(namespace) if kind == "Namespace"}
        operators = [
            Party(_OPERATOR, {NAMESPACE_LABEL: name}) for name in sorted({_OPERATORS_NAMESPACE, *named})
        ]
        head = manifests.party(cluster.head.pod)
        policies = manifests.policies(namespace)
        if not any(is_allowed(policies, "Ingress", head, one, _DASHBOARD_PORT) for one in operators):
            yield Problem(
                cluster.document,
                f"{cluster.path}.headGroupSpec.template.metadata.labels",
                f"no policy lets the operator reach port {_DASHBOARD_PORT} of the head",
                "allow it from pods with app.kubernetes.io/name: kuberay-operator, of any namespace or of "
                f"{_OPERATORS_NAMESPACE}; where it is in another, annotate an object here: "
                f"{EXTERNAL}: Namespace/NAME",
            )


def _has_foreign_policies(manifests: Manifests, namespace: str) -> bool:
    """Return whether policies of a network plug-in (Cilium's, say) may open what is not read here."""
    return any(
        document.kind.endswith("NetworkPolicy") and document.group != "networking.k8s.io"
        for document in manifests.documents
        if document.namespace in (namespace, "")
    )


def names_cut_off(manifests: Manifests) -> Iterator[Problem]:
    """Find pods of Ray that can look up no name: a worker finds its head by one."""
    for cluster in manifests.whole_clusters:
        namespace = cluster.document.namespace
        policies = manifests.policies(namespace)
        if _has_foreign_policies(manifests, namespace):
            continue
        for group in cluster.groups:
            if not reaches_out(policies, manifests.party(group.pod), _NAMES_PORTS, "UDP"):
                yield Problem(
                    cluster.document,
                    f"{group.path}.template.metadata.labels",
                    "no policy lets the pods look up names",
                    "allow egress to port 53, UDP and TCP, of the cluster's DNS",
                )


def api_server_cut_off(manifests: Manifests) -> Iterator[Problem]:
    """Find autoscalers that cannot ask the API server for pods: no worker would ever come."""
    for cluster in manifests.whole_clusters:
        namespace = cluster.document.namespace
        if cluster.autoscaler is None or _has_foreign_policies(manifests, namespace):
            continue
        head = manifests.party(cluster.head.pod)
        if not reaches_out(manifests.policies(namespace), head, _API_SERVER_PORTS):
            yield Problem(
                cluster.document,
                f"{cluster.path}.headGroupSpec.template.metadata.labels",
                "no policy lets the head's autoscaler reach the API server",
                "allow egress from heads to the API server's address, ports 443 and 6443",
            )


def no_disruption_budget(manifests: Manifests) -> Iterator[Problem]:
    """Find heads that a drained node takes with it: a head holds the state of all that runs.

    Of pods that an operator makes Kubernetes knows no total: only a whole number keeps them.
    """
    for cluster in manifests.whole_clusters:
        kept = [
            budget.at("spec.minAvailable")
            for budget in manifests.of_kind("PodDisruptionBudget")
            if budget.namespace == cluster.document.namespace
            and selects(budget.at("spec.selector"), cluster.head.pod.labels)
        ]
        if not any(isinstance(least, int) and least >= 1 for least in kept):
            yield Problem(
                cluster.document,
                f"{cluster.path}.headGroupSpec.template",
                "no PodDisruptionBudget keeps the head",
                "add one that selects the head's labels, with as many minAvailable as pods may stand, "
                "such as 100 (no share; 1 lets one of two heads go while a RayService is upgraded)",
            )

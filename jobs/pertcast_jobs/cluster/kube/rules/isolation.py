"""Rules about who may talk with whom, and about pods that are moved off their node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pertcast_jobs.cluster.kube.kinds.fields import Plain
from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.ray_view import Cluster, Group
from pertcast_jobs.cluster.kube.rules.problem import Problem
from pertcast_jobs.cluster.kube.selectors import is_allowed, selects

_DASHBOARD_PORT: Final = 8265
_OPERATOR: Final[Mapping[str, str]] = MappingProxyType({"app.kubernetes.io/name": "kuberay-operator"})


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


def _cut_off(manifests: Manifests, cluster: Cluster, pod: Group, other: Group) -> str | None:
    """Return which way is closed between two groups of a cluster."""
    policies = manifests.policies(cluster.document.namespace)
    if not is_allowed(policies, "Ingress", pod.pod.labels, other.pod.labels):
        return f"{pod.name} takes no connection from {other.name}"
    if not is_allowed(policies, "Egress", other.pod.labels, pod.pod.labels):
        return f"{other.name} may not connect to {pod.name}"
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
        policies = manifests.policies(cluster.document.namespace)
        head = cluster.head.pod.labels
        if not is_allowed(policies, "Ingress", head, _OPERATOR, port=_DASHBOARD_PORT, from_outside=True):
            yield Problem(
                cluster.document,
                f"{cluster.path}.headGroupSpec.template.metadata.labels",
                f"no policy lets the operator reach port {_DASHBOARD_PORT} of the head",
                "allow it from pods with app.kubernetes.io/name: kuberay-operator of any namespace",
            )


def no_disruption_budget(manifests: Manifests) -> Iterator[Problem]:
    """Find heads that a drained node takes with it: a head holds the state of all that runs."""
    for cluster in manifests.whole_clusters:
        budgets = [
            budget
            for budget in manifests.of_kind("PodDisruptionBudget")
            if budget.namespace == cluster.document.namespace
            and selects(budget.at("spec.selector"), cluster.head.pod.labels)
        ]
        if not any(budget.at("spec.minAvailable") for budget in budgets):
            yield Problem(
                cluster.document,
                f"{cluster.path}.headGroupSpec.template",
                "no PodDisruptionBudget keeps the head",
                "add one with minAvailable: 1 that selects the head's labels",
            )

"""Which labels a selector of Kubernetes takes, and which pods network policies let talk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pertcast_jobs.cluster.kube.kinds.fields import Plain

NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
"""The label that Kubernetes itself gives to every namespace: its name."""

_LAST_PORT: Final = 65_535

Direction = Literal["Ingress", "Egress"]


def selects(selector: Plain, labels: Plain) -> bool:
    """Return whether a LabelSelector (``matchLabels``, ``matchExpressions``) takes labels; {} takes all."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for wish in selector.get("matchExpressions") or ():
        value, values = labels.get(wish["key"]), wish.get("values") or ()
        fits = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[wish["operator"]]
        if not fits:
            return False
    return True


@dataclass(frozen=True)
class Party:
    """One end of a connection.

    Attributes
    ----------
    labels
        The pod's.
    namespace
        Labels of its namespace, `NAMESPACE_LABEL` among them.
    ports
        Name and number of each of its ports -> number.
    """

    labels: Plain
    namespace: Plain
    ports: Mapping[str | int, int] = field(default_factory=dict)


def _directions(policy: Plain) -> tuple[str, ...]:
    """Return which ways a policy fences; what it does not say follows from its rules."""
    said = policy.get("policyTypes") or ()
    return (*said,) or (("Ingress", "Egress") if policy.get("egress") else ("Ingress",))


def _rules(policies: Iterable[Plain], direction: Direction, pod: Party) -> list[Plain] | None:
    """Return what a pod's policies let through one way, or None where no policy fences it."""
    key = direction.lower()
    fences = [
        policy
        for policy in policies
        if selects(policy.get("podSelector") or {}, pod.labels) and direction in _directions(policy)
    ]
    return [rule for policy in fences for rule in policy.get(key) or ()] if fences else None


def _opens(rule: Plain, port: int | None, names: Mapping[str | int, int], protocol: str = "TCP") -> bool:
    """Return whether a rule lets through to a port (None: to all); `names` are those of who listens."""
    entries = rule.get("ports") or ()
    for entry in entries:
        if (entry.get("protocol") or "TCP") != protocol:
            continue
        first = entry.get("port")
        if first is None:
            return True
        if isinstance(first, str):
            first = names.get(first, 0)
        last = entry.get("endPort", first)
        if (first <= 1 and last >= _LAST_PORT) if port is None else first <= port <= last:
            return True
    return not entries


def _takes(peer: Plain, other: Party, here: Plain) -> bool:
    """Return whether a peer of a rule is a pod; addresses are not, as pods have new ones every time.

    Parameters
    ----------
    peer
        An entry of the rule's ``from`` or ``to``.
    other
        The pod.
    here
        Labels of the policy's namespace.
    """
    if "ipBlock" in peer:
        return False
    chosen = peer.get("namespaceSelector")
    if chosen is None:
        is_there = other.namespace.get(NAMESPACE_LABEL) == here.get(NAMESPACE_LABEL)
    else:
        is_there = selects(chosen, other.namespace)
    return is_there and selects(peer.get("podSelector") or {}, other.labels)


def is_allowed(
    policies: Iterable[Plain], direction: Direction, pod: Party, other: Party, port: int | None = None
) -> bool:
    """Return whether network policies let a pod talk with another over TCP.

    Parameters
    ----------
    policies
        Specs of the NetworkPolicies of the pod's namespace.
    direction
        "Ingress": `other` opens the connection; "Egress": the pod does.
    pod, other
        The pod that the policies fence, and the other.
    port
        The port that must be open; None: all must be.
    """
    rules = _rules(policies, direction, pod)
    if rules is None:
        return True
    peers_key, listener = ("from", pod) if direction == "Ingress" else ("to", other)
    for rule in rules:
        peers = rule.get(peers_key) or ()
        is_named = not peers or any(_takes(peer, other, pod.namespace) for peer in peers)
        if is_named and _opens(rule, port, listener.ports):
            return True
    return False


def reaches_out(policies: Iterable[Plain], pod: Party, ports: Iterable[int], protocol: str = "TCP") -> bool:
    """Return whether a pod may open a connection beyond its namespace, to any of some ports.

    Who listens there is not among the manifests: any address or other namespace counts.
    """
    rules = _rules(policies, "Egress", pod)
    if rules is None:
        return True
    for rule in rules:
        peers = rule.get("to") or ()
        leads_out = not peers or any(_is_outside(peer, pod.namespace) for peer in peers)
        if leads_out and any(_opens(rule, port, {}, protocol) for port in ports):
            return True
    return False


def _is_outside(peer: Plain, here: Plain) -> bool:
    chosen = peer.get("namespaceSelector")
    return "ipBlock" in peer or (chosen is not None and (not chosen or not selects(chosen, here)))

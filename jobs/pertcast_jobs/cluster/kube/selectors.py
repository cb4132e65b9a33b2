"""Which labels a selector of Kubernetes takes, and which pods network policies let talk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pertcast_jobs.cluster.kube.kinds.fields import Plain


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


def _lets_in(peers: Sequence[Plain], labels: Plain, *, from_outside: bool) -> bool:
    """Return whether peers of a policy's rule hold pods with these labels; no peers hold everyone.

    Parameters
    ----------
    peers
        The rule's ``from`` or ``to``.
    labels
        The pod's.
    from_outside
        Whether the pod is in another namespace (whose labels are not known, so that only a selector of all
        namespaces is sure to take it).
    """
    for peer in peers:
        if "ipBlock" in peer:
            continue
        if from_outside and peer.get("namespaceSelector") is None:
            continue
        if not from_outside and peer.get("namespaceSelector"):
            continue
        if selects(peer.get("podSelector") or {}, labels):
            return True
    return not peers


def is_allowed(
    policies: Iterable[Plain],
    direction: str,
    pod: Plain,
    other: Plain,
    *,
    port: int | None = None,
    from_outside: bool = False,
) -> bool:
    """Return whether network policies let a pod talk with another.

    Parameters
    ----------
    policies
        Specs of the NetworkPolicies of the pod's namespace.
    direction
        "Ingress": `other` opens the connection; "Egress": the pod does.
    pod, other
        Labels of the pod and of the other.
    port
        The port that must be open; None: all must be.
    from_outside
        Whether the other is in another namespace.
    """
    rules_key, peers_key = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    fences = [
        policy
        for policy in policies
        if selects(policy.get("podSelector") or {}, pod)
        and direction in (policy.get("policyTypes") or ("Ingress",))
    ]
    if not fences:
        return True
    for policy in fences:
        for rule in policy.get(rules_key) or ():
            ports = [entry.get("port") for entry in rule.get("ports") or ()]
            if (not ports or (port is not None and port in ports)) and _lets_in(
                rule.get(peers_key) or (), other, from_outside=from_outside
            ):
                return True
    return False

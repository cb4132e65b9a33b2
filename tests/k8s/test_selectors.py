"""Selectors, amounts and network policies are read as Kubernetes reads them."""

from __future__ import annotations

from typing import Any

import pytest
from pertcast_jobs.cluster.kube.quantity import quantity
from pertcast_jobs.cluster.kube.selectors import NAMESPACE_LABEL, Party, is_allowed, reaches_out, selects


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("500m", 0.5),
        ("8Gi", 8 * 2**30),
        ("2Ti", 2 * 2**40),
        ("1e3", 1000),
        ("3k", 3000),
        (4, 4),
        ("0.1", 0.1),
    ],
)
def test_amounts_are_read(written: str | float, amount: float) -> None:
    assert quantity(written) == pytest.approx(amount)


@pytest.mark.parametrize("written", ["8GiB", "four", "", "1 Gi"])
def test_what_is_no_amount_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        quantity(written)


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        ({}, True),
        ({"matchLabels": {"app": "a"}}, True),
        ({"matchLabels": {"app": "a", "tier": "c"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_a_selector_takes_labels(selector: dict[str, Any], taken: bool) -> None:
    assert selects(selector, {"app": "a"}) is taken


HERE, ELSEWHERE = {NAMESPACE_LABEL: "here"}, {NAMESPACE_LABEL: "elsewhere"}
A, B = Party({"app": "a"}, HERE, {"web": 80, 80: 80}), Party({"app": "b"}, HERE)
FAR = Party({"app": "b"}, ELSEWHERE)
DENY: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
FROM_B: dict[str, Any] = {"podSelector": {"matchLabels": B.labels}}


def allow(**rule: Any) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": A.labels}, "policyTypes": ["Ingress"], "ingress": [rule]}


def lead_out(**rule: Any) -> dict[str, Any]:
    return {"podSelector": {}, "egress": [rule]}


def test_pods_talk_until_a_policy_fences_them() -> None:
    assert is_allowed([], "Ingress", A, B)
    assert not is_allowed([DENY], "Ingress", A, B)
    assert not is_allowed([DENY], "Egress", A, B)
    assert is_allowed([allow()], "Egress", A, B), "a policy of ingress fences no egress"


def test_the_directions_of_a_policy_that_names_none_follow_from_its_rules() -> None:
    assert not is_allowed([{"podSelector": {}}], "Ingress", A, B)
    assert is_allowed([{"podSelector": {}}], "Egress", A, B)
    to_b = lead_out(to=[FROM_B])
    assert is_allowed([to_b], "Egress", A, B) and not is_allowed([to_b], "Egress", B, A)


def test_a_policy_lets_in_whom_it_names() -> None:
    assert is_allowed([DENY, allow(**{"from": [FROM_B]})], "Ingress", A, B)
    assert not is_allowed([DENY, allow(**{"from": [FROM_B]})], "Ingress", A, A)


@pytest.mark.parametrize(
    ("entry", "at_80", "at_all"),
    [
        ({}, True, True),
        ({"protocol": "TCP"}, True, True),
        ({"protocol": "UDP"}, False, False),
        ({"port": 80}, True, False),
        ({"port": 81}, False, False),
        ({"protocol": "UDP", "port": 80}, False, False),
        ({"port": "web"}, True, False),
        ({"port": "other"}, False, False),
        ({"port": 70, "endPort": 90}, True, False),
        ({"port": 81, "endPort": 90}, False, False),
        ({"port": 1, "endPort": 65535}, True, True),
    ],
)
def test_a_policy_opens_the_ports_that_it_names(entry: dict[str, Any], at_80: bool, at_all: bool) -> None:
    policies = [DENY, allow(**{"from": [FROM_B], "ports": [entry]})]
    assert is_allowed(policies, "Ingress", A, B, 80) is at_80
    assert is_allowed(policies, "Ingress", A, B) is at_all


@pytest.mark.parametrize(
    ("namespaces", "here", "elsewhere"),
    [
        (None, True, False),
        ({}, True, True),
        ({"matchLabels": HERE}, True, False),
        ({"matchLabels": ELSEWHERE}, False, True),
    ],
)
def test_a_selector_of_namespaces_says_where_pods_are(
    namespaces: dict[str, Any] | None, here: bool, elsewhere: bool
) -> None:
    peer = FROM_B if namespaces is None else {**FROM_B, "namespaceSelector": namespaces}
    policies = [allow(**{"from": [peer]})]
    assert is_allowed(policies, "Ingress", A, B) is here
    assert is_allowed(policies, "Ingress", A, FAR) is elsewhere


def test_addresses_are_no_pods() -> None:
    assert not is_allowed([allow(**{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]})], "Ingress", A, B)


@pytest.mark.parametrize(
    ("rule", "leads_out"),
    [
        ({}, True),
        ({"to": [FROM_B]}, False),
        ({"to": [{"namespaceSelector": {"matchLabels": HERE}}]}, False),
        ({"to": [{"namespaceSelector": {}}]}, True),
        ({"to": [{"namespaceSelector": {"matchLabels": ELSEWHERE}}]}, True),
        ({"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}, True),
        ({"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": 53}]}, False),
        ({"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "UDP", "port": 53}]}, True),
    ],
)
def test_a_pod_reaches_out_where_a_rule_leads_beyond_its_namespace(
    rule: dict[str, Any], leads_out: bool
) -> None:
    assert reaches_out([DENY, lead_out(**rule)], A, (53,), "UDP") is leads_out
    assert reaches_out([], A, (53,), "UDP")

"""Selectors, amounts and network policies are read as Kubernetes reads them."""

from __future__ import annotations

from typing import Any

import pytest
from pertcast_jobs.cluster.kube.quantity import quantity
from pertcast_jobs.cluster.kube.selectors import is_allowed, selects


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


A, B = {"app": "a"}, {"app": "b"}
DENY: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def allow(**rule: Any) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": A}, "policyTypes": ["Ingress"], "ingress": [rule]}


def test_pods_talk_until_a_policy_fences_them() -> None:
    assert is_allowed([], "Ingress", A, B)
    assert not is_allowed([DENY], "Ingress", A, B)
    assert not is_allowed([DENY], "Egress", A, B)
    assert is_allowed([allow()], "Egress", A, B), "a policy of ingress fences no egress"


def test_a_policy_lets_in_whom_it_names_at_the_ports_that_it_names() -> None:
    from_b = {"podSelector": {"matchLabels": B}}
    assert is_allowed([DENY, allow(**{"from": [from_b]})], "Ingress", A, B)
    assert not is_allowed([DENY, allow(**{"from": [from_b]})], "Ingress", A, A)
    of_one_port = allow(**{"from": [from_b], "ports": [{"port": 80}]})
    assert is_allowed([DENY, of_one_port], "Ingress", A, B, port=80)
    assert not is_allowed([DENY, of_one_port], "Ingress", A, B, port=81)
    assert not is_allowed([DENY, of_one_port], "Ingress", A, B), "not all ports"


def test_pods_of_other_namespaces_need_a_selector_of_namespaces() -> None:
    here = allow(**{"from": [{"podSelector": {"matchLabels": B}}]})
    anywhere = allow(**{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": B}}]})
    assert not is_allowed([here], "Ingress", A, B, from_outside=True)
    assert is_allowed([anywhere], "Ingress", A, B, from_outside=True)
    assert is_allowed([anywhere], "Ingress", A, B), "this namespace is one of all"
    assert not is_allowed([allow(**{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]})], "Ingress", A, B)

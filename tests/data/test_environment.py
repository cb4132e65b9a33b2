"""A Ray started here is private and silent; what a user or a cluster has set stays."""

from __future__ import annotations

from pertcast_data.environment import prepare_environment


def test_a_local_ray_gets_a_token_and_sends_no_statistics() -> None:
    environment: dict[str, str] = {}
    prepare_environment(environment)
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert len(environment["RAY_AUTH_TOKEN"]) == 64


def test_what_is_set_stays() -> None:
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "1"}
    prepare_environment(environment)
    assert environment == {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "1"}


def test_a_given_clusters_authentication_is_its_own() -> None:
    environment = {"RAY_ADDRESS": "10.0.0.1:6379"}
    prepare_environment(environment)
    assert "RAY_AUTH_TOKEN" not in environment

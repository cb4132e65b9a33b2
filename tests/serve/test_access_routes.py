"""Every path of the interface says who may use it: an open one stands in a list, all others name a scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import httpx
import pytest
from fastapi.routing import APIRoute
from pertcast_serve.access.caller import ANONYMOUS, Forbidden, Scope
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.access.paths import needs_key
from pertcast_serve.api import make_api
from pertcast_serve.config import AccessSettings, ServeConfig
from pertcast_serve.page.pages import Pages
from pertcast_serve.services import Services

OPEN = {
    "/openapi.json",
    "/ui/static/{name}",
    "/v1/health/live",
    "/v1/health/ready",
    "/v1/session",
    "/v1/version",
    "/v2/health/live",
    "/v2/health/ready",
}
"""Paths that anyone may use, with a key or without."""
BY_ITSELF = {
    "/": "leads to the page",
    "/docs": "shows the interface to every caller, names of a model only with the scope predict",
    "/metrics": "asks for the scope admin, or the address of a trusted proxy",
    "/ui": "asks for the scope predict",
    "/ui/signature": "asks for the scope predict",
    "/ui/{view:path}": "asks for the scope predict, but to sign in",
}
"""Paths whose endpoint decides, and what it asks for."""
SCOPES: dict[str, Scope] = {
    "POST /v1/screens": "screen",
    "POST /v1/screens/estimate": "screen",
    "DELETE /v1/screens/{id}": "screen",
}
"""All others need the scope predict."""


def routes_of(routes: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, route) of all routes, those of included routers too."""
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None and not hasattr(route, "endpoint"):
            yield from routes_of(inner.routes, prefix)
        elif hasattr(route, "routes") and not hasattr(route, "endpoint"):
            yield from routes_of(route.routes, prefix + getattr(route, "path", ""))
        else:
            yield prefix + route.path, route


def scope_of(route: Any) -> str | None:
    """Return the scope that a route's dependencies ask for."""

    class Asked:
        scope = {"caller": ANONYMOUS}  # noqa: RUF012

    asked = []
    for dependency in route.dependant.dependencies:
        with pytest.raises(Forbidden) as refusal:
            dependency.call(Asked())
        asked.append(refusal.value.scope)
    return asked[0] if len(asked) == 1 else None


@pytest.fixture
def config(tiny_bundle: Path, tmp_path: Path) -> ServeConfig:
    change_keys(tmp_path / "keys.json", lambda _: (), may_create=True)
    return ServeConfig(models={"default": tiny_bundle}, access=AccessSettings(keys=tmp_path / "keys.json"))


def test_every_route_names_its_scope_or_stands_in_the_list_of_open_ones(config: ServeConfig) -> None:
    api = make_api(Services(None, None, None, None), config)  # type: ignore[arg-type]
    found = list(routes_of(api.routes))
    assert OPEN | set(BY_ITSELF) <= {path for path, _ in found}
    assert len(found) > 35
    for path, route in found:
        if path in OPEN:
            assert not needs_key(path.replace("{name}", "x")), path
            continue
        assert path == "/metrics" or needs_key(path), path
        if path in BY_ITSELF:
            continue
        assert isinstance(route, APIRoute), f"{path} has no scope"
        for method in route.methods or ():
            assert scope_of(route) == SCOPES.get(f"{method} {path}", "predict"), f"{method} {path}"


def raw_status(api: Any, method: str, path: str) -> int:
    """Return the status that a path is answered with as it is written; clients tidy paths before they ask."""
    found: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        found.extend([message["status"]] if message["type"] == "http.response.start" else [])

    scope = {
        **{"type": "http", "http_version": "1.1", "scheme": "http", "query_string": b"", "root_path": ""},
        **{"method": method, "path": unquote(path), "raw_path": path.encode()},
        **{"headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)},
    }
    anyio.run(api, scope, receive, send)
    return found[0]


def test_no_path_is_open_by_another_way_of_writing_it(config: ServeConfig) -> None:
    api = make_api(Services(None, None, None, None), config)  # type: ignore[arg-type]
    for path in (
        *("//v1/models", "/v1//models", "/v1/models/", "/V1/models", "/v1/%6dodels", "/v1/models%2f"),
        *("/v1/health/../models", "/v1/health/%2e%2e/models", "/v1/health/..%2fmodels"),
        *("/ui/static/../model", "/ui/static/%2e%2e/model", "/ui/login/", "/ui/login/../model"),
        *("/ui//login", "/ui/LOGIN", "/ui/login%20", "/ui/login;x", "/metrics/", "/openapi.json/", "/docs/"),
        *("/v1/health", "/v2/health", "/v1/session/", "/v1/version%00"),
    ):
        for method in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PROPFIND"):
            assert raw_status(api, method, path) in (401, 403, 404, 405), (method, path)


def test_the_page_is_shown_only_with_the_scope_predict(
    config: ServeConfig, client: Any, call_api: Callable[[Any], Callable[..., httpx.Response]]
) -> None:
    assert config.access.keys is not None
    made = {scope: new_key(scope, (scope,)) for scope in ("predict", "screen", "admin")}  # type: ignore[arg-type]
    change_keys(config.access.keys, lambda _: tuple(key for _, key in made.values()))
    page = Pages(client, None, None, config)  # type: ignore[arg-type]
    call = call_api(make_api(Services(client, None, None, page), config))  # type: ignore[arg-type]
    for method, path in (
        ("GET", "/ui"),
        ("GET", "/ui/perturbation"),
        ("GET", "/ui/part/perturbation"),
        ("GET", "/ui/model"),
        ("GET", "/ui/search?q=A"),
        ("POST", "/ui/signature"),
    ):
        for scope in ("screen", "admin"):
            headers = {"authorization": f"Bearer {made[scope][0]}"}
            answer = call(method, path, headers=headers)
            assert answer.status_code == 403, (scope, path)
            assert "predict" in answer.text and answer.headers["content-type"].startswith("text/html")
    headers = {"authorization": f"Bearer {made['predict'][0]}"}
    assert call("GET", "/ui/model", headers=headers).status_code == 200
    assert call("GET", "/ui/login").status_code == 200
    signed = {"authorization": f"Bearer {made['screen'][0]}"}
    assert call("GET", "/ui/login", headers=signed).status_code == 200
    # What is below the open paths of static files is no view for anyone who has not signed in.
    assert call("GET", "/ui/static/a/b").status_code in (403, 404)

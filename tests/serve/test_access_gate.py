"""Who passes the gate: keys, sessions and a proxy's users; other sites and other names never do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI, Request
from pertcast_serve.access.caller import Scope, caller_of, requires
from pertcast_serve.access.install import install_access
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.access.paths import local_path
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints import session
from pertcast_serve.problems import install_handlers
from pertcast_serve.services import Services

Call = Callable[..., httpx.Response]
NO_SERVICES = Services(predictor=None, analysis=None, screens=None, page=None)  # type: ignore[arg-type]
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PROXY = {"networks": ["10.0.0.0/8", "fd00::/8"], "scopes": ["predict"]}


def guarded(access: dict[str, Any], root_path: str = "") -> FastAPI:
    """Return a guarded interface whose paths answer with who calls."""
    config = ServeConfig.model_validate(
        {"models": {"default": "bundle"}, "access": access, "root_path": root_path}
    )
    api = FastAPI()
    session.add_routes(api, NO_SERVICES, config)
    install_handlers(api)

    async def who(request: Request) -> dict[str, str]:
        caller = caller_of(request)
        return {"id": caller.id, "name": caller.name}

    for path in ("/who", "/ui", "/ui/screens", "/ui/login", "/ui/static/a.js"):
        api.get(path)(who)
    for path in ("/v1/health/live", "/v2/health/ready", "/v1/version"):
        api.get(path)(who)
    api.post("/change")(who)
    api.post("/screen", dependencies=[requires("screen")])(who)
    install_access(api, config)
    return api


def caller(
    api: FastAPI, address: str = "127.0.0.1", host: str = "http://127.0.0.1:8000", root_path: str = ""
) -> Call:
    def call(method: str, path: str, **options: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(api, False, root_path, (address, 5000))
            async with httpx.AsyncClient(transport=transport, base_url=host) as client:
                return await client.request(method, path, **options)

        return anyio.run(once)

    return call


def key_of(path: Path, scopes: Sequence[Scope] = ("predict",), days: int | None = None) -> str:
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    text, key = new_key("Ada", scopes, expires)
    change_keys(path, lambda before: (*before, key), may_create=True)
    return text


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"])


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_key_is_taken_from_either_header_or_the_cookie(keys: Path) -> None:
    key = key_of(keys)
    call = caller(guarded({"keys": keys}))
    for headers in (
        bearer(key),
        {"authorization": f"bearer {key}"},
        {"x-api-key": key},
        {"cookie": f"a=b; pertcast_key={key}"},
    ):
        assert call("GET", "/who", headers=headers).json() == {"id": key.split("_")[1], "name": "Ada"}


def test_without_a_valid_key_every_path_but_the_open_ones_is_refused(keys: Path) -> None:
    valid = key_of(keys)
    expired = key_of(keys, days=-1)
    revoked = key_of(keys)
    now = datetime.now(UTC)
    change_keys(keys, lambda all_: (*all_[:2], all_[2].model_copy(update={"revoked": now})))
    call = caller(guarded({"keys": keys}))
    assert call("GET", "/who", headers=bearer(valid)).status_code == 200
    unknown = valid[:-4] + ("0000" if valid[-4:] != "0000" else "1111")
    for headers, reason in (
        ({}, "No key was given"),
        (bearer(""), "no key of this server"),
        (bearer("letmein"), "no key of this server"),
        ({"authorization": "Basic YTpi"}, "No key was given"),
        (bearer(unknown), "unknown"),
        (bearer(expired), "expired"),
        (bearer(revoked), "revoked"),
        ({"x-forwarded-user": "ada"}, "No key was given"),
    ):
        double = "http://127.0.0.1:8000//v1/version"
        for path in ("/who", "/nothing", "/docs", "/v1/session/x", "/ui/loginx", "/v1/healthy", double):
            answer = call("GET", path, headers=headers)
            assert reason in problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert valid not in answer.text
        for path in (
            "/v1/health/live",
            "/v2/health/ready",
            "/v1/version",
            "/openapi.json",
            "/ui/login",
            "/ui/static/a.js",
        ):
            assert call("GET", path, headers=headers).status_code == 200


def test_a_scope_that_the_key_lacks_is_refused(keys: Path) -> None:
    key, other = key_of(keys), key_of(keys, ["screen"])
    call = caller(guarded({"keys": keys}))
    assert "'screen'" in problem(call("POST", "/screen", headers=bearer(key)), 403)
    assert call("POST", "/screen", headers=bearer(other)).status_code == 200


def test_a_proxy_names_users_from_its_own_addresses_only(keys: Path) -> None:
    api = guarded({"trusted_proxy": PROXY})
    named = {"x-forwarded-user": "ada@lab"}
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::7"):
        answer = caller(api, address)("GET", "/who", headers=named)
        assert answer.json() == {"id": "proxy:ada@lab", "name": "ada@lab"}
    for address in ("127.0.0.1", "11.0.0.1", "fe80::1", "unix"):
        problem(caller(api, address)("GET", "/who", headers=named), 401)
    inside = caller(api, "10.1.2.3")
    assert "'screen'" in problem(inside("POST", "/screen", headers=named), 403)
    for bad in ("", " ", "x" * 201, "a\tb"):
        problem(inside("GET", "/who", headers={"x-forwarded-user": bad}), 401)
    twice = [("x-forwarded-user", "ada"), ("x-forwarded-user", "root")]
    problem(inside("GET", "/who", headers=twice), 401)
    problem(inside("GET", "/who"), 401)


def test_an_address_that_the_request_itself_claims_is_no_proxy() -> None:
    """As behind a server that takes the client's address from X-Forwarded-For."""
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    behind = ProxyHeadersMiddleware(guarded({"trusted_proxy": PROXY}), "127.0.0.1")  # type: ignore[arg-type]
    call = caller(behind)  # type: ignore[arg-type]
    for claimed in ("10.1.2.3", "10.1.2.3:80", "1.1.1.1, 10.1.2.3", "fd00::7", "[fd00::7]:80"):
        problem(call("GET", "/who", headers={"x-forwarded-user": "root", "x-forwarded-for": claimed}), 401)
    proxy = caller(behind, "10.1.2.3")  # type: ignore[arg-type]
    named = {"x-forwarded-user": "ada", "x-forwarded-for": "192.168.7.7"}
    assert proxy("GET", "/who", headers=named).json()["name"] == "ada"


def test_a_key_of_ours_goes_before_the_proxys_user_and_a_token_of_the_proxys_does_not(keys: Path) -> None:
    key = key_of(keys)
    call = caller(guarded({"keys": keys, "trusted_proxy": PROXY}), "10.1.2.3")
    named = {"x-forwarded-user": "grace"}
    assert call("GET", "/who", headers={**named, **bearer(key)}).json()["name"] == "Ada"
    assert call("GET", "/who", headers={**named, **bearer("eyJhbGciOi")}).json()["name"] == "grace"
    problem(call("GET", "/who", headers={**named, **bearer(key[:-1])}), 401)


CROSS_SITE = (
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example"},
    {"origin": "http://127.0.0.1:9999"},
    {"origin": "null"},
    {"origin": "http://["},
)
OWN_SITE = (
    {},
    {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"},
    {"sec-fetch-site": "none"},
    {"origin": "http://127.0.0.1:8000"},
)


def test_another_sites_page_changes_nothing_with_the_browsers_cookie_or_login(keys: Path) -> None:
    key = key_of(keys)
    session_headers = {"cookie": f"pertcast_key={key}"}
    by_cookie = caller(guarded({"keys": keys}))
    by_proxy = caller(guarded({"trusted_proxy": PROXY}), "10.1.2.3")
    open_server = caller(guarded({}))
    for call, headers in (
        (by_cookie, session_headers),
        (by_proxy, {"x-forwarded-user": "ada"}),
        (open_server, {}),
    ):
        for site in CROSS_SITE:
            assert "Another site" in problem(call("POST", "/change", headers={**headers, **site}), 403)
            assert call("GET", "/who", headers={**headers, **site}).status_code == 200
        for site in OWN_SITE:
            assert call("POST", "/change", headers={**headers, **site}).status_code == 200
    # A key in a header is none that another site could make a browser send.
    for site in CROSS_SITE:
        assert by_cookie("POST", "/change", headers={**bearer(key), **site}).status_code == 200
        login = by_cookie("POST", "/v1/session", headers=site, json={"key": key})
        assert login.status_code == 403
        assert "set-cookie" not in login.headers


def test_an_open_server_answers_to_the_loopbacks_names_only() -> None:
    api = guarded({})
    for host in ("127.0.0.1:8000", "127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000"):
        answer = caller(api)("GET", "/who", headers={"host": host})
        assert answer.json() == {"id": "local", "name": "local"}
    for host in ("evil.example", "127.0.0.1.evil.example:8000", "localhost.evil", "", "[", "10.0.0.1"):
        for path in ("/who", "/ui", "/openapi.json", "/metrics"):
            assert "no login" in problem(caller(api)("GET", path, headers={"host": host}), 403)
        assert caller(api)("GET", "/v1/health/live", headers={"host": host}).status_code == 200


def test_an_open_server_answers_to_no_one_from_elsewhere_whatever_name_they_say() -> None:
    api = guarded({})
    for address in ("10.1.2.3", "fe80::1", "203.0.113.9", "::ffff:10.1.2.3"):
        assert "no login" in problem(caller(api, address)("GET", "/who"), 403)
        assert caller(api, address)("GET", "/v1/health/live").status_code == 200
    for address in ("127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"):
        assert caller(api, address)("GET", "/who").status_code == 200
    # A proxy of this machine that passes on who asks, but logs no one in.
    passed_on = {"x-forwarded-for": "203.0.113.9"}
    assert "no login" in problem(caller(api)("GET", "/who", headers=passed_on), 403)
    here = {"x-forwarded-for": "127.0.0.1"}
    assert caller(api)("GET", "/who", headers=here).status_code == 200


def test_a_guarded_server_answers_to_any_name(keys: Path) -> None:
    key = key_of(keys)
    call = caller(guarded({"keys": keys}), host="https://pertcast.lab.example")
    assert call("GET", "/who", headers=bearer(key)).status_code == 200


def test_a_browser_is_sent_to_log_in_and_back_to_what_it_asked_for(keys: Path) -> None:
    key_of(keys)
    call = caller(guarded({"keys": keys}))
    for asked, back in (
        ("/ui", "/ui"),
        ("/ui/screens?id=a%20b&x=1", "/ui/screens%3Fid%3Da%2520b%26x%3D1"),
        ("/ui//evil.example", "/ui//evil.example"),
    ):
        answer = call("GET", asked, headers=HTML)
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/ui/login?next={back}"
        assert "set-cookie" not in answer.headers
    problem(call("GET", "/ui/screens"), 401)
    problem(call("POST", "/ui/screens", headers=HTML), 401)
    problem(call("GET", "/ui/screens", headers={**HTML, "hx-request": "true"}), 401)
    problem(call("GET", "/who", headers=HTML), 401)
    problem(call("GET", "http://127.0.0.1:8000//evil.example/ui", headers=HTML), 401)


def test_the_redirect_keeps_the_path_that_a_proxy_serves_us_under(keys: Path) -> None:
    key = key_of(keys)
    call = caller(guarded({"keys": keys}, root_path="/pertcast"), root_path="/pertcast")
    for asked in ("/ui/screens", "/pertcast/ui/screens"):
        answer = call("GET", asked, headers=HTML)
        assert answer.headers["location"] == "/pertcast/ui/login?next=/pertcast/ui/screens"
    assert call("GET", "/pertcast/v1/version").status_code == 200
    problem(call("GET", "/pertcast/who"), 401)
    assert call("GET", "/pertcast/who", headers=bearer(key)).status_code == 200


def test_a_link_from_elsewhere_is_asked_for_again_so_that_the_strict_cookie_comes_along(keys: Path) -> None:
    key = key_of(keys)
    call = caller(guarded({"keys": keys}))
    by_link = {**HTML, "sec-fetch-site": "cross-site"}
    first = call("GET", "/ui/screens?id=1", headers=by_link)
    assert first.status_code == 200
    assert 'http-equiv="refresh" content="0"' in first.text
    again = {**HTML, "sec-fetch-site": "same-origin"}
    assert call("GET", "/ui/screens?id=1", headers=again).status_code == 303
    with_cookie = {**again, "cookie": f"pertcast_key={key}"}
    assert call("GET", "/ui/screens?id=1", headers=with_cookie).json()["name"] == "Ada"
    stale = {**by_link, "cookie": "pertcast_key=old"}
    assert call("GET", "/ui/screens", headers=stale).status_code == 303


def test_the_document_says_how_keys_are_sent_and_which_paths_need_none(keys: Path) -> None:
    key_of(keys)
    call = caller(guarded({"keys": keys}))
    for _ in range(2):
        document = call("GET", "/openapi.json").json()
    assert document["security"] == [{"bearer": []}, {"header": []}, {"session": []}]
    assert document["components"]["securitySchemes"]["header"]["name"] == "X-API-Key"
    assert {
        path for path, methods in document["paths"].items() if methods.get("get", {}).get("security") == []
    } == {
        "/v1/health/live",
        "/v2/health/ready",
        "/v1/version",
        "/ui/login",
        "/ui/static/a.js",
    }
    assert "security" not in caller(guarded({}))("GET", "/openapi.json").json()


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "", "/\t/evil", "/\n//e", "/ü"],
)
def test_no_one_is_sent_to_another_server(wanted: str) -> None:
    assert local_path(wanted) == "/ui"
    assert local_path("/ui/screens?id=1") == "/ui/screens?id=1"


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(keys: Path) -> None:
    key = key_of(keys)
    api = guarded({"keys": keys})
    answer = caller(api)("POST", "/v1/session", json={"key": f" {key}\n"})
    assert answer.status_code == 200
    assert answer.json() == {"name": "Ada", "scopes": ["predict"]}
    cookie = answer.headers["set-cookie"]
    words = {word.strip().lower() for word in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= words
    assert "secure" not in words
    assert cookie.startswith(f"pertcast_key={key};")
    assert answer.headers["cache-control"] == "no-store"
    for https in (
        caller(api, host="https://pertcast.example")("POST", "/v1/session", json={"key": key}),
        caller(api)("POST", "/v1/session", json={"key": key}, headers={"x-forwarded-proto": "https"}),
    ):
        assert "secure" in https.headers["set-cookie"].lower()


def test_behind_a_proxys_path_the_key_is_sent_to_this_server_alone(keys: Path) -> None:
    key = key_of(keys)
    call = caller(guarded({"keys": keys}, root_path="/pertcast"), root_path="/pertcast")
    answers = (call("POST", "/v1/session", json={"key": key}), call("DELETE", "/v1/session"))
    for answer in answers:
        assert "Path=/pertcast;" in f"{answer.headers['set-cookie']};"


def test_a_session_ends_and_none_begins_without_a_valid_key(keys: Path) -> None:
    key = key_of(keys)
    call = caller(guarded({"keys": keys}))
    ended = call("DELETE", "/v1/session", headers={"cookie": f"pertcast_key={key}"})
    assert ended.status_code == 204
    assert 'pertcast_key=""' in ended.headers["set-cookie"]
    assert "max-age=0" in ended.headers["set-cookie"].lower()
    for body in ({"key": key[:-1]}, {"key": "x"}):
        refused = call("POST", "/v1/session", json=body)
        problem(refused, 401)
        assert "set-cookie" not in refused.headers
    for body in ({}, {"key": ""}, {"key": 7}, {"key": "x" * 201}, {"key": key, "more": 1}):
        problem(call("POST", "/v1/session", json=body), 422)
    problem(caller(guarded({}))("POST", "/v1/session", json={"key": key}), 401)

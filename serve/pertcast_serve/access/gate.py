"""The gate of the server: who may pass, who is sent to log in, and who is refused."""

from __future__ import annotations

from typing import Final

from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pertcast_serve.access import paths
from pertcast_serve.access.caller import ANONYMOUS
from pertcast_serve.access.cross_site import is_from_another_site, names_loopback
from pertcast_serve.access.identity import Identity, comes_from_here, key_in_cookie, key_in_headers
from pertcast_serve.access.key_ring import Unauthorized
from pertcast_serve.problems import problem_response
from pertcast_serve.schemas.base import Problem

CHALLENGE: Final = 'Bearer realm="pertcast"'
_AGAIN: Final = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>Pertcast</title>'
)


class Gate:
    """ASGI middleware: sets scope["caller"], or answers 401, 403 or a redirect to the login.

    Parameters
    ----------
    app
        What is guarded.
    identity
        Finds out who calls.
    root_path
        Path that a proxy serves this server under.
    """

    def __init__(self, app: ASGIApp, identity: Identity, root_path: str = "") -> None:
        self._app = app
        self._identity = identity
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = await self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Return why a request is refused; None where it may pass, with its caller in `scope`."""
        headers, path = Headers(scope=scope), paths.path_of(scope)
        if self._identity.is_open and not paths.is_probe(path) and not _is_here(scope, headers):
            return _forbidden(
                "This server has no login and answers only this machine, as http://127.0.0.1, localhost and "
                "[::1]. Use one of these names on it, or start it with a file of keys (pertcast key create)."
            )
        if key_in_headers(headers) is None and is_from_another_site(scope["method"], headers):
            return _forbidden(
                "Another site's page sent this. Use the server's own page, or send a key as "
                "`Authorization: Bearer KEY`."
            )
        try:
            scope["caller"] = await self._identity.caller_of(scope, headers)
        except Unauthorized as error:
            scope["caller"] = ANONYMOUS
            if paths.needs_key(path):
                return self._login(scope, headers) or _unauthorized(str(error))
        return None

    def _login(self, scope: Scope, headers: Headers) -> Response | None:
        """Return what takes a person to the login; None for programs, and parts that the page asks for."""
        is_navigation = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if not is_navigation or not paths.is_page(paths.path_of(scope)) or "hx-request" in headers:
            return None
        came_by_link = headers.get("sec-fetch-site") == "cross-site"
        if came_by_link and key_in_cookie(headers) is None:
            # A link elsewhere does not carry the strict cookie. Asked for again from here, it does.
            return HTMLResponse(_AGAIN)
        return RedirectResponse(paths.login_path(scope, self._root_path), 303)


def _is_here(scope: Scope, headers: Headers) -> bool:
    """Return whether a request comes from this machine, under a name of this machine."""
    return names_loopback(headers) and comes_from_here(scope, headers)


def _forbidden(detail: str) -> Response:
    return problem_response(Problem(title="Not permitted", status=403, detail=detail))


def _unauthorized(detail: str) -> Response:
    problem = Problem(title="No valid key", status=401, detail=detail)
    return problem_response(problem, {"WWW-Authenticate": CHALLENGE})

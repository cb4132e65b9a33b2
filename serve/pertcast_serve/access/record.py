"""What every answer carries and leaves behind: a request id, security headers, an audit line, a count."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pertcast_serve.access.audit import AuditLog
from pertcast_serve.access.caller import ANONYMOUS, Caller
from pertcast_serve.access.paths import is_page, path_of
from pertcast_serve.metrics import count_request
from pertcast_serve.problems import failure_response

REQUEST_ID: Final = "X-Request-Id"
PAGE_POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
REPORT_POLICY: Final = "sandbox allow-scripts allow-popups allow-downloads; frame-ancestors 'self'"
"""HTML among a screen's files draws itself with scripts, and must not act for the one who reads it."""

_ALWAYS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
_STATIC: Final = "/ui/static/"
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_FACTS: Final = ("model", "rows")


def plain_id(brought: str) -> str:
    """Return the id that a request brings where it is plain, else a new one."""
    return brought if _PLAIN_ID.fullmatch(brought) else secrets.token_hex(16)


def route_of(scope: Scope) -> str:
    """Return the template of the route that answered: few, whatever callers ask for."""
    template = getattr(scope.get("route"), "path", None)
    if template is not None:
        return str(template)
    return f"{_STATIC}{{path}}" if path_of(scope).startswith(_STATIC) else "unmatched"


def _security_headers(path: str, media_type: str) -> Mapping[str, str]:
    headers = dict(_ALWAYS)
    if is_page(path):
        headers["Content-Security-Policy"] = PAGE_POLICY
    elif media_type.startswith("text/html") and path.startswith("/v1/"):
        headers["Content-Security-Policy"] = REPORT_POLICY
    if not path.startswith(_STATIC):
        # A cache between us and the callers must not hand the answer to one key to another.
        headers["Cache-Control"] = "private, no-cache"
    return headers


@dataclass
class _Answer:
    """What is known of an answer as it is sent."""

    status: int = 0
    size: int = 0
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began


class Record:
    """ASGI middleware, the outermost: sees every answer as it goes out, refusals and failures too.

    Parameters
    ----------
    app
        What is recorded.
    audit
        Where a line a call goes; None for none.
    is_behind_serve
        Whether Ray Serve's proxy adds the request's own id to the answer, where it must not stand twice.
    """

    def __init__(self, app: ASGIApp, audit: AuditLog | None, is_behind_serve: bool = False) -> None:
        self._app = app
        self._audit = audit
        self._is_behind_serve = is_behind_serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        brought = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = plain_id(brought)
        is_added = self._is_behind_serve and request_id == brought
        scope["request_id"] = request_id
        facts: dict[str, Any] = {}
        scope["audit"] = facts
        answer = _Answer()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                headers = MutableHeaders(scope=message)
                if not is_added:
                    headers[REQUEST_ID] = request_id
                for name, value in _security_headers(path_of(scope), headers.get("content-type", "")).items():
                    headers.setdefault(name, value)
            elif message["type"] == "http.response.body":
                answer.size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            # Once an answer has begun, only a broken connection tells that it is not whole.
            if answer.status:
                raise
            # Starlette's own answer would come from outside of us: without the id, and unrecorded.
            await failure_response(path_of(scope), error)(scope, receive, sent)
        finally:
            await self._finish(scope, answer, facts)

    async def _finish(self, scope: Scope, answer: _Answer, facts: Mapping[str, Any]) -> None:
        route, seconds = route_of(scope), answer.seconds
        # 499: the caller went away before an answer began.
        status = answer.status or 499
        count_request(route, status, seconds)
        if self._audit is None:
            return
        caller: Caller = scope.get("caller", ANONYMOUS)
        await self._audit.write(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "request_id": scope["request_id"],
                "key": caller.id,
                "caller": caller.name,
                "method": scope["method"],
                "route": route,
                "path": path_of(scope),
                **{fact: facts.get(fact) for fact in _FACTS},
                "status": status,
                "seconds": round(seconds, 6),
                "bytes": answer.size,
            }
        )

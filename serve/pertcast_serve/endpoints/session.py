"""Logging a browser in and out: its key travels in a cookie that no script can read."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request, Response

from pertcast_serve.access.identity import COOKIE, Identity
from pertcast_serve.access.key_ring import Unauthorized
from pertcast_serve.access.paths import SESSION
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints.problem_schemas import PROBLEMS
from pertcast_serve.problems import Refused
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.session import Session, SessionRequest
from pertcast_serve.services import Services

SECONDS_KEPT: Final = 30 * 24 * 3600


def _cookie_options(request: Request, root_path: str) -> dict[str, Any]:
    """Return how the cookie is kept: other servers below the same name do not get it."""
    forwarded = request.headers.get("x-forwarded-proto", "")
    is_https = "https" in (request.url.scheme, forwarded)
    return {"httponly": True, "samesite": "strict", "secure": is_https, "path": root_path or "/"}


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""

    async def log_in(request: Request, response: Response, body: SessionRequest) -> Session:
        """Keep a key in a cookie of this browser; every later request still needs the key to be valid."""
        identity: Identity = request.app.state.identity
        try:
            caller = await identity.caller_with(body.key.strip())
        except Unauthorized as error:
            problem = Problem(title="No valid key", status=401, detail=str(error))
            raise Refused(problem) from error
        response.set_cookie(
            COOKIE, body.key.strip(), max_age=SECONDS_KEPT, **_cookie_options(request, config.root_path)
        )
        response.headers["Cache-Control"] = "no-store"
        return Session(name=caller.name, scopes=sorted(caller.scopes))

    async def log_out(request: Request, response: Response) -> None:
        """Forget the key of this browser."""
        response.delete_cookie(COOKIE, **_cookie_options(request, config.root_path))

    refusals: dict[int | str, dict[str, Any]] = {
        status: PROBLEMS[status] for status in (401, 403, 413, 422, 429, 503)
    }
    api.post(SESSION, responses=refusals)(log_in)
    kept: dict[int | str, dict[str, Any]] = {status: refusals[status] for status in (403, 413, 429, 503)}
    api.delete(SESSION, status_code=204, responses=kept)(log_out)

"""Metrics for Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from pertcast_serve.access.caller import ANONYMOUS, Forbidden, caller_of
from pertcast_serve.access.gate import CHALLENGE
from pertcast_serve.access.identity import Identity
from pertcast_serve.access.paths import METRICS
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints.problem_schemas import PROBLEMS
from pertcast_serve.exported_metrics import MEDIA_TYPE, exported
from pertcast_serve.problems import problem_response
from pertcast_serve.schemas.base import Problem
from pertcast_serve.services import Services

_DETAIL = (
    "Send a key with scope admin, or scrape from an address of access.trusted_proxy.networks in the server's "
    "settings."
)


def _is_scraper(request: Request) -> bool:
    """Return whether a request comes from the trusted networks, on no user's behalf."""
    identity: Identity = request.app.state.identity
    proxy, headers = identity.proxy, request.headers
    return proxy is not None and proxy.is_peer(request.scope, headers) and not proxy.names_user(headers)


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""

    async def metrics(request: Request) -> Response:
        """Return counts of all processes of the server, as Prometheus reads them."""
        caller = caller_of(request)
        if not caller.is_admin and not _is_scraper(request):
            if caller is not ANONYMOUS:
                raise Forbidden("admin")
            problem = Problem(title="No valid key", status=401, detail=_DETAIL)
            return problem_response(problem, {"WWW-Authenticate": CHALLENGE})
        return Response(await exported(), headers={"Content-Type": MEDIA_TYPE})

    responses: dict[int | str, dict[str, Any]] = {code: PROBLEMS[code] for code in (401, 403, 429, 503)}
    responses[200] = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics"}
    api.get(METRICS, response_class=PlainTextResponse, responses=responses)(metrics)

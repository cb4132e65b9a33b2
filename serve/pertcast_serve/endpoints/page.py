"""The page and its static files; no part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

from pertcast_serve.access.caller import Caller, caller_of
from pertcast_serve.config import ServeConfig
from pertcast_serve.page.assets import asset, asset_names
from pertcast_serve.page.html import render
from pertcast_serve.page.pages import PART, framed_page
from pertcast_serve.page.views.signature_asked import VIEW as SIGNATURE
from pertcast_serve.page.views.signature_asked import permalink_of
from pertcast_serve.problems import RETRY_AFTER_S
from pertcast_serve.services import Services

FIRST_VIEW: Final = "perturbation"
LOGIN_VIEW: Final = "login"
_FOREVER: Final = "public, max-age=31536000, immutable"
_LONGEST_VALUE: Final = 100_000
_MOST_FIELDS: Final = 100


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""

    async def root() -> Response:
        return RedirectResponse(f"{config.root_path}/ui", 307)

    async def static(request: Request, name: str) -> Response:
        if name not in asset_names():
            raise HTTPException(404, f"There is no file {name[:100]!r}")
        # Plotly is compressed when it is first asked for, which takes a while.
        return await anyio.to_thread.run_sync(_static, request, name)

    async def first(request: Request) -> Response:
        return await page(request, FIRST_VIEW)

    async def page(request: Request, view: str) -> Response:
        parameters = {name: value[:_LONGEST_VALUE] for name, value in request.query_params.items()}
        return await shown(request, view, parameters)

    async def shown(request: Request, view: str, parameters: Mapping[str, str]) -> Response:
        named = f"{PART}{view}" if _wants_part(request) and not view.startswith(PART) else view
        caller = caller_of(request)
        if not _may_see(caller, view):
            return _not_permitted(caller.name, config.root_path, is_part=named.startswith(PART))
        status, html = await services.page.render(named, parameters, caller)
        headers = {"Cache-Control": "private, no-cache", "Vary": "HX-Request"}
        if status in (429, 503):
            headers["Retry-After"] = str(RETRY_AFTER_S)
        return HTMLResponse(html, status, headers=headers)

    async def sent_signature(request: Request) -> Response:
        """Answer a form that was too long for an address: by its permalink, where it has one."""
        if not _may_see(caller_of(request), SIGNATURE):
            return await shown(request, SIGNATURE, {})
        try:
            sent = parse_qsl((await request.body()).decode(), max_num_fields=_MOST_FIELDS, errors="strict")
        except ValueError as error:
            raise HTTPException(422, f"The form cannot be read ({error})") from error
        parameters = dict(sent)
        permalink = await anyio.to_thread.run_sync(permalink_of, parameters)
        if permalink is not None:
            return RedirectResponse(f"{config.root_path}{permalink}", 303)
        return await shown(request, SIGNATURE, parameters)

    api.get("/", include_in_schema=False)(root)
    api.get("/ui", include_in_schema=False)(first)
    api.get("/ui/static/{name}", include_in_schema=False)(static)
    api.post("/ui/signature", include_in_schema=False)(sent_signature)
    api.get("/ui/{view:path}", include_in_schema=False)(page)


def _may_see(caller: Caller, view: str) -> bool:
    """Return whether a view may be shown: it shows what the interface answers to the scope predict."""
    return "predict" in caller.scopes or view == LOGIN_VIEW


def _not_permitted(caller_name: str, root_path: str, is_part: bool) -> Response:
    """Return that the caller's key does not open the page, with a way to sign in with another one."""
    detail = "This needs a key with the scope 'predict'. Ask an administrator for one, and sign in with it."
    body = render("problem.html", title="Not permitted", detail=detail)
    html = body if is_part else framed_page(body, "Not permitted", "", caller_name, root_path)
    return HTMLResponse(html, 403, headers={"Cache-Control": "private, no-cache", "Vary": "HX-Request"})


def _wants_part(request: Request) -> bool:
    """Return whether htmx asks for a part, not for the whole page to restore its history."""
    return "hx-request" in request.headers and "hx-history-restore-request" not in request.headers


def _static(request: Request, name: str) -> Response:
    """Return a static file, compressed where the browser takes it; 304 where it has it already."""
    file = asset(name)
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
    tag = f'"{file.version}{"-gzip" if takes_gzip else ""}"'
    is_versioned = request.query_params.get("v") == file.version
    headers = {
        "Cache-Control": _FOREVER if is_versioned else "no-cache",
        "ETag": tag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if takes_gzip:
        return Response(
            file.compressed, media_type=file.media_type, headers=headers | {"Content-Encoding": "gzip"}
        )
    return Response(file.content, media_type=file.media_type, headers=headers)

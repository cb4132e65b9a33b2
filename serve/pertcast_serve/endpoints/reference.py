"""The reference of the interface at /docs, with curl and Python for every path."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from pertcast_serve.access.caller import caller_of
from pertcast_serve.analysis import trained
from pertcast_serve.config import ServeConfig
from pertcast_serve.page.pages import framed_page
from pertcast_serve.problems import Unavailable
from pertcast_serve.reference.document import tidy_document
from pertcast_serve.reference.examples import ExampleNames
from pertcast_serve.reference.page import reference_html
from pertcast_serve.schemas.base import Problem
from pertcast_serve.services import PredictorClient, Services

PATH: Final = "/docs"
_PLAIN_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject, and make the document that they show tidy."""
    tidy_document(api)
    kept: dict[tuple[str, ExampleNames], str] = {}

    async def reference(request: Request) -> HTMLResponse:
        caller = caller_of(request)
        names = ExampleNames()
        if "predict" in caller.scopes:
            names = await _names(services.predictor, config)
        origin = _origin(request, config.root_path)
        if (origin, names) not in kept:
            if len(kept) >= 8:
                kept.clear()
            kept[origin, names] = await asyncio.to_thread(
                reference_html, api.openapi(), origin, names, config.access.is_open
            )
        html = framed_page(kept[origin, names], "Interface", "docs", caller.name, config.root_path)
        return HTMLResponse(html, headers={"Cache-Control": "private, no-cache"})

    api.get(PATH, include_in_schema=False)(reference)


async def _names(predictor: PredictorClient, config: ServeConfig) -> ExampleNames:
    """Return names that the first model knows, so that examples can be sent as they are."""
    try:
        vocabulary, card = await predictor.vocabulary(None), await predictor.card(None)
    except Unavailable:
        return ExampleNames()
    if isinstance(vocabulary, Problem) or isinstance(card, Problem):
        return ExampleNames()
    return ExampleNames.of(
        vocabulary,
        model=card.id,
        version=card.version,
        library=next(iter(config.libraries), trained.NAME),
        gene_sets=next(iter(config.gene_sets), None),
    )


def _origin(request: Request, root_path: str) -> str:
    """Return the address that the reader reached, for examples to be copied."""
    host = request.headers.get("host", "")
    if not _PLAIN_HOST.fullmatch(host):
        host = "127.0.0.1:8000"
    is_https = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", ""))
    return f"{'https' if is_https else 'http'}://{host}{root_path}"

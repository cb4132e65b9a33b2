"""Screens as jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

import polars as pl
from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from pertcast_serve.access.caller import caller_of, requires
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints.problem_schemas import PROBLEMS
from pertcast_serve.negotiation import MEDIA_TYPES, TABLES, accepted, answer_rows
from pertcast_serve.problems import MEDIA_TYPE, or_refused, problem_response
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import (
    MAX_PAGE_ROWS,
    ArtifactList,
    HitPage,
    HitRow,
    Screen,
    ScreenEstimate,
    ScreenList,
    ScreenRequest,
    StoredResponse,
)
from pertcast_serve.screens.event_stream import MEDIA_TYPE as EVENTS
from pertcast_serve.screens.event_stream import event_id, event_stream
from pertcast_serve.screens.hits import HitColumn, HitFilter
from pertcast_serve.screens.ranges import file_bytes, wanted_part
from pertcast_serve.screens.service import ScreenService
from pertcast_serve.screens.states import is_ended
from pertcast_serve.screens.stored import StoredFile
from pertcast_serve.services import Services

Id = Annotated[str, Path(max_length=100, description="Id of a screen.")]
Offset = Annotated[int, Query(ge=0, le=10**9)]

_TABLE_DTYPES: Final = {int: pl.Int64, float: pl.Float64, str: pl.String}


def _problem_schema(text: str) -> dict[str, Any]:
    return {"content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}, "description": text}


CONFLICT: Final[dict[int | str, dict[str, Any]]] = {409: _problem_schema("Not in this state")}
"""What a screen answers to what its state does not allow."""


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""
    screens = services.screens
    _add_life(api, screens, config.root_path)
    _add_events(api, screens)
    _add_results(api, screens)
    _add_artifacts(api, screens)
    if screens is not None and config.screens.folder is not None:
        _look_after_screens(api, screens)


def _look_after_screens(api: FastAPI, screens: ScreenService) -> None:
    """Resume and count screens for as long as the interface runs."""
    before = api.router.lifespan_context

    @asynccontextmanager
    async def watched(application: Any) -> AsyncIterator[Any]:
        async with before(application) as state:
            watch = asyncio.create_task(screens.watch(), name="watch-screens")
            try:
                yield state
            finally:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch

    api.router.lifespan_context = watched


def _add_life(api: FastAPI, screens: ScreenService, root_path: str) -> None:
    async def submit(
        request: Request,
        response: Response,
        body: ScreenRequest,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    ) -> Screen:
        """Begin a screen: it is checked and estimated, then runs as a job that outlives this server."""
        found = or_refused(await screens.submit(body, caller_of(request), idempotency_key))
        request.scope.get("audit", {}).update(model=found.model, rows=found.n_profiles)
        response.headers["Location"] = f"{root_path}/v1/screens/{found.id}"
        return found

    async def estimate(body: ScreenRequest) -> ScreenEstimate:
        """Return what a screen would compute and take; nothing is begun."""
        return or_refused(await screens.estimate(body))

    async def list_screens(
        request: Request, offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=200)] = 50
    ) -> ScreenList:
        """Return the caller's screens, the newest first; administrators see all."""
        return or_refused(await screens.list(caller_of(request), offset, limit))

    async def get(request: Request, id: Id) -> Screen:
        """Return a screen and how far it is."""
        return or_refused(await screens.get(id, caller_of(request)))

    async def cancel(request: Request, id: Id) -> Screen:
        """Cancel a screen that is queued or running; its job is ended."""
        return or_refused(await screens.cancel(id, caller_of(request)))

    may_screen, may_read = [requires("screen")], [requires("predict")]
    api.post("/v1/screens", status_code=202, responses={**PROBLEMS, **CONFLICT}, dependencies=may_screen)(
        submit
    )
    api.post("/v1/screens/estimate", responses=PROBLEMS, dependencies=may_screen)(estimate)
    api.get("/v1/screens", responses=PROBLEMS, dependencies=may_read)(list_screens)
    api.get("/v1/screens/{id}", responses=PROBLEMS, dependencies=may_read)(get)
    api.delete("/v1/screens/{id}", responses={**PROBLEMS, **CONFLICT}, dependencies=may_screen)(cancel)


def _add_events(api: FastAPI, screens: ScreenService) -> None:
    async def events(
        request: Request, id: Id, last_event_id: Annotated[str | None, Header(max_length=100)] = None
    ) -> Response:
        """Follow a screen by server-sent events: progress, and at the end finished, failed or cancelled.

        Each event's data is the screen as GET /v1/screens/{id} returns it.
        """
        caller = caller_of(request)
        screen = or_refused(await screens.get(id, caller))
        if is_ended(screen) and last_event_id == event_id(screen):
            # A browser comes back when the stream ends; this tells it to stay away.
            return Response(status_code=204)
        states = or_refused(await screens.events(id, caller))
        return StreamingResponse(
            event_stream(states, request.is_disconnected),
            media_type=EVENTS,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    fields = {name: {"type": "string"} for name in ("event", "id", "data")}
    event = {"type": "object", "properties": fields, "required": list(fields)}
    described: dict[int | str, dict[str, Any]] = {
        200: {"content": {EVENTS: {"schema": event}}, "description": "Events until the end"},
        204: {"description": "The final event was received before"},
    }
    api.get(
        "/v1/screens/{id}/events",
        responses={**PROBLEMS, **described},
        response_class=StreamingResponse,
        dependencies=[requires("predict")],
    )(events)


def _hit_table(page: HitPage) -> pl.DataFrame:
    """Return the rows of a page as a table whose types do not hang on what the page holds."""
    schema = {}
    for name, field in HitRow.model_fields.items():
        kinds = [kind for kind in _TABLE_DTYPES if kind.__name__ in str(field.annotation)]
        schema[name] = _TABLE_DTYPES[kinds[0]]
    return pl.DataFrame([row.model_dump() for row in page.rows], schema=schema)


def _add_results(api: FastAPI, screens: ScreenService) -> None:
    async def hits(
        request: Request,
        id: Id,
        offset: Offset = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE_ROWS)] = 50,
        sort: HitColumn = "rank",
        descending: bool = False,
        text: Annotated[str, Query(max_length=200)] = "",
        cell_iname: Annotated[str | None, Query(max_length=200)] = None,
        pert_type: Annotated[str | None, Query(max_length=20)] = None,
        only_hits: bool = False,
        max_fdr: Annotated[float | None, Query(ge=0, le=1)] = None,
    ) -> Response:
        """Return a page of the ranked hits; as a table with the number of all that fit in X-Total-Count."""
        accepted(request)
        filters = HitFilter(text, cell_iname, pert_type, only_hits, max_fdr)
        page = or_refused(
            await screens.hits(id, caller_of(request), offset, limit, sort, descending, filters)
        )
        request.scope.get("audit", {}).update(rows=len(page.rows))
        answer = await asyncio.to_thread(lambda: answer_rows(request, page, _hit_table(page)))
        answer.headers["X-Total-Count"] = str(page.n_hits)
        return answer

    async def profile(
        request: Request, id: Id, sig_id: Annotated[str, Path(max_length=1200)]
    ) -> StoredResponse:
        """Return one profile of a finished screen."""
        return or_refused(await screens.profile(id, caller_of(request), sig_id))

    tables = {name: {"schema": {"type": "string", "format": "binary"}} for name in TABLES}
    answers = {**PROBLEMS, **CONFLICT}
    may_read = [requires("predict")]
    api.get(
        "/v1/screens/{id}/hits",
        response_model=HitPage,
        responses={**answers, 200: {"content": tables, "description": "A page of hits"}},
        dependencies=may_read,
    )(hits)
    api.get("/v1/screens/{id}/profiles/{sig_id:path}", responses=answers, dependencies=may_read)(profile)


def _disposition(name: str, media_type: str) -> str:
    """Return how a browser treats a file: reports are shown, all else is saved under its name."""
    plain = PurePosixPath(name).name.encode("ascii", "replace").decode().replace('"', "_").replace("\\", "_")
    return f'{"inline" if media_type.startswith("text/html") else "attachment"}; filename="{plain}"'


def _file_response(request: Request, file: StoredFile) -> Response:
    """Return a file, a part of it, or that the client has it already."""
    artifact = file.artifact
    tag = f'"{artifact.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": _disposition(artifact.name, artifact.media_type),
    }
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    is_same = request.headers.get("if-range", tag) == tag
    part = wanted_part(request.headers.get("range") if is_same else None, artifact.bytes)
    if part is None:
        detail = f"{artifact.name} has {artifact.bytes:,} bytes. Ask for a range that begins among them."
        problem = Problem(title="No such range", status=416, detail=detail)
        return problem_response(problem, {**headers, "Content-Range": f"bytes */{artifact.bytes}"})
    headers["Content-Length"] = str(part.stop - part.start)
    if not part.is_whole:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{artifact.bytes}"
    status = 200 if part.is_whole else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=artifact.media_type)
    return StreamingResponse(
        file_bytes(file.path, part), status_code=status, headers=headers, media_type=artifact.media_type
    )


def _add_artifacts(api: FastAPI, screens: ScreenService) -> None:
    async def artifacts(request: Request, id: Id) -> ArtifactList:
        """Return the files of a finished screen."""
        return ArtifactList(artifacts=or_refused(await screens.artifacts(id, caller_of(request))))

    async def artifact(request: Request, id: Id, name: Annotated[str, Path(max_length=1000)]) -> Response:
        """Return a file of a finished screen; a part of it by Range, nothing where If-None-Match fits."""
        return _file_response(request, or_refused(await screens.artifact(id, caller_of(request), name)))

    binary = {"schema": {"type": "string", "format": "binary"}}
    content = dict.fromkeys((*MEDIA_TYPES, "text/html", "text/plain", "application/octet-stream"), binary)
    files: dict[int | str, dict[str, Any]] = {
        200: {"content": content, "description": "The file"},
        206: {"content": content, "description": "The part that Range asks for"},
        304: {"description": "Not changed"},
        416: _problem_schema("The range lies outside of the file"),
    }
    answers = {**PROBLEMS, **CONFLICT}
    may_read = [requires("predict")]
    api.get("/v1/screens/{id}/artifacts", responses=answers, dependencies=may_read)(artifacts)
    for method in (api.get, api.head):
        method(
            "/v1/screens/{id}/artifacts/{name:path}",
            responses={**answers, **files},
            response_class=Response,
            dependencies=may_read,
        )(artifact)

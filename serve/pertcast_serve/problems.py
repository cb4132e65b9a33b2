"""Errors as RFC 9457 problem+json: every answer that is no result says what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pertcast_data.errors import nearest_known, nearest_sentence
from starlette.exceptions import HTTPException

from pertcast_serve.access.caller import Forbidden, Scope
from pertcast_serve.schemas.base import Problem

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
_SHOWN = 20
_LONGEST_FIELD = 200


class Unavailable(Exception):
    """The predictor cannot take the request now: overloaded, or its replicas are being replaced."""


class Refused(Exception):
    """A request that is answered with a problem.

    Parameters
    ----------
    problem
        The answer.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


Answer = TypeVar("Answer")


def or_refused(found: Answer | Problem) -> Answer:
    """Return an answer; raises Refused where it is a problem."""
    if isinstance(found, Problem):
        raise Refused(found)
    return found


def unknown_name(kind: str, name: str, known: Iterable[str], remedy: str) -> Problem:
    """Return the 404 of a name that this server does not know, with the nearest that it does.

    Parameters
    ----------
    kind
        What the name should be of, in words: "model", "library".
    name
        What was asked for.
    known
        All that would have been found.
    remedy
        A sentence: where all are listed, or what else can be done.
    """
    near = nearest_known(name, known)
    shown = _printable(name)
    detail = f"There is no {kind} {shown!r} here.{nearest_sentence(near)} {remedy}"
    errors = [{"field": kind, "value": shown, "suggestions": near}]
    return Problem(title=f"Unknown {kind}", status=404, detail=detail, errors=errors)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem as an answer; overload answers carry Retry-After (seconds)."""
    extra = dict(headers or {})
    if problem.status in (429, 503):
        extra.setdefault("Retry-After", str(RETRY_AFTER_S))
    return JSONResponse(problem.model_dump(), problem.status, headers=extra, media_type=MEDIA_TYPE)


def _printable(text: str) -> str:
    """Return text that can be written as UTF-8, cut to a readable length."""
    return text[:_LONGEST_FIELD].encode("utf-8", "backslashreplace").decode()


def _without_inputs(error: RequestValidationError) -> list[dict[str, Any]]:
    """Return the validation errors without the offending values, which may be huge or not JSON."""
    return [
        {
            "field": _printable(".".join(str(part) for part in item["loc"])),
            "message": _printable(str(item["msg"])),
        }
        for item in error.errors()[:_SHOWN]
    ]


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = _without_inputs(error)
    detail = f"{errors[0]['field']}: {errors[0]['message']}. See /openapi.json for the schema."
    title = "Request does not fit the schema"
    return problem_response(Problem(title=title, status=422, detail=detail, errors=errors))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    remedies = {
        400: "Send one JSON object, encoded as UTF-8.",
        404: "/openapi.json lists all paths.",
        405: "/openapi.json lists the methods of each path.",
    }
    detail = " ".join((f"{error.detail}.".replace("..", "."), remedies.get(error.status_code, ""))).strip()
    problem = Problem(title="Request refused", status=error.status_code, detail=detail)
    return problem_response(problem, error.headers)


def not_permitted(scope: Scope) -> Problem:
    """Return the 403 of a caller whose key lacks a scope."""
    detail = f"This key has no scope {scope!r}. Ask an administrator for a key with it."
    return Problem(title="Not permitted", status=403, detail=detail)


def not_now(error: Unavailable) -> Problem:
    """Return the 503 that says why, and when to ask again."""
    detail = f"{error} Retry after {RETRY_AFTER_S} s."
    return Problem(title="Not available now", status=503, detail=detail)


async def _on_unavailable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Unavailable)
    return problem_response(not_now(error))


async def _on_refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return problem_response(error.problem)


async def _on_forbidden(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Forbidden)
    return problem_response(not_permitted(error.scope))


def failure_response(path: str, error: Exception) -> JSONResponse:
    """Return the answer to a request that we failed on, and log why."""
    log.error("request failed", exc_info=error, extra={"path": path})
    detail = "The server failed on this request; its log has the reason. Please report it with the request."
    return problem_response(Problem(title="Server failure", status=500, detail=detail))


async def _on_failure(request: Request, error: Exception) -> JSONResponse:
    return failure_response(request.url.path, error)


def install_handlers(api: FastAPI) -> None:
    """Make `api` answer every error as problem+json."""
    api.add_exception_handler(RequestValidationError, _on_validation)
    api.add_exception_handler(HTTPException, _on_http)
    api.add_exception_handler(Unavailable, _on_unavailable)
    api.add_exception_handler(Refused, _on_refused)
    api.add_exception_handler(Forbidden, _on_forbidden)
    api.add_exception_handler(Exception, _on_failure)

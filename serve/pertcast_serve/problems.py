"""Errors as RFC 9457 problem+json: every answer that is no result says what to do."""

from __future__ import annotations

import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pertcast_data.errors import PertcastError
from ray.serve.exceptions import BackPressureError, RayServeException
from starlette.exceptions import HTTPException

from pertcast_serve.schemas import Problem

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


def problem_response(
    status: int, title: str, detail: str, errors: list[dict[str, Any]] | None = None
) -> JSONResponse:
    """Return a problem as an answer; overload answers carry Retry-After (seconds)."""
    body = Problem(title=title, status=status, detail=detail, errors=errors or [])
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else None
    return JSONResponse(body.model_dump(), status, headers=headers, media_type=MEDIA_TYPE)


def _without_inputs(error: RequestValidationError) -> list[dict[str, Any]]:
    """Return the validation errors without the offending values, which may be huge or not JSON."""
    shown = []
    for item in error.errors()[:20]:
        place = ".".join(str(part) for part in item["loc"])
        shown.append({"field": place, "message": str(item["msg"])})
    return list(jsonable_encoder(shown))


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = _without_inputs(error)
    detail = f"{errors[0]['field']}: {errors[0]['message']}. See /openapi.json for the schema."
    return problem_response(422, "Request does not fit the schema", detail, errors)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem_response(error.status_code, "Request refused", str(error.detail))


async def _on_pertcast(request: Request, error: Exception) -> JSONResponse:
    return problem_response(422, "Request cannot be answered", str(error))


async def _on_overload(request: Request, error: Exception) -> JSONResponse:
    return problem_response(503, "Overloaded", f"All replicas are busy; retry after {RETRY_AFTER_S} s.")


def install_handlers(api: FastAPI) -> None:
    """Make `api` answer every error as problem+json."""
    api.add_exception_handler(RequestValidationError, _on_validation)
    api.add_exception_handler(HTTPException, _on_http)
    api.add_exception_handler(PertcastError, _on_pertcast)
    api.add_exception_handler(BackPressureError, _on_overload)
    api.add_exception_handler(RayServeException, _on_overload)


def finite_or_none(value: float | None) -> float | None:
    """Return a JSON number, None for a missing or non-finite one."""
    return None if value is None or not math.isfinite(value) else float(value)

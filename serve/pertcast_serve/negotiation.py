"""Answers in the media type that a request accepts: JSON by default, tables as Arrow, Parquet or CSV too."""

from __future__ import annotations

import io
from typing import Final

import polars as pl
from fastapi import Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

JSON: Final = "application/json"
ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"
CSV: Final = "text/csv"
TABLES: Final = (ARROW, PARQUET, CSV)
MEDIA_TYPES: Final = (JSON, *TABLES)


def accepted(request: Request) -> str:
    """Return the media type of `MEDIA_TYPES` that the Accept header prefers; raises HTTPException 406."""
    header = request.headers.get("accept", "*/*")
    best, best_weight = "", 0.0
    for part in header.split(","):
        name, *options = (piece.strip().lower() for piece in part.split(";"))
        weight = _weight(options)
        for media_type in MEDIA_TYPES:
            kind = media_type.split("/", 1)[0]
            if name in (media_type, f"{kind}/*", "*/*") and weight > best_weight:
                best, best_weight = media_type, weight
                break
    if not best:
        raise HTTPException(406, f"Accept {header[:100]!r} fits no answer. Use {', '.join(MEDIA_TYPES)}")
    return best


def _weight(options: list[str]) -> float:
    for option in options:
        if option.startswith("q="):
            try:
                return float(option[2:])
            except ValueError:
                return 0.0
    return 1.0


def table_bytes(table: pl.DataFrame, media_type: str) -> bytes:
    """Return a table in a media type of `TABLES`."""
    buffer = io.BytesIO()
    if media_type == ARROW:
        table.write_ipc_stream(buffer)
    elif media_type == PARQUET:
        table.write_parquet(buffer)
    else:
        table.write_csv(buffer)
    return buffer.getvalue()


def answer_rows(request: Request, body: BaseModel, table: pl.DataFrame) -> Response:
    """Return `body` as JSON, or its rows as the table that the request accepts."""
    media_type = accepted(request)
    if media_type == JSON:
        return Response(body.model_dump_json(), media_type=JSON)
    return Response(table_bytes(table, media_type), media_type=media_type)

"""Enrichment, connectivity and neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import polars as pl
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from pertcast_serve.access.caller import caller_of, requires
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints.problem_schemas import PROBLEMS
from pertcast_serve.negotiation import JSON, TABLES, accepted, answer_rows
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.analysis import (
    ConnectivityRequest,
    ConnectivityResponse,
    ConnectivityRow,
    EnrichmentRequest,
    EnrichmentResponse,
    EnrichmentRow,
    GeneSetCollection,
    LibrarySummary,
    NeighborRow,
    NeighborsRequest,
    NeighborsResponse,
)
from pertcast_serve.services import Services

_TYPES = (("bool", pl.Boolean), ("int", pl.Int64), ("float", pl.Float64))


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""

    async def enrichment(request: Request, body: EnrichmentRequest) -> Response:
        """Return the gene sets of one profile: predicted now, stored in a library, or given."""
        accepted(request)
        found = or_refused(await services.analysis.enrichment(body, caller_of(request)))
        return await asyncio.to_thread(_answer, request, found, found.rows, EnrichmentRow)

    async def connectivity(request: Request, body: ConnectivityRequest) -> Response:
        """Return what mimics and what reverses a signature, of one library: predicted or measured."""
        accepted(request)
        found = or_refused(await services.analysis.connectivity(body, caller_of(request)))
        return await asyncio.to_thread(_answer, request, found, found.rows, ConnectivityRow)

    async def neighbors(request: Request, body: NeighborsRequest) -> Response:
        """Return the nearest and the most opposite profiles of one profile, by cosine."""
        accepted(request)
        found = or_refused(await services.analysis.neighbors(body, caller_of(request)))
        return await asyncio.to_thread(_answer, request, found, found.rows, NeighborRow)

    async def gene_sets() -> list[GeneSetCollection]:
        """Return the collections of gene sets that enrichment may name."""
        return await services.analysis.gene_sets()

    async def libraries(request: Request) -> list[LibrarySummary]:
        """Return the libraries that questions may name; the caller's finished screens are among them."""
        return await services.analysis.libraries(caller_of(request))

    may_predict = [requires("predict")]
    tables = {name: {"schema": {"type": "string", "format": "binary"}} for name in TABLES}
    answers: dict[int | str, dict[str, Any]] = {**PROBLEMS, 200: {"content": tables}}
    for path, answer, schema in (
        ("/v1/enrichment", enrichment, EnrichmentResponse),
        ("/v1/connectivity", connectivity, ConnectivityResponse),
        ("/v1/neighbors", neighbors, NeighborsResponse),
    ):
        api.post(path, response_model=schema, responses=answers, dependencies=may_predict)(answer)
    api.get("/v1/gene_sets", responses=PROBLEMS, dependencies=may_predict)(gene_sets)
    api.get("/v1/libraries", responses=PROBLEMS, dependencies=may_predict)(libraries)


def _answer(
    request: Request, body: BaseModel, rows: Sequence[BaseModel], schema: type[BaseModel]
) -> Response:
    """Return an answer in the media type that is accepted; long ones take too long for the event loop."""
    table = pl.DataFrame() if accepted(request) == JSON else rows_table(rows, schema)
    return answer_rows(request, body, table)


def rows_table(rows: Sequence[BaseModel], schema: type[BaseModel]) -> pl.DataFrame:
    """Return rows as a table with the columns of their schema, also where there is none.

    Lists become text, joined by ";", as in the tables of a screen.
    """
    columns = {name: _dtype(str(field.annotation)) for name, field in schema.model_fields.items()}
    flat = [
        {
            name: ";".join(value) if isinstance(value, list) else value
            for name, value in row.model_dump().items()
        }
        for row in rows
    ]
    return pl.DataFrame(flat, schema=columns)


def _dtype(annotation: str) -> type[pl.DataType]:
    return next((dtype for word, dtype in _TYPES if word in annotation), pl.String)

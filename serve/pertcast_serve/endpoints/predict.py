"""Predictions."""

from __future__ import annotations

import time

from fastapi import FastAPI, Request, Response

from pertcast_serve.access.caller import requires
from pertcast_serve.config import Limits, ServeConfig
from pertcast_serve.endpoints.problem_schemas import PROBLEMS
from pertcast_serve.metrics import observe_predict_latency
from pertcast_serve.negotiation import JSON, TABLES, accepted
from pertcast_serve.problems import Refused, or_refused
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.predict import PredictRequest, PredictResponse
from pertcast_serve.services import PredictedBody, Services

ERRORS_HEADER = "X-Pertcast-Errors"
"""Conditions of the request that a table lacks; JSON lists them."""


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""
    default_model = next(iter(config.models))

    async def predict(request: Request, body: PredictRequest) -> Response:
        """Predict conditions; unknown names come back as errors with the nearest known ones."""
        media_type = accepted(request)
        require_within(config.limits, body)
        model = body.model or default_model
        request.scope.get("audit", {}).update(model=model, rows=len(body.conditions))
        began = time.perf_counter()
        content = or_refused(await services.predictor.predict(body, media_type))
        observe_predict_latency(model, time.perf_counter() - began)
        headers = {}
        if media_type != JSON and isinstance(content, PredictedBody):
            headers[ERRORS_HEADER] = str(content.n_errors)
        return Response(content, media_type=media_type, headers=headers)

    binary = {"type": "string", "format": "binary"}
    api.post(
        "/v1/predict",
        response_model=PredictResponse,
        responses={**PROBLEMS, 200: {"content": {name: {"schema": binary} for name in TABLES}}},
        dependencies=[requires("predict")],
    )(predict)


def require_within(limits: Limits, body: PredictRequest) -> None:
    """Raise Refused for more conditions or genes than this server takes."""
    for what, count, most in (
        ("conditions", len(body.conditions), limits.conditions),
        ("genes", len(body.genes or ()), limits.genes),
    ):
        if count > most:
            detail = f"The request has {count} {what}; this server takes {most}. Send it in parts."
            raise Refused(Problem(title="Request is too large", status=422, detail=detail))

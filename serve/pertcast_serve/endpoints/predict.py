"""Predictions."""

from __future__ import annotations

import time

from fastapi import FastAPI, Request, Response

from pertcast_serve.access.caller import requires
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints.problem_schemas import PROBLEMS, or_problem
from pertcast_serve.metrics import observe_predict_latency
from pertcast_serve.negotiation import accepted
from pertcast_serve.schemas.predict import PredictRequest, PredictResponse
from pertcast_serve.services import Services


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""
    default_model = next(iter(config.models))

    async def predict(request: Request, body: PredictRequest) -> Response:
        """Predict conditions; unknown names come back as errors with the nearest known ones."""
        media_type = accepted(request)
        model = body.model or default_model
        request.scope.get("audit", {}).update(model=model, rows=len(body.conditions))
        began = time.perf_counter()
        content = or_problem(await services.predictor.predict(body, media_type))
        observe_predict_latency(model, time.perf_counter() - began)
        return Response(content, media_type=media_type)

    api.post(
        "/v1/predict",
        response_model=PredictResponse,
        responses=PROBLEMS,
        dependencies=[requires("predict")],
    )(predict)

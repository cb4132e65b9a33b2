"""The HTTP interface as a FastAPI application over any services; it knows nothing of Ray."""

from __future__ import annotations

from fastapi import FastAPI
from pertcast import __version__

from pertcast_serve.access.install import install_access
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints import (
    analysis,
    inference,
    metrics,
    models,
    page,
    predict,
    reference,
    screens,
    session,
)
from pertcast_serve.problems import install_handlers
from pertcast_serve.reference.document import operation_id
from pertcast_serve.services import Services

SUBJECTS = (models, predict, analysis, screens, inference, page, reference, session, metrics)


def make_api(services: Services, config: ServeConfig) -> FastAPI:
    """Return the HTTP interface; its documents need no remote assets."""
    api = FastAPI(
        title="Pertcast",
        version=__version__,
        description="Predicted responses of cells to drugs and genetic perturbations.",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    for subject in SUBJECTS:
        subject.add_routes(api, services, config)
    install_handlers(api)
    install_access(api, config)
    return api

"""The deployment that speaks HTTP: it holds no weights."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from pertcast_serve.api import make_api
from pertcast_serve.config import ServeConfig
from pertcast_serve.deployments.analysis import AnalysisReplicas
from pertcast_serve.deployments.client import ReplicaClient
from pertcast_serve.deployments.page import PageReplicas
from pertcast_serve.deployments.screens import screen_service
from pertcast_serve.services import Services


@serve.deployment
@serve.ingress()
class Ingress:
    """Validates requests and hands them to the other deployments.

    Parameters
    ----------
    predictor, analysis, page
        Handles of the other deployments.
    config
        Settings of the server.
    """

    def __init__(
        self,
        predictor: DeploymentHandle[Any],
        analysis: DeploymentHandle[Any],
        page: DeploymentHandle[Any],
        config: ServeConfig,
    ) -> None:
        self._handles = predictor, analysis, page
        self._config = config

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the HTTP interface; Ray Serve calls this in the replica, after the constructor."""
        predictor, analysis, page = self._handles
        client = ReplicaClient(predictor, self._config)
        services = Services(
            predictor=client,
            analysis=AnalysisReplicas(analysis),
            screens=screen_service(self._config, client),
            page=PageReplicas(page),
        )
        return make_api(services, self._config)

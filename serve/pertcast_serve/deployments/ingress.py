"""The deployment that speaks HTTP: it holds no weights."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from pertcast_serve.api import make_api
from pertcast_serve.config import ServeConfig
from pertcast_serve.deployments.client import ReplicaClient
from pertcast_serve.screens.service import ScreenService
from pertcast_serve.services import Services


@serve.deployment
@serve.ingress()
class Ingress:
    """Validates requests and hands them to the other deployments.

    Parameters
    ----------
    predictor
        Handle of the predictor.
    config
        Settings of the server.
    """

    def __init__(self, predictor: DeploymentHandle[Any], config: ServeConfig) -> None:
        self._predictor = predictor
        self._config = config

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the HTTP interface; Ray Serve calls this in the replica, after the constructor."""
        client = ReplicaClient(self._predictor, self._config)
        services = Services(client, analysis=None, screens=ScreenService(), page=None)  # type: ignore[arg-type]
        return make_api(services, self._config)

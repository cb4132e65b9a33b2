"""The deployment that renders the page, apart from the ingress: figures delay no request. And its caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from pertcast_serve.access.caller import ANONYMOUS, Caller
from pertcast_serve.config import ServeConfig
from pertcast_serve.deployments.analysis import AnalysisReplicas
from pertcast_serve.deployments.calls import ask_replicas
from pertcast_serve.deployments.client import ReplicaClient
from pertcast_serve.deployments.screens import screen_service
from pertcast_serve.page.pages import Pages


@serve.deployment
class Page:
    """Renders views.

    Parameters
    ----------
    predictor, analysis
        Handles of the deployments that views ask.
    config
        Settings of the server.
    """

    def __init__(
        self, predictor: DeploymentHandle[Any], analysis: DeploymentHandle[Any], config: ServeConfig
    ) -> None:
        client = ReplicaClient(predictor, config)
        screens = screen_service(config, client) if config.screens.folder is not None else None
        self._pages = Pages(client, AnalysisReplicas(analysis), screens, config)

    async def render(
        self, view: str, parameters: Mapping[str, str], caller: Caller = ANONYMOUS
    ) -> tuple[int, str]:
        """Return (HTTP status, HTML) of a view by its name."""
        return await self._pages.render(view, parameters, caller)


class PageReplicas:
    """Calls `Page`; satisfies `services.PageClient`.

    Parameters
    ----------
    page
        Handle of the deployment.
    """

    def __init__(self, page: DeploymentHandle[Any]) -> None:
        self._page = page

    async def render(
        self, view: str, parameters: Mapping[str, str], caller: Caller = ANONYMOUS
    ) -> tuple[int, str]:
        """Return (HTTP status, HTML) of a view by its name."""
        found: tuple[int, str] = await ask_replicas(self._page.render, view, dict(parameters), caller)
        return found

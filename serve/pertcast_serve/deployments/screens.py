"""The screens of a server whose screens are jobs of the Ray that it runs on."""

from __future__ import annotations

from pertcast_serve.config import ServeConfig
from pertcast_serve.prediction.registered import RegisteredModels
from pertcast_serve.screens.ray_jobs import RayJobs
from pertcast_serve.screens.service import ScreenService


def screen_service(config: ServeConfig, models: RegisteredModels) -> ScreenService:
    """Return the screens; without a folder for them it answers each question with a problem."""
    return ScreenService(config, RayJobs(config.screens.jobs_address), models.registry)

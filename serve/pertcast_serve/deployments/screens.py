"""The screens of a server, run as its settings say."""

from __future__ import annotations

from pertcast_serve.config import ServeConfig
from pertcast_serve.prediction.registered import RegisteredModels
from pertcast_serve.screens.jobs import ScreenJobs
from pertcast_serve.screens.process_jobs import ProcessJobs
from pertcast_serve.screens.ray_jobs import RayJobs
from pertcast_serve.screens.service import ScreenService

JOBS = ".jobs"
"""In the folder of the screens: no screen has such an id."""


def screen_service(config: ServeConfig, models: RegisteredModels) -> ScreenService:
    """Return the screens; without a folder for them it answers each question with a problem."""
    return ScreenService(config, _jobs(config), models.registry)


def _jobs(config: ServeConfig) -> ScreenJobs:
    settings = config.screens
    if settings.runner == "processes" and settings.folder is not None:
        return ProcessJobs(settings.folder / JOBS)
    return RayJobs(settings.jobs_address)

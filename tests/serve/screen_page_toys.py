"""A server of one tiny bundle that keeps screens and has the page; its jobs run where the test says."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from local_predictor import LocalPredictor
from pertcast_serve.api import make_api
from pertcast_serve.config import Limits, ScreenSettings, ServeConfig
from pertcast_serve.page.pages import Pages
from pertcast_serve.schemas.analysis import GeneSetCollection
from pertcast_serve.screens.jobs import JobState
from pertcast_serve.screens.service import ScreenService
from pertcast_serve.services import Services

ESTIMATE = {
    "n_perturbations": 12,
    "n_profiles": 48,
    "n_refused": 0,
    "n_repeated": 0,
    "profiles_per_second": 1000.0,
    "seconds": 2.0,
    "workers": 1,
    "disk_bytes": 5000,
}
ESTIMATES = (sys.executable, "-S", "-c", f"print('''{json.dumps(ESTIMATE)}''')")
"""Stands for `pertcast screen --dry-run`, and answers at once."""
PERTCAST = ("env", "OMP_NUM_THREADS=1", sys.executable, "-m", "pertcast_jobs")


class JobsHere:
    """Runs a screen in this process, to its end, when it is submitted."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def submit(self, job: str, argv: Sequence[str]) -> None:
        from pertcast_jobs.cli import run

        self.codes[job] = run(argv)

    def status(self, job: str) -> JobState:
        if job not in self.codes:
            return "unknown"
        return "succeeded" if self.codes[job] == 0 else "failed"

    def stop(self, job: str) -> None:
        """Nothing runs on."""

    def log_tail(self, job: str) -> str:
        return ""


class NoGeneSets:
    """An analysis that holds no gene sets."""

    async def gene_sets(self) -> list[GeneSetCollection]:
        return []


def screen_server(
    bundle: Path, folder: Path | None, jobs: Any, estimates: Sequence[str] = ESTIMATES, **limits: Any
) -> tuple[FastAPI, ScreenService]:
    """Return a server with its page, and its screens; none are kept where there is no folder."""
    config = ServeConfig(
        models={"default": bundle},
        screens=ScreenSettings(folder=folder),
        limits=Limits(**limits),
    )
    client, analysis = LocalPredictor(config, bundle), NoGeneSets()
    screens = ScreenService(config, jobs, client.registry, estimates)
    page = Pages(client, analysis, screens, config)  # type: ignore[arg-type]
    services = Services(predictor=client, analysis=analysis, screens=screens, page=page)  # type: ignore[arg-type]
    return make_api(services, config), screens

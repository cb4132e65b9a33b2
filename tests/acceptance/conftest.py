"""What trainings that are disturbed are compared with, made once."""

from __future__ import annotations

import pytest
import ray_faults as faults
from pertcast_jobs.run_folder import RunFolder


@pytest.fixture(scope="session")
def screen(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return faults.make_screen(tmp_path_factory.mktemp("screen"))


@pytest.fixture(scope="session")
def undisturbed(screen: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of two workers that nothing befell."""
    run = faults.two_workers(screen, tmp_path_factory.mktemp("runs") / "undisturbed")
    run.finish()
    return run.run

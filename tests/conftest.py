"""Fixtures for every room: where the real files are, and one Ray for the whole session."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return the path of a real file; the test is skipped where the files are not at hand."""
    root = Path(os.environ.get("PERTCAST_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"real file {name} is not at hand (set PERTCAST_SHARED_DATA)")
        return path

    return find


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """One local Ray for all tests of the session; tests that use it run in this process, one at a time."""
    from pertcast_jobs.ray_session import ray_session

    with ray_session(num_cpus=2) as session:
        yield session

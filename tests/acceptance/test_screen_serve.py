"""One screen on Ray Serve: its replicas go from one to two and back, and what is written is the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import ray
from compound_screens import doses, train_wide
from pertcast.screens.manifest import read_manifest
from pertcast_jobs.screen.executors import Resources
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import ScreenRequest
from pertcast_jobs.screen.run import run_screen
from ray import serve

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> ScreenRequest:
    folder = tmp_path_factory.mktemp("screen_serve")
    files = train_wide(folder, 1024, 8)
    return ScreenRequest(
        kind="compounds",
        model=folder / "run",
        library=files.library,
        gmt=files.gene_sets,
        doses=doses(300),
        settings=ScreenSettings(kind="compounds", shard_rows=256),
    )


def hashes(out: Path) -> Mapping[str, str]:
    return {name: sha256((out / name).read_bytes()).hexdigest() for name in read_manifest(out)["files"]}


def test_one_screen_scales_its_replicas_from_one_to_two_and_back_beside_another_application(
    ray_cluster: Any, screen: ScreenRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Other:
        def __call__(self) -> str:
            return "still here"

    serve.start(proxy_location="Disabled")
    try:
        other = serve.run(Other.bind(), name="other", route_prefix=None)
        caplog.set_level(logging.INFO, logger="pertcast_jobs.screen.served_shards")
        notes: list[str] = []
        run_screen(
            screen,
            tmp_path / "served",
            "serve",
            lambda done, total, note="": notes.append(note),
            Resources(most_workers=2),
        )
        counts = [record.__dict__["replicas"] for record in caplog.records if "replicas" in record.__dict__]
        assert counts == [1, 2, 1]
        assert {"1 replica", "2 replicas"} <= set(notes)
        assert ray.is_initialized()
        assert serve.status().applications.keys() == {"other"}
        assert other.remote().result(timeout_s=30) == "still here"
    finally:
        serve.shutdown()
    run_screen(screen, tmp_path / "here", "in-process")
    assert hashes(tmp_path / "served") == hashes(tmp_path / "here")

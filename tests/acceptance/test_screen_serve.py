"""One screen on Ray Serve: its replicas go from one to two and back, and what is written is the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import ray
from pertcast.screens.manifest import read_manifest
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.screen.executors import Resources
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import ScreenRequest
from pertcast_jobs.screen.run import run_screen
from pertcast_jobs.train import run_training
from ray import serve

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

ATLAS = AtlasConfig(
    n_genes=200,
    n_contexts=2,
    n_compounds=24,
    n_unprofiled=8,
    doses=(1.0, 10.0),
    times=(24.0,),
    n_plates=5,
    n_knockouts=8,
    n_pairs=0,
    n_cells=200,
)
WIDE = ["model.config.width=1024", "model.config.depth=8", "train.epochs=1"]
DOSES = tuple(round(0.1 * 1.015**i, 5) for i in range(300))


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> ScreenRequest:
    folder = tmp_path_factory.mktemp("screen_serve")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.wells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "unseen_compound").save(folder / "split.json")
    overrides = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}", *WIDE]
    run_training(load_config("response_mlp", overrides), folder / "run")
    return ScreenRequest(
        kind="compounds",
        model=folder / "run",
        library=files.library,
        gmt=files.gene_sets,
        doses=DOSES,
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

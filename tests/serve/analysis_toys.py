"""What tests of the server's analysis share: a planted library as a screen and a store, and how to ask it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import polars as pl
import pytest
import zarr
from fastapi import FastAPI
from numpy.typing import NDArray
from pertcast.analysis.enrichment import gene_ranks
from pertcast_data.store import create_store
from pertcast_data.store.zarr_layout import (
    create_array,
    create_dense_group,
    open_array,
    write_array_shard,
    write_dense_shard,
)
from pertcast_serve.analysis.service import AnalysisService
from pertcast_serve.api import make_api
from pertcast_serve.config import ServeConfig
from pertcast_serve.services import PredictorClient, Services

N, G, PLANTED = 128, 60, 20
GENES: Final = [f"G{number}" for number in range(G)]
SETS: Final = {"up": [*GENES[:6], "G999", "1-Mar"], "down": GENES[6:12]}
CONDITION: Final = {"cell_iname": "HT29", "pert_id": "drug-1", "pert_dose": 10.0, "pert_time": 24.0}
"""Of the training of the tiny bundle."""
Call = Callable[..., httpx.Response]


def profiles() -> NDArray[np.float32]:
    """Return (N, G) responses: one planted, one its opposite in another cell line, one like it."""
    found = np.random.default_rng(0).standard_normal((N, G)).astype(np.float32)
    found[PLANTED, :6] += 4
    found[PLANTED, 6:12] -= 4
    found[100] = -found[PLANTED]
    found[21] = found[PLANTED] + 0.1 * found[3]
    return found.astype(np.float16).astype(np.float32)


def table() -> pl.DataFrame:
    """Return what is known of the profiles."""
    return pl.DataFrame(
        {
            "sig_id": [f"S{row}" for row in range(N)],
            "pert_id": [f"BRD-{row % 64 // 2}" for row in range(N)],
            "cmap_name": [f"drug{row % 64 // 2}" for row in range(N)],
            "pert_type": ["trt_cp"] * N,
            "cell_iname": ["A549"] * 64 + ["MCF7"] * 64,
            "pert_dose": [10.0] * N,
            "seen_pert": [row % 3 == 0 for row in range(N)],
        }
    )


def write_screen(folder: Path, values: NDArray[np.float32]) -> Path:
    """Write responses as a finished screen."""
    folder.mkdir(parents=True)
    var = pl.DataFrame({"gene_symbol": GENES})
    root = folder / "profiles.zarr"
    create_dense_group(root, N, G, dtype=np.float16, var=var, obs=table(), chunk_rows=64, shard_rows=64)
    group = zarr.create_group(str(folder / "ranks.zarr"), zarr_format=3)
    shape: dict[str, Any] = {"shape": (N, G), "chunks": (64, G), "shards": (64, G)}
    create_array(group, "rank", **shape, dtype=np.uint16, codec="none")
    array = open_array(folder / "ranks.zarr", "rank")
    for shard in range(N // 64):
        part = values[shard * 64 : shard * 64 + 64]
        write_dense_shard(root, shard, part.astype(np.float16))
        write_array_shard(folder / "ranks.zarr", array, "rank", shard, gene_ranks(part))
    table().write_parquet(folder / "sig_info.parquet")
    manifest = {"format": "pertcast-screen", "n_profiles": N, "bundle": {"model_id": "mlp"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_files(root: Path) -> Path:
    """Write the library as a screen and as a store, gene sets, and the signature as files."""
    write_screen(root / "screen", profiles())
    create_store(
        root / "store",
        obs=table().drop("seen_pert"),
        var=pl.DataFrame({"gene_symbol": GENES}),
        batches=[profiles()],
        measure="response",
        normalisation="z_score",
    )
    lines = [f"UP\t\t{chr(9).join(GENES[:6])}", f"DOWN\t\t{chr(9).join(GENES[6:12])}", "TINY\t\tG1\tG2"]
    lines += [f"R{number}\t\t{chr(9).join(GENES[number : number + 12])}" for number in range(20)]
    (root / "sets.gmt").write_text("\n".join(lines) + "\n")
    (root / "up.txt").write_text("\n".join([*GENES[:6], "G999", "1-Mar"]))
    (root / "down.txt").write_text("\n".join(GENES[6:12]))
    return root


def config_of(root: Path, bundle: Path) -> ServeConfig:
    """Return the settings of a server that holds these files."""
    return ServeConfig(
        models={"default": bundle},
        libraries={"first": root / "screen", "l1000": root / "store"},
        gene_sets={"own": root / "sets.gmt"},
    )


def called_with(call_api: Callable[[FastAPI], Call], config: ServeConfig, client: PredictorClient) -> Call:
    """Return what calls a server with these settings."""
    analysis = AnalysisService(config, client)
    services = Services(predictor=client, analysis=analysis, screens=None, page=None)  # type: ignore[arg-type]
    return call_api(make_api(services, config))


def asked(call: Call, subject: str, **body: Any) -> dict[str, Any]:
    """Return the answer of a question."""
    answer = call("POST", f"/v1/{subject}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(call: Call, subject: str, status: int = 422, **body: Any) -> dict[str, Any]:
    """Return the problem of a question."""
    answer = call("POST", f"/v1/{subject}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of `write_files` are."""
    return write_files(tmp_path_factory.mktemp("analysis"))


@pytest.fixture(scope="module")
def call(
    call_api: Callable[[FastAPI], Call], folder: Path, tiny_bundle: Path, client: PredictorClient
) -> Call:
    """A server that holds them."""
    return called_with(call_api, config_of(folder, tiny_bundle), client)


@pytest.fixture(scope="module")
def bare(call_api: Callable[[FastAPI], Call], serve_config: ServeConfig, client: PredictorClient) -> Call:
    """A server without libraries and gene sets."""
    return called_with(call_api, serve_config, client)

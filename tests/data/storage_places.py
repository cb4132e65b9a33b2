"""What storage tests share: S3 servers, a bucket with its environment, small stores of several shards.

Every test runs against the small server of `object_server`, and in the acceptance tests against moto's too.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import object_server
import polars as pl
import pytest
import scipy.sparse as sparse
from pertcast_data.storage import ObjectFolder
from pertcast_data.store import create_store

ROWS, GENES, SHARD_ROWS = 700, 31, 128


class MotoServer:
    """moto's server in a process of its own."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def make_bucket(self, name: str) -> None:
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        for _ in range(100):
            try:
                urllib.request.urlopen(request, timeout=10).close()
                return
            except urllib.error.URLError:
                time.sleep(0.2)
        raise AssertionError(f"moto does not answer at {self.url}")


@pytest.fixture(scope="module", params=["small", pytest.param("moto", marks=pytest.mark.acceptance)])
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "small":
        started = object_server.ObjectServer().start()
        yield started
        started.shutdown()
        started.server_close()
    else:
        moto = MotoServer()
        yield moto
        moto.process.kill()
        moto.process.wait()


@pytest.fixture
def bucket(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the location of a fresh bucket; the environment names the server and a fresh cache."""
    for name, value in environment(server.url, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{secrets.token_hex(4)}"
    server.make_bucket(name)
    return f"s3://{name}"


def environment(url: str, cache: Path) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": object_server.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "PERTCAST_CACHE": str(cache),
        "PERTCAST_CACHE_GB": "1",
    }


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of objects that are put from now on; manifests are not among them."""
    names: list[str] = []
    put = ObjectFolder.put

    def noted(self: ObjectFolder, name: str, *rest: Any, **named: Any) -> None:
        put(self, name, *rest, **named)
        names.append(name)

    monkeypatch.setattr(ObjectFolder, "put", noted)
    return names


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of objects that are brought to local files from now on."""
    names: list[str] = []
    get_to = ObjectFolder.get_to

    def noted(self: ObjectFolder, name: str, *rest: Any, **named: Any) -> None:
        get_to(self, name, *rest, **named)
        names.append(name)

    monkeypatch.setattr(ObjectFolder, "get_to", noted)
    return names


def shards_of(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("X/") and "/c/" in name]


def make_store(path: Path, layout: str = "dense", seed: int = 3) -> Any:
    """Make a store of six shards, dense or CSR."""
    rng = np.random.default_rng(seed)
    matrix: Any = rng.normal(size=(ROWS, GENES)).astype(np.float32)
    if layout == "csr":
        matrix = sparse.random(ROWS, GENES, 0.3, format="csr", random_state=rng)
        matrix.data = np.ceil(matrix.data * 900)
    obs = pl.DataFrame(
        {
            "cell_iname": rng.choice(["A", "B"], ROWS),
            "pert_type": rng.choice(["trt_cp", "ctl_vehicle"], ROWS),
            "pert_id": rng.choice(["x", "y"], ROWS),
        }
    )
    return create_store(
        path,
        obs=obs,
        var=pl.DataFrame({"gene_symbol": [f"g{number}" for number in range(GENES)]}),
        batches=[matrix],
        measure="expression",
        normalisation="counts" if layout == "csr" else "log2_intensity",
        codec="none",
        chunk_rows=16,
        shard_rows=SHARD_ROWS,
    )

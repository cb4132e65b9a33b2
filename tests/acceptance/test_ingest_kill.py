"""Really killing an ingest, anywhere: after the same command again, every byte is an undisturbed ingest's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import psutil
import pytest
from pertcast_data.store import validate_store
from scipy import sparse
from thorough import THOROUGH

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

N_KILLS = 20 if THOROUGH else 6
SEED = 11


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two files: a sparse one that is cut into ranges, and one by columns that has to be turned."""
    folder, made = tmp_path_factory.mktemp("ingest_kill"), []
    for number, n_rows in enumerate((90_000, 20_000)):
        rng = np.random.default_rng(number)
        matrix = sparse.random(n_rows, 300, 0.2, format="csr", dtype=np.float32, random_state=rng)
        matrix.data = np.ceil(matrix.data * 30)
        obs = pd.DataFrame(
            {
                "cell_line": rng.choice(["K562", "RPE1"], n_rows),
                "perturbation": rng.choice(["control", *(f"GENE{gene}" for gene in range(40))], n_rows),
                "perturbation_type": "CRISPRi",
            },
            index=[f"{number}-{row}" for row in range(n_rows)],
        )
        genes = pd.DataFrame(index=[f"GENE{gene}" for gene in range(300)])
        made.append(folder / f"screen{number}.h5ad")
        anndata.AnnData(matrix if number == 0 else matrix.tocsc(), obs, genes).write_h5ad(made[-1])
    return [str(path) for path in made]


def start(sources: list[str], out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pertcast_jobs", "data", "ingest", *sources, "--out", str(out)]
    return subprocess.Popen(
        [*command, "--worker-memory", "6", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output.decode()


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def kill_a_worker(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker while it works at a piece; between two pieces there may be none for a moment."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "do_piece" in child.name():
                    child.kill()
                    return
        time.sleep(0.02)
    raise AssertionError("no worker was seen at a piece")


def bytes_of(store: Path) -> dict[str, str]:
    return {
        str(file.relative_to(store)): sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file()
    }


def pieces(out: Path) -> set[str]:
    """Return the names of everything that is complete beside a store to be."""
    folder = out.parent / f".{out.name}.ingest"
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()


def wait_for(ending: str, process: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until a file with this ending stands beside the store to be."""
    deadline = time.monotonic() + 120
    while not any(name.endswith(ending) for name in pieces(out)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def test_an_ingest_killed_at_many_points_ends_with_the_same_bytes(sources: list[str], tmp_path: Path) -> None:
    begun = time.monotonic()
    finish(start(sources, tmp_path / "undisturbed"))
    whole = time.monotonic() - begun
    expected = bytes_of(tmp_path / "undisturbed")
    draw = random.Random(SEED)
    out = tmp_path / "store"
    n_killed = 0
    while n_killed < N_KILLS:
        process, begun = start(sources, out), time.monotonic()
        try:
            # Imports and tables take the first part of the time; most kills are to fall behind them.
            process.wait(whole * draw.uniform(0.2, 1.0) / draw.choice((1, 1, 2)))
            # The machine has become quicker than it was when the first one was timed.
            whole = min(whole, time.monotonic() - begun)
        except subprocess.TimeoutExpired:
            kill(process)
            n_killed += 1
        if out.exists():
            assert bytes_of(out) == expected
            subprocess.run(["rm", "-rf", str(out)], check=True)
    # Whatever the draw has met: once while rows are sorted, once while shards are written.
    for ending in (".done", "matrix.json"):
        process = start(sources, out)
        wait_for(ending, process, out)
        kill(process)
    finish(start(sources, out))
    assert bytes_of(out) == expected
    assert validate_store(out) == []
    assert not pieces(out)


def test_an_ingest_on_workers_that_is_killed_goes_on(sources: list[str], tmp_path: Path) -> None:
    finish(start(sources, tmp_path / "undisturbed"))
    expected = bytes_of(tmp_path / "undisturbed")
    out = tmp_path / "store"
    process = start(sources, out, "--executor", "ray-data")
    wait_for(".done", process, out)
    kill(process)
    assert not out.exists()
    finish(start(sources, out, "--executor", "ray-data"))
    assert bytes_of(out) == expected


def test_a_killed_worker_takes_nothing_with_it(sources: list[str], tmp_path: Path) -> None:
    finish(start(sources, tmp_path / "undisturbed"))
    out = tmp_path / "store"
    process = start(sources, out, "--executor", "ray-data")
    kill_a_worker(process)
    finish(process)
    assert bytes_of(out) == bytes_of(tmp_path / "undisturbed")

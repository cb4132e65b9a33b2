"""An ingest from a bucket into a bucket: published by shards, stopped, gone on with, equal to a local one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import storage_places as places
from pertcast_data.errors import ConfigError
from pertcast_data.ingest import ingest
from pertcast_data.ingest.writing.worker import IngestWorker, Runner, Stage
from pertcast_data.storage import ObjectFolder
from pertcast_data.store import ExpressionStore, validate_store
from scipy import sparse

server, bucket = places.server, places.bucket

N_ROWS, N_GENES, MEMORY = 40_000, 30, 300_000


class Stopped(Exception):
    """What a test stops an ingest with."""


def stopping_after(pieces: int) -> Runner:
    def run(folder: Path, stage: Stage, numbers: Sequence[int]) -> Iterator[int]:
        nonlocal pieces
        worker = IngestWorker(folder)
        for number in numbers:
            if not pieces:
                raise Stopped
            worker.run(stage, number)
            pieces -= 1
            yield number

    return run


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "cell_line": rng.choice(["K562", "RPE1"], N_ROWS),
            "perturbation": rng.choice(["control", "TP53", "MYC"], N_ROWS),
            "perturbation_type": "CRISPRi",
        },
        index=[f"cell{row}" for row in range(N_ROWS)],
    )
    counts = sparse.csr_matrix(rng.poisson(0.4, (N_ROWS, N_GENES)).astype(np.float32))
    anndata.AnnData(counts, obs, pd.DataFrame(index=[f"G{n}" for n in range(N_GENES)])).write_h5ad(path)
    return path


def objects(location: str) -> dict[str, bytes]:
    folder = ObjectFolder(location)
    return {entry.name: folder.get(entry.name) for entry in folder.list()}


def files(store: Path) -> dict[str, bytes]:
    found = (path for path in store.rglob("*") if path.is_file())
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in found}


def test_a_store_is_written_to_a_bucket_stopped_and_gone_on_with(
    screen: Path, bucket: str, tmp_path: Path
) -> None:
    ingest([screen], tmp_path / "local", worker_memory_bytes=MEMORY)
    ObjectFolder(bucket).put("raw/screen.h5ad", screen)
    source, out = f"{bucket}/raw/screen.h5ad", f"{bucket}/stores/screen"
    published: dict[str, bytes] = {}
    n_stopped = 0
    while not published:
        with pytest.raises(Stopped):
            ingest([source], out, worker_memory_bytes=MEMORY, runner=stopping_after(9))
        published, n_stopped = objects(out), n_stopped + 1
    assert n_stopped > 2
    assert all(name.startswith("X/") for name in published)
    (work,) = (tmp_path / "cache" / "ingest").glob("*/.screen.ingest")
    report = ingest([source], out, worker_memory_bytes=MEMORY)
    assert report.out == out and "gone on with" in report.converted[-1]
    assert objects(out) == files(tmp_path / "local")
    assert validate_store(out) == []
    assert not work.exists()
    rows = np.arange(0, N_ROWS, 37)
    remote, local = ExpressionStore.open(out), ExpressionStore.open(tmp_path / "local")
    assert np.array_equal(remote.reader("disk").dense(rows), local.reader().dense(rows))


def test_a_store_in_a_bucket_is_not_overwritten_and_does_not_grow(
    screen: Path, bucket: str, tmp_path: Path
) -> None:
    out = f"{bucket}/screen"
    ingest([screen], out)
    before = objects(out)
    with pytest.raises(ConfigError, match="has been committed there"):
        ingest([screen], out)
    with pytest.raises(ConfigError, match="appended to local stores only"):
        ingest([screen], out, append=True)
    assert objects(out) == before


def test_a_store_ended_in_a_bucket_whose_folder_was_left_is_known_as_done(
    screen: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"{bucket}/screen"
    with monkeypatch.context() as patch:
        patch.setattr("pertcast_data.ingest.writing.workspace.Workspace.clear", _stopped_at_the_end)
        with pytest.raises(Stopped):
            ingest([screen], out)
    before = objects(out)
    assert "gone on with" in ingest([screen], out).converted[-1]
    assert objects(out) == before


def _stopped_at_the_end(work: Any) -> None:
    if work.has_matrix:
        raise Stopped

"""Whatever happens to a store's bytes or to its writer, nothing wrong is ever read as right."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sparse
from pertcast_data.errors import CorruptStore, FormatError
from pertcast_data.store import ExpressionStore, create_store, require_valid_store, validate_store
from pertcast_data.store.manifest import dataset_files

ROWS, GENES = 300, 11


def build(path: Path, layout: str) -> None:
    rng = np.random.default_rng(0)
    matrix = sparse.random(ROWS, GENES, 0.5, format="csr", random_state=rng)
    matrix.data = np.ceil(matrix.data * 9)
    create_store(
        path,
        obs=pl.DataFrame({"cell_iname": rng.choice(["A", "B"], ROWS), "pert_type": ["trt_cp"] * ROWS}),
        var=pl.DataFrame({"gene_symbol": [f"g{number}" for number in range(GENES)]}),
        batches=[matrix],
        measure="expression",
        normalisation="counts",
        layout=layout,  # type: ignore[arg-type]
        chunk_rows=16,
        shard_rows=128,
    )


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    for layout in ("dense", "csr"):
        build(folder / layout, layout)
    return folder


@pytest.fixture(params=["dense", "csr"])
def store_path(request: pytest.FixtureRequest, pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine / request.param, tmp_path / "store"))


def shards(path: Path) -> list[str]:
    return [name for name in dataset_files(path) if name.startswith("X/") and "/c/" in name]


def flip_byte(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 0x20
    file.write_bytes(bytes(content))


def test_a_missing_shard_is_refused_at_opening_not_read_as_zeros(store_path: Path) -> None:
    victim = shards(store_path)[1]
    (store_path / victim).unlink()
    with pytest.raises(CorruptStore, match=f"{victim}.*missing"):
        ExpressionStore.open(store_path)
    assert [(problem.path, "missing" in problem.what) for problem in validate_store(store_path)] == [
        (victim, True)
    ]


def test_a_shortened_shard_is_refused_at_opening(store_path: Path) -> None:
    victim = store_path / shards(store_path)[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(CorruptStore, match="bytes, the manifest says"):
        ExpressionStore.open(store_path)


def test_a_flipped_byte_in_any_file_is_found_by_validation(store_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in dataset_files(store_path):
        file = store_path / name
        original = file.read_bytes()
        flip_byte(file, int(rng.integers(len(original))))
        assert name in [problem.path for problem in validate_store(store_path)], name
        file.write_bytes(original)
    assert validate_store(store_path) == []


def test_a_flipped_byte_in_a_shard_is_refused_by_the_memory_reader(store_path: Path) -> None:
    victim = shards(store_path)[-1]
    flip_byte(store_path / victim, 3)
    store = ExpressionStore.open(store_path)
    with pytest.raises(CorruptStore, match=f"{victim}.*checksum"):
        store.reader("memory")
    with pytest.raises(CorruptStore, match=f"1 problem: {victim}"):
        require_valid_store(store_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_truncated_manifest_is_refused(store_path: Path, share: float) -> None:
    manifest = store_path / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CorruptStore, match=r"manifest\.json"):
        ExpressionStore.open(store_path)
    assert [problem.path for problem in validate_store(store_path)] == ["manifest.json"]


def test_a_manifest_that_was_edited_is_refused(store_path: Path) -> None:
    manifest = store_path / "manifest.json"
    body = json.loads(manifest.read_text())
    body["facts"]["store"]["normalisation"] = "log1p_cpm"
    manifest.write_text(json.dumps(body))
    with pytest.raises(CorruptStore, match="checksum"):
        ExpressionStore.open(store_path)


def test_a_file_the_manifest_does_not_know_is_reported(store_path: Path) -> None:
    stray = store_path / ("X/c/9/0" if (store_path / "X/c").is_dir() else "X/data/c/9")
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"rows of nobody")
    assert [problem.path for problem in validate_store(store_path)] == [
        stray.relative_to(store_path).as_posix()
    ]


def test_what_is_not_a_store_is_named_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no store at"):
        ExpressionStore.open(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FormatError, match=r"manifest\.json"):
        ExpressionStore.open(tmp_path / "folder")


class Stopped(BaseException):
    """Like KeyboardInterrupt: not an Exception."""


@pytest.mark.parametrize("when", ["reading", "writing"])
def test_an_interrupted_create_leaves_nothing(tmp_path: Path, when: str) -> None:
    def stop(done: int, total: int, note: str = "") -> None:
        if note == when:
            raise Stopped

    with pytest.raises(Stopped):
        create_store(
            tmp_path / "store",
            obs=pl.DataFrame({"pert_id": [str(row) for row in range(ROWS)]}),
            var=pl.DataFrame({"gene_symbol": ["a", "b"]}),
            batches=[np.ones((ROWS, 2))],
            measure="response",
            normalisation="z_score",
            progress=stop,
            memory_budget_bytes=10,
        )
    assert list(tmp_path.iterdir()) == []


KILLED_WRITER = """
import sys, time
import numpy as np, polars as pl
from pertcast_data.store import append_rows, create_store
path, ready, action = sys.argv[1:]
obs = pl.DataFrame({"pert_id": [str(row) for row in range(200)]})
var = pl.DataFrame({"gene_symbol": ["a", "b"]})
def batches():
    yield np.ones((100, 2))
    open(ready, "w").close()
    time.sleep(60)
    yield np.ones((100, 2))
if action == "create":
    create_store(path, obs=obs, var=var, batches=batches(), measure="response", normalisation="z_score",
                 memory_budget_bytes=10)
else:
    append_rows(path, obs, var, batches(), memory_budget_bytes=10)
"""


def start_and_kill(path: Path, ready: Path, action: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED_WRITER, str(path), str(ready), action])
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()


def test_a_killed_writer_changes_nothing_and_the_next_one_clears_up_after_it(tmp_path: Path) -> None:
    home, ready = tmp_path / "home", tmp_path / "ready"
    path = home / "store"
    home.mkdir()
    start_and_kill(path, ready, "create")
    with pytest.raises(FormatError, match="no store"):
        ExpressionStore.open(path)
    assert len(os.listdir(home)) == 1
    options: dict[str, Any] = {"measure": "response", "normalisation": "z_score"}
    obs = pl.DataFrame({"pert_id": [str(row) for row in range(50)]})
    var = pl.DataFrame({"gene_symbol": ["a", "b"]})
    store = create_store(path, obs=obs, var=var, batches=[np.zeros((50, 2))], **options)
    assert os.listdir(home) == ["store"]
    ready.unlink()
    start_and_kill(path, ready, "append")
    assert ExpressionStore.open(path).data_hash == store.data_hash
    assert validate_store(path) == []

"""An ingest in pieces: whoever does them, whatever stops it, the store has the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pertcast_data.errors import ConfigError, CorruptStore, PertcastError, SchemaError, StorageError
from pertcast_data.ingest import IngestMapping
from pertcast_data.ingest.plan import plan_ingest
from pertcast_data.ingest.writing.target import Writing
from pertcast_data.ingest.writing.worker import IngestWorker, Runner, Stage, in_process
from pertcast_data.ingest.writing.workspace import Workspace
from pertcast_data.ingest.writing.write_store import Written, write_store
from pertcast_data.progress import no_progress
from pertcast_data.store import ExpressionStore, compact_store, create_store, validate_store
from scipy import sparse

GENES = 60
RUN_BYTES, SHARD_ROWS = 12_000, 64


def screen(path: Path, n_rows: int, seed: int, kind: str = "csr", first: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    matrix: Any = sparse.csr_matrix(rng.poisson(0.8, (n_rows, GENES)).astype(np.float32))
    if kind == "dense":
        matrix = matrix.toarray()
    if kind == "csc":
        matrix = matrix.tocsc()
    obs = pd.DataFrame(
        {
            "cell_line": rng.choice(["K562", "RPE1"], n_rows),
            "perturbation": rng.choice(["control", "TP53", "MYC", "SET+KLF1"], n_rows),
            "perturbation_type": "CRISPRi",
        },
        index=[f"cell{first + row}" for row in range(n_rows)],
    )
    anndata.AnnData(matrix, obs, pd.DataFrame(index=[f"G{n}" for n in range(GENES)])).write_h5ad(path)
    return path


def write(out: Path, sources: Sequence[Path], runner: Runner = in_process, **options: Any) -> Written:
    plan = plan_ingest(sources, IngestMapping(), None, None)
    how = Writing(out, run_bytes=RUN_BYTES, shard_rows=SHARD_ROWS, **options)
    return write_store(plan, how, runner, no_progress)


def bytes_of(store: Path) -> dict[str, str]:
    return {
        str(file.relative_to(store)): sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file()
    }


class Stopped(Exception):
    """What a test stops an ingest with."""


def stopping_after(pieces: int) -> Runner:
    """Return a runner that does so many pieces in all and then is gone."""
    left = [pieces]

    def run(folder: Path, stage: Stage, numbers: Sequence[int]) -> Iterator[int]:
        worker = IngestWorker(folder)
        for number in numbers:
            if not left[0]:
                raise Stopped
            worker.run(stage, number)
            left[0] -= 1
            yield number

    return run


def backwards(folder: Path, stage: Stage, numbers: Sequence[int]) -> Iterator[int]:
    """Do the pieces in the other order, each twice and by a worker of its own."""
    for number in reversed(numbers):
        IngestWorker(folder).run(stage, number)
        IngestWorker(folder).run(stage, number)
        yield number


@pytest.mark.parametrize("kinds", [("csr", "csr"), ("dense", "dense"), ("csc", "dense")])
def test_pieces_make_the_store_that_one_pass_makes(tmp_path: Path, kinds: tuple[str, str]) -> None:
    sources = [screen(tmp_path / f"{n}.h5ad", 300, n, kind) for n, kind in enumerate(kinds)]
    plan = plan_ingest(sources, IngestMapping(), None, None)
    whole = create_store(
        tmp_path / "whole",
        obs=plan.obs,
        var=plan.var,
        batches=plan.profiles(),
        measure="expression",
        normalisation="counts",
        layout=plan.layout,
        sources=[path.name for path in sources],
        shard_rows=SHARD_ROWS,
    )
    write(tmp_path / "pieces", sources)
    write(tmp_path / "backwards", sources, backwards)
    assert bytes_of(tmp_path / "pieces") == bytes_of(whole.path)
    assert bytes_of(tmp_path / "backwards") == bytes_of(whole.path)
    assert validate_store(tmp_path / "pieces") == []
    assert not list(tmp_path.glob(".*"))


def test_an_ingest_goes_on_after_every_piece_to_the_same_bytes(tmp_path: Path) -> None:
    sources = [screen(tmp_path / f"{n}.h5ad", 150, n) for n in range(2)]
    done: list[int] = []

    def counting(folder: Path, stage: Stage, numbers: Sequence[int]) -> Iterator[int]:
        for number in in_process(folder, stage, numbers):
            done.append(number)
            yield number

    write(tmp_path / "undisturbed", sources, counting)
    expected = bytes_of(tmp_path / "undisturbed")
    assert len(done) > 10
    out = tmp_path / "store"
    for pieces in range(1, len(done)):
        with pytest.raises(Stopped):
            write(out, sources, stopping_after(pieces))
        assert not out.exists()
        rest = stopping_after(len(done) - pieces)
        assert write(out, sources, rest).went_on
        assert bytes_of(out) == expected
        assert not Workspace.of(out).folder.exists()
        shutil.rmtree(out)


def test_pieces_of_a_file_that_has_changed_do_not_count(tmp_path: Path) -> None:
    source, out = tmp_path / "a.h5ad", tmp_path / "store"
    screen(source, 200, 1)
    with pytest.raises(Stopped):
        write(out, [source], stopping_after(4))
    screen(source, 200, 2)
    assert not write(out, [source]).went_on
    write(tmp_path / "fresh", [source])
    assert bytes_of(out) == bytes_of(tmp_path / "fresh")


def test_a_damaged_piece_is_refused_or_done_again_never_taken(tmp_path: Path) -> None:
    source, out = screen(tmp_path / "a.h5ad", 400, 1), tmp_path / "store"
    write(tmp_path / "undisturbed", [source])
    with pytest.raises(Stopped):
        write(out, [source], stopping_after(2))
    work = Workspace.of(out)
    n_tasks = len(work.plan.tasks)
    run = next(iter(sorted(work.runs.glob("*.run"))))
    content = run.read_bytes()
    run.write_bytes(content[:-8])
    with pytest.raises(CorruptStore, match="cut short"):
        write(out, [source])
    assert not out.exists()
    with pytest.raises(Stopped):
        write(out, [source], stopping_after(n_tasks + 3))
    shard = next(file for file in sorted(work.store.rglob("*")) if file.is_file() and "/c/" in str(file))
    shard.write_bytes(shard.read_bytes()[:-1])
    write(out, [source])
    assert bytes_of(out) == bytes_of(tmp_path / "undisturbed")


def test_values_that_do_not_fit_leave_nothing_behind(tmp_path: Path) -> None:
    source, out = screen(tmp_path / "a.h5ad", 300, 1, "dense"), tmp_path / "store"
    data = anndata.read_h5ad(source)
    data.X[250, 3] = np.inf
    data.write_h5ad(source)
    with pytest.raises(SchemaError, match=r"a\.h5ad: the value of row 250, gene 3 is infinite"):
        write(out, [source])
    assert [child.name for child in tmp_path.iterdir()] == ["a.h5ad"]


def test_two_ingests_of_one_store_do_not_meet(tmp_path: Path) -> None:
    source, out = screen(tmp_path / "a.h5ad", 100, 1), tmp_path / "store"
    with Workspace.of(out).locked(), pytest.raises(ConfigError, match="another ingest is writing"):
        write(out, [source])
    write(out, [source])
    assert validate_store(out) == []


def store_and_more(tmp_path: Path) -> tuple[Path, Path]:
    """Make a store of 260 rows and a file of 190 others."""
    out = tmp_path / "store"
    write(out, [screen(tmp_path / "a.h5ad", 260, 1)])
    return out, screen(tmp_path / "b.h5ad", 190, 2, first=1000)


def test_rows_are_appended_in_pieces_as_in_one_pass(tmp_path: Path) -> None:
    out, second = store_and_more(tmp_path)
    before = ExpressionStore.open(out)
    old = before.reader().raw(np.arange(before.n_rows)).toarray()
    write(out, [second], appends=True)
    grown = ExpressionStore.open(out)
    assert validate_store(out) == []
    assert grown.n_rows == 450 and grown.info.sources == ("a.h5ad", "b.h5ad")
    values = grown.reader().raw(np.arange(450)).toarray()
    assert np.array_equal(values[:260], old)
    assert grown.obs[:260].equals(before.obs)
    source = anndata.read_h5ad(second)
    assert np.array_equal(values[260:], source.X.toarray()[grown.obs["source_row"][260:].to_numpy()])
    assert not list(tmp_path.glob(".*"))


def test_an_append_goes_on_after_every_piece_and_is_done_once(tmp_path: Path) -> None:
    out, second = store_and_more(tmp_path)
    pristine = shutil.copytree(out, tmp_path / "pristine")
    write(out, [second], appends=True)
    expected = bytes_of(out)
    for pieces in range(1, 9):
        shutil.rmtree(out)
        shutil.copytree(pristine, out)
        with pytest.raises(Stopped):
            write(out, [second], stopping_after(pieces), appends=True)
        assert bytes_of(out) == bytes_of(pristine)
        write(out, [second], appends=True)
        assert bytes_of(out) == expected
    with pytest.raises(SchemaError, match="190 of 190 rows stand in it already"):
        write(out, [second], appends=True)
    assert bytes_of(out) == expected


def stopped_at_the_end(work: Workspace) -> None:
    """Stand in for the last step, when the store is in its place."""
    if work.has_matrix:
        raise Stopped


@pytest.mark.parametrize("appends", [False, True])
def test_an_ingest_killed_just_after_its_end_is_known_as_done(
    tmp_path: Path, appends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, second = store_and_more(tmp_path)
    if not appends:
        shutil.rmtree(out)
    with monkeypatch.context() as patch:
        patch.setattr(
            Workspace, "clear", lambda self: (_ for _ in ()).throw(Stopped) if self.has_matrix else None
        )
        with pytest.raises(Stopped):
            write(out, [second], appends=appends)
    expected = bytes_of(out)
    assert write(out, [second], appends=appends).went_on
    assert bytes_of(out) == expected
    assert not Workspace.of(out).folder.exists()


def test_other_values_genes_or_places_are_not_appended(tmp_path: Path) -> None:
    out, _ = store_and_more(tmp_path)
    before = bytes_of(out)
    responses = screen(tmp_path / "c.h5ad", 50, 3, "dense", first=5000)
    data = anndata.read_h5ad(responses)
    data.X = data.X - 0.5
    data.write_h5ad(responses)
    other = screen(tmp_path / "d.h5ad", 50, 3, first=6000)
    data = anndata.read_h5ad(other)
    data.var_names = [f"H{number}" for number in range(GENES)]
    data.write_h5ad(other)
    for source, words in ((responses, "the files hold response"), (other, "60 are missing")):
        with pytest.raises(SchemaError, match=words):
            write(out, [source], appends=True)
    with pytest.raises(PertcastError, match="no store"):
        write(tmp_path / "nowhere", [other], appends=True)
    assert bytes_of(out) == before


def test_compacting_brings_back_the_order_and_keeps_every_value(tmp_path: Path) -> None:
    out, second = store_and_more(tmp_path)
    write(out, [second], appends=True)
    grown = ExpressionStore.open(out)
    values = dict(zip(grown.obs["sig_id"], grown.reader().raw(np.arange(450)).toarray(), strict=True))
    compacted = compact_store(out, shard_rows=128)
    assert validate_store(out) == []
    assert compacted.obs.sort("sig_id").equals(grown.obs.sort("sig_id"))
    after = compacted.reader().raw(np.arange(450)).toarray()
    assert all(
        np.array_equal(values[name], row) for name, row in zip(compacted.obs["sig_id"], after, strict=True)
    )
    keys = compacted.obs.select("cell_iname", ~pl.col("is_control"), "condition_id")
    assert keys.equals(keys.sort(keys.columns, maintain_order=True))
    assert not grown.obs.select(keys.columns).equals(grown.obs.select(keys.columns).sort(keys.columns))


def test_compacting_a_store_in_order_changes_no_byte_of_it(tmp_path: Path) -> None:
    out, _ = store_and_more(tmp_path)
    before = bytes_of(out)
    assert compact_store(out).data_hash == ExpressionStore.open(out).data_hash
    assert bytes_of(out) == before
    assert compact_store(out, codec="archive").info.codec == "archive"
    assert validate_store(out) == []


def test_a_store_is_not_built_in_a_folder_named_like_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="a store in a bucket is not written row by row"):
        create_store(
            "s3://bucket/store",
            obs=pl.DataFrame({"cell_iname": ["A"], "pert_type": ["trt_cp"]}),
            var=pl.DataFrame({"gene_symbol": ["g"]}),
            batches=[np.ones((1, 1), np.float32)],
            measure="response",
            normalisation="z_score",
        )
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_ingest_goes_on_once_there_is_space(
    small_disk: Path, tmp_path: Path
) -> None:
    source, out = screen(tmp_path / "a.h5ad", 3_000, 1), small_disk / "store"
    write(tmp_path / "undisturbed", [source])
    with pytest.raises(StorageError, match=r"disk is full .*run the same command again"):
        write(out, [source])
    assert not out.exists()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    write(out, [source])
    assert bytes_of(out) == bytes_of(tmp_path / "undisturbed")


def test_a_full_disk_stops_a_store_made_in_one_go_and_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(StorageError, match="disk is full"):
        create_store(
            small_disk / "store",
            obs=pl.DataFrame({"cell_iname": ["A"] * 5_000, "pert_type": ["trt_cp"] * 5_000}),
            var=pl.DataFrame({"gene_symbol": [f"g{n}" for n in range(100)]}),
            batches=[np.random.default_rng(0).normal(size=(5_000, 100))],
            measure="response",
            normalisation="z_score",
        )
    assert os.listdir(small_disk) == []

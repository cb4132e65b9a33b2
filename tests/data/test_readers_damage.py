"""Readers meet damaged files: refused by name with a remedy, never with a library's own error."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pertcast_data.errors import FormatError
from pertcast_data.readers import open_source
from pertcast_data.readers.hdf5 import open_hdf5
from scipy import sparse

GCT = "#1.3\n2\t2\t1\t1\nid\tsymbol\ts1\ts2\ncell_id\tna\tA\tB\np1\tX\t1.25\t2.5\np2\tY\t3.25\t4.5\n"


def read_all(path: Path) -> int:
    source = open_source(path)
    source.obs()
    source.var()
    return sum(batch.shape[0] for batch in source.batches())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    matrix = sparse.random(20, 8, 0.5, format="csr", dtype=np.float32, random_state=0)
    obs = pd.DataFrame({"line": pd.Categorical(["K562"] * 20)}, index=[f"c{i}" for i in range(20)])
    for name, stored in (("csr", matrix), ("csc", matrix.tocsc()), ("dense", matrix.toarray())):
        anndata.AnnData(stored, obs).write_h5ad(folder / name)
    with h5py.File(folder / "gctx", "w") as file:
        file["0/DATA/0/matrix"] = np.zeros((2, 3))
        file["0/META/ROW/id"] = np.array([b"g1", b"g2", b"g3"])
        file["0/META/COL/id"] = np.array([b"s1", b"s2"])
    (folder / "gct").write_text(GCT, encoding="utf-8")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["csr", "csc", "dense", "gctx"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_hdf5_file_is_refused_by_name(
    files: dict[str, bytes], tmp_path: Path, name: str, share: float
) -> None:
    path = tmp_path / "cut.h5ad"
    path.write_bytes(files[name][: int(len(files[name]) * share)])
    with pytest.raises(FormatError, match=r"cut\.h5ad.*(again|known)"):
        read_all(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_gct_cut_anywhere_before_its_last_value_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "cut.gct"
    for length in range(len(files["gct"]) - len("4.5\n")):
        path.write_bytes(files["gct"][:length])
        with pytest.raises(FormatError, match=r"cut\.gct"):
            read_all(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["csr", "csc", "dense", "gctx", "gct"]),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_damaged_bytes_give_a_format_error_or_a_file_that_reads(
    files: dict[str, bytes], tmp_path: Path, name: str, places: list[tuple[float, int]]
) -> None:
    damaged = bytearray(files[name])
    for place, value in places:
        damaged[int(place * len(damaged))] = value
    path = tmp_path / "damaged"
    path.write_bytes(damaged)
    try:
        n_rows = read_all(path)
    except FormatError as error:
        assert str(path) in str(error)
    else:
        assert n_rows > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"just some words\n", 'no known format .it starts with "just some words".'),
        (b"# Title\r\n\r\nText of it", 'it starts with "# Title".'),
        (b"\x93\x01\x00\xff more", "it starts with the bytes 93 01 00 ff 20 6d 6f 72."),
        (b"\n" * 20, "it starts with the bytes 0a 0a"),
        (gzip.compress(GCT.encode(), mtime=0), "gzip archive.*gunzip"),
        (b"PAR1" + b"\0" * 20, "cannot be read as Parquet.*again"),
        (b"#1.3\nfew words\n", "line 2"),
        (GCT.replace("1.25", "high").encode(), "line 5.*'high'"),
        (GCT.replace("\t2.5", "").encode(), "line 5.*fields"),
        (GCT.encode() + b"p3\tZ\t1\t2\n", "more lines"),
    ],
)
def test_a_foreign_or_broken_file_is_told_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.gctx"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"(?s)file\\.gctx.*{message}"):
        read_all(path)


def test_absent_files_folders_and_foreign_hdf5_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        open_source(tmp_path / "absent.h5ad")
    with pytest.raises(FormatError, match="is a folder"):
        open_source(tmp_path)
    with h5py.File(tmp_path / "loom", "w") as file:
        file["matrix"] = np.zeros(3)
    with pytest.raises(FormatError, match=r"neither h5ad.*nor gctx.*matrix"):
        open_source(tmp_path / "loom")


def test_shapes_that_do_not_fit_are_refused_before_reading(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "file"
    for name, dataset, message in (
        ("gctx", "0/META/COL/id", "names 1 samples"),
        ("gctx", "0/DATA/0/matrix", "the matrix is"),
    ):
        path.write_bytes(files[name])
        with h5py.File(path, "r+") as file:
            shortened = file[dataset][:1]
            del file[dataset]
            file[dataset] = shortened
        with pytest.raises(FormatError, match=message):
            open_source(path)
    path.write_bytes(files["gctx"])
    with h5py.File(path, "r+") as file:
        del file["0/DATA/0/matrix"]
    with pytest.raises(FormatError, match="has no 0/DATA/0/matrix"):
        open_source(path)


@pytest.mark.parametrize(("part", "value"), [("indices", 99), ("indptr", 7)])
@pytest.mark.parametrize("name", ["csr", "csc"])
def test_a_sparse_matrix_that_points_outside_itself_is_refused(
    files: dict[str, bytes], tmp_path: Path, name: str, part: str, value: int
) -> None:
    path = tmp_path / "file.h5ad"
    path.write_bytes(files[name])
    with h5py.File(path, "r+") as file:
        file[f"X/{part}"][0] = value
    with pytest.raises(FormatError, match=r"file\.h5ad"):
        read_all(path)


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    with (
        pytest.raises(FormatError, match=r"absent\.h5ad: there is no such file"),
        open_hdf5(tmp_path / "absent.h5ad"),
    ):
        pass

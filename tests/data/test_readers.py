"""Readers: every layout and age of file gives the same profiles, in bounded pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from pertcast_data.readers import READERS, ProfileSource, open_source
from pertcast_data.readers.source import as_dense
from pertcast_data.readers.spill import csc_to_row_order, entry_blocks
from scipy import sparse

N_ROWS, N_GENES = 23, 11


def counts(seed: int = 0) -> Any:
    matrix = sparse.random(N_ROWS, N_GENES, 0.4, format="csr", dtype=np.float32, random_state=seed)
    matrix.data = np.ceil(matrix.data * 9)
    return matrix


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(["K562", None] * 11 + ["A549"]),
            "n": np.arange(N_ROWS, dtype=np.int32),
            "flag": pd.array([True, None] * 11 + [False], dtype="boolean"),
            "score": pd.array([1, None] * 11 + [3], dtype="Int64"),
        },
        index=[f"cell{number}" for number in range(N_ROWS)],
    )
    var = pd.DataFrame({"kind": ["coding"] * N_GENES}, index=[f"G{number}" for number in range(N_GENES)])
    var.index.name = "gene_symbol"
    return obs, var


def whole(source: ProfileSource, rows: int | None = None) -> np.ndarray[Any, np.dtype[Any]]:
    return np.concatenate([as_dense(batch) for batch in source.batches(rows)])


def write_h5ad(path: Path, matrix: Any) -> Path:
    obs, var = tables()
    anndata.AnnData(matrix, obs, var).write_h5ad(path)
    return path


def write_gctx(path: Path, *, version: Any = "GCTX1.0", drop: str = "") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["version"] = version
        file["0/DATA/0/matrix"] = np.arange(12, dtype=np.float64).reshape(4, 3)
        file["0/META/ROW/id"] = np.array([b"200814_at", b"2_at", b"3_at"])
        file["0/META/ROW/pr_gene_id"] = np.array([5720.0, 2.0, 3.0], np.float32)
        file["0/META/COL/id"] = np.array([b"s1", b"s2", b"s3", b"s4"])
        file["0/META/COL/dose"] = np.array(["10 \xb5M".encode("latin-1"), b"-666", b"1", b"2"])
        if drop:
            del file[drop]
    return path


GCT13 = "\n".join(
    [
        "#1.3",
        "2\t3\t1\t3",
        "id\tpr_gene_symbol\ts1\ts2\ts3",
        "cell_id\tna\tA375\tA375\tMCF7",
        "dose\tna\t10\t-666\t2.5",
        "code\tna\t001\t002\t003",
        "p1_at\tPSME1\t1.5\tNA\t-2",
        "p2_at\tATF1\t4\t5\t-666\n",
    ]
)
GCT12 = "#1.2\n2\t3\nName\tDescription\ts1\ts2\ts3\ng1\tfirst\t1\t2\t3\ng2\tsecond\t4\t5\t6\n"


@pytest.mark.parametrize("layout", ["dense", "csr", "csc"])
@pytest.mark.parametrize("rows", [None, 1, 7])
def test_h5ad_gives_the_same_profiles_in_every_layout_and_batch_size(
    tmp_path: Path, layout: str, rows: int | None
) -> None:
    matrix = counts()
    stored = {"dense": matrix.toarray(), "csr": matrix, "csc": matrix.tocsc()}[layout]
    source = open_source(write_h5ad(tmp_path / "file.h5ad", stored))
    assert np.array_equal(whole(source, rows), matrix.toarray())
    assert source.schema().layout == ("dense" if layout == "dense" else "csr")
    assert all(batch.shape[0] <= (rows or N_ROWS) for batch in source.batches(rows))


def test_h5ad_tables_keep_nulls_categories_and_the_named_index(tmp_path: Path) -> None:
    source = open_source(write_h5ad(tmp_path / "file.h5ad", counts()))
    obs, var = source.obs(), source.var()
    assert obs.columns == ["source_id", "cell_type", "n", "flag", "score"]
    assert obs["cell_type"].to_list() == ["K562", None] * 11 + ["A549"]
    assert obs["flag"].to_list() == [True, None] * 11 + [False]
    assert obs["score"].to_list() == [1, None] * 11 + [3]
    assert var["source_id"].to_list() == var["gene_symbol"].to_list() == [f"G{i}" for i in range(N_GENES)]


def test_csr_rows_come_sorted_by_gene_and_without_duplicates(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "file.h5ad", counts())
    with h5py.File(path, "r+") as file:
        for name, values in (("indices", [5, 2, 5]), ("data", [1.0, 2.0, 4.0])):
            del file[f"X/{name}"]
            file[f"X/{name}"] = np.array(values, np.int32 if name == "indices" else np.float32)
        file["X/indptr"][...] = [0] + [3] * N_ROWS
    (batch,) = open_source(path).batches()
    assert batch.indices.tolist() == [2, 5]
    assert batch.data.tolist() == [2.0, 5.0]


def test_obs_as_compound_arrays_of_old_files_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.h5ad"
    obs = np.array(
        [(b"c1", 0, 1.5), (b"c2", 1, 2.5)], dtype=[("index", "S4"), ("line", "i1"), ("score", "f8")]
    )
    with h5py.File(path, "w") as file:
        file["X"] = np.eye(2, dtype=np.float32)
        file["obs"] = obs
        file["var"] = np.array([(b"G1",), (b"G2",)], dtype=[("index", "S4")])
        file["uns/line_categories"] = np.array([b"K562", b"A549"])
    table = open_source(path).obs()
    assert table.rows() == [("c1", "K562", 1.5), ("c2", "A549", 2.5)]


def test_categories_kept_beside_the_columns_as_in_anndata_0_7_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = np.eye(2, dtype=np.float32)
        for name, index in (("obs", [b"c1", b"c2"]), ("var", [b"G1", b"G2"])):
            file[f"{name}/_index"] = np.array(index)
            file[name].attrs["_index"] = "_index"
            file[name].attrs["column-order"] = np.array([], dtype="S1")
        file["obs/__categories/line"] = np.array([b"K562", b"A549"])
        file["obs/line"] = np.array([1, -1], np.int8)
        file["obs/line"].attrs["categories"] = file["obs/__categories/line"].ref
        file["obs"].attrs["column-order"] = np.array([b"line"])
    assert open_source(path).obs()["line"].to_list() == ["A549", None]


@pytest.mark.parametrize("version", ["GCTX1.0", np.array([b"GCTX1.0"])], ids=["scalar", "array"])
def test_gctx_of_both_version_styles_has_samples_as_rows(tmp_path: Path, version: Any) -> None:
    source = open_source(write_gctx(tmp_path / "any_name.bin", version=version))
    assert source.schema().format == "gctx"
    assert np.array_equal(whole(source, 3), np.arange(12.0).reshape(4, 3))
    assert source.obs()["dose"].to_list() == ["10 \xb5M", "-666", "1", "2"]
    assert source.var()["source_id"].to_list() == ["200814_at", "2_at", "3_at"]


def test_gct_1_3_is_turned_and_typed_and_missing_values_are_nan(tmp_path: Path) -> None:
    path = tmp_path / "file.gct"
    path.write_text(GCT13, encoding="utf-8")
    source = open_source(path)
    expected = np.array([[1.5, 4], [np.nan, 5], [-2, np.nan]], np.float32)
    assert np.array_equal(whole(source), expected, equal_nan=True)
    assert np.array_equal(whole(source, 1), expected, equal_nan=True)
    obs = source.obs()
    assert obs["dose"].to_list() == [10.0, -666.0, 2.5]
    assert obs["code"].to_list() == ["001", "002", "003"]
    assert source.var().rows() == [("p1_at", "PSME1"), ("p2_at", "ATF1")]


def test_gct_1_2_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.gct"
    path.write_bytes(GCT12.replace("\n", "\r\n").encode())
    source = open_source(path)
    assert np.array_equal(whole(source), [[1, 4], [2, 5], [3, 6]])
    assert source.obs()["source_id"].to_list() == ["s1", "s2", "s3"]
    assert source.var()["Description"].to_list() == ["first", "second"]


def test_content_decides_the_format_and_not_the_name(tmp_path: Path) -> None:
    text = tmp_path / "text.gctx"
    text.write_text(GCT13, encoding="utf-8")
    assert open_source(text).schema().format == "gct"
    assert open_source(write_gctx(tmp_path / "matrix.h5ad")).schema().format == "gctx"
    assert open_source(write_h5ad(tmp_path / "cells.gct", counts())).schema().format == "h5ad"


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        READERS["other"] = READERS["gct"]  # type: ignore[index]


@pytest.mark.parametrize("block", [1, 5, 1000])
def test_turning_a_csc_matrix_in_blocks_equals_scipy(block: int) -> None:
    matrix = counts(3).tocsc()
    indptr, indices, data = csc_to_row_order(
        matrix.indptr.astype(np.int64), matrix.indices, matrix.data, N_ROWS, block
    )
    turned = sparse.csr_matrix((data, indices, indptr), shape=matrix.shape)
    assert (turned != matrix.tocsr()).nnz == 0
    assert turned.has_sorted_indices


def test_entry_blocks_cover_every_line_once_and_respect_both_limits() -> None:
    indptr = np.array([0, 4, 4, 9, 30, 31, 32], np.int64)
    blocks = list(entry_blocks(indptr, 6, most=2))
    assert [first for first, _ in blocks] == [0, *[last for _, last in blocks[:-1]]]
    assert blocks[-1][1] == 6
    assert all(last - first <= 2 for first, last in blocks)
    assert all(indptr[last] - indptr[first] <= 6 or last - first == 1 for first, last in blocks)


def test_a_column_that_cannot_be_read_does_not_keep_the_file_out(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "file.h5ad", counts())
    with h5py.File(path, "r+") as file:
        file["obs/pairs"] = np.zeros((N_ROWS, 2))
        file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "pairs"]
    assert "pairs" not in open_source(path).obs().columns
    assert any("pairs" in note for note in open_source(path).schema().notes)

"""AnnData in Zarr of both versions: the same profiles and tables as anndata reads, or a refusal by name."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, Literal

import anndata
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pertcast_data.errors import CorruptStore, FormatError, PertcastError
from pertcast_data.readers import ProfileSource, open_source
from pertcast_data.readers.source import as_dense
from pertcast_data.store import (
    commit_manifest,
    create_dense_group,
    create_store,
    write_dense_shard,
    write_obs,
)
from scipy import sparse

N_ROWS, N_GENES = 40, 12
Version = Literal[2, 3]


def counts(seed: int = 0) -> Any:
    matrix = sparse.random(N_ROWS, N_GENES, 0.4, format="csr", dtype=np.float32, random_state=seed)
    matrix.data = np.ceil(matrix.data * 9)
    return matrix


def annotated(stored: Any) -> anndata.AnnData:
    obs = pd.DataFrame(
        {
            "line": pd.Categorical(["K562", None] * 19 + ["A549", "A549"]),
            "n": np.arange(N_ROWS, dtype=np.int32),
            "score": pd.array([1, None] * 20, dtype="Int64"),
            "flag": pd.array([True, None] * 20, dtype="boolean"),
            "guide": [f"ABC-{number}" for number in range(N_ROWS)],
            "depth": np.linspace(0.5, 2, N_ROWS),
        },
        index=[f"cell{number}" for number in range(N_ROWS)],
    )
    var = pd.DataFrame({"symbol": [f"S{n}" for n in range(N_GENES)]}, index=[f"G{n}" for n in range(N_GENES)])
    return anndata.AnnData(stored, obs, var)


def write(path: Path, table: anndata.AnnData, version: Version, **options: Any) -> Path:
    with anndata.settings.override(zarr_write_format=version):
        table.write_zarr(path, **options)
    return path


def whole(source: ProfileSource) -> np.ndarray[Any, np.dtype[Any]]:
    return np.concatenate([as_dense(batch) for batch in source.batches()])


def read_all(source: ProfileSource) -> None:
    whole(source)
    source.obs()
    source.var()


def as_they_read(source: ProfileSource, path: Path) -> None:
    """Compare with what anndata reads from the same place."""
    expected = anndata.read_zarr(path)
    values = expected.X.toarray() if sparse.issparse(expected.X) else np.asarray(expected.X)
    assert np.array_equal(whole(source), values)
    obs = source.obs()
    assert obs["source_id"].to_list() == expected.obs_names.to_list()
    assert source.var()["source_id"].to_list() == expected.var_names.to_list()
    for name in expected.obs.columns:
        column = expected.obs[name].astype(object)
        assert obs[name].to_list() == column.where(column.notna(), None).to_list()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("layout", ["dense", "csr", "csc"])
@pytest.mark.parametrize("is_consolidated", [True, False])
def test_zarr_of_both_versions_gives_what_anndata_reads(
    tmp_path: Path, version: Version, layout: str, is_consolidated: bool
) -> None:
    matrix = counts()
    stored = {"dense": matrix.toarray(), "csr": matrix, "csc": matrix.tocsc()}[layout]
    path = write(tmp_path / "cells.zarr", annotated(stored), version)
    if not is_consolidated and version == 2:
        (path / ".zmetadata").unlink()
    elif not is_consolidated:
        facts = json.loads((path / "zarr.json").read_text())
        del facts["consolidated_metadata"]
        (path / "zarr.json").write_text(json.dumps(facts))
    source = open_source(path)
    as_they_read(source, path)
    assert source.schema().format == "zarr"
    assert source.schema().layout == ("dense" if layout == "dense" else "csr")
    assert source.schema().is_splittable == (layout != "csc")


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_sharded_arrays_are_read(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path / "cells.zarr", annotated(counts()), 3)
    group = zarr.open_group(path, mode="r+")
    del group["X"]
    if layout == "dense":
        array = group.create_array("X", shape=(N_ROWS, N_GENES), chunks=(5, 4), shards=(20, 12), dtype="f4")
        array[:] = counts().toarray()
    else:
        part = group.create_group("X", attributes={"encoding-type": "csr_matrix", "shape": [N_ROWS, N_GENES]})
        for name in ("data", "indices", "indptr"):
            values = getattr(counts(), name)
            part.create_array(name, shape=values.shape, chunks=(8,), shards=(32,), dtype=values.dtype)[:] = (
                values
            )
    assert np.array_equal(whole(open_source(path)), counts().toarray())
    assert open_source(path).schema().notes == ()


@pytest.mark.parametrize("version", [2, 3])
def test_raw_and_layers_are_chosen_by_name(tmp_path: Path, version: Version) -> None:
    table = annotated(counts())
    table.layers["scaled"] = counts(1).toarray()
    table.raw = table
    path = write(tmp_path / "cells.zarr", table[:, :5].copy(), version)
    raw = open_source(path, matrix="raw")
    assert raw.schema().n_genes == raw.var().height == N_GENES
    assert np.array_equal(whole(raw), counts().toarray())
    assert np.array_equal(whole(open_source(path, "layers/scaled")), counts(1).toarray()[:, :5])
    assert np.array_equal(whole(open_source(path, "X")), counts().toarray()[:, :5])
    with pytest.raises(FormatError, match=r"no matrix 'layers/scale'.*raw.*Nearest: layers/scaled"):
        open_source(path, "layers/scale")


def test_a_zip_of_a_store_is_read_where_the_group_is_at_its_root(tmp_path: Path) -> None:
    path = write(tmp_path / "cells.zarr", annotated(counts()), 3)
    shutil.make_archive(str(tmp_path / "cells.zarr"), "zip", path)
    source = open_source(tmp_path / "cells.zarr.zip")
    assert np.array_equal(whole(source), counts().toarray())
    assert source.obs().equals(open_source(path).obs())
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("cells.zarr/zarr.json", "{}")
    with pytest.raises(FormatError, match=r"zip archive. Unpack it"):
        open_source(tmp_path / "other.zip")


def test_categories_beside_the_columns_as_in_anndata_0_7_are_read(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    group.create_array("X", data=np.eye(2, dtype=np.float32))
    for name in ("obs", "var"):
        table = group.create_group(name, attributes={"_index": "_index", "column-order": []})
        table.create_array("_index", data=np.array(["a", "b"], "<U1"))
    group["obs"].attrs["column-order"] = ["line"]
    group["obs"].create_array("__categories/line", data=np.array(["K562", "A549"], "<U4"))
    group["obs"].create_array("line", data=np.array([1, -1], np.int8))
    group["obs/line"].attrs["categories"] = "/obs/__categories/line"
    assert open_source(tmp_path / "old.zarr").obs()["line"].to_list() == ["A549", None]


def test_obs_as_compound_arrays_of_anndata_0_6_is_read(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    group.create_array("X", data=np.eye(2, dtype=np.float32))
    obs = np.array([(b"a", 1), (b"b", 0)], dtype=[("index", "S1"), ("line", "i1")])
    group.create_array("obs", data=obs)
    group.create_array("var", data=np.array([(b"g",), (b"h",)], dtype=[("index", "S1")]))
    group.create_array("uns/line_categories", data=np.array(["K562", "A549"], "<U4"))
    assert open_source(tmp_path / "old.zarr").obs().rows() == [("a", "A549"), ("b", "K562")]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "part", ["X/indptr", "X/indices", "X/data", "obs/_index", "var/_index", "obs/line/categories"]
)
def test_a_lost_chunk_of_a_sparse_matrix_or_of_names_is_refused(
    tmp_path: Path, version: Version, part: str
) -> None:
    path = write(tmp_path / "cells.zarr", annotated(counts()), version)
    chunk = path / part / ("c/0" if version == 3 else "0")
    chunk.unlink()
    with pytest.raises(FormatError, match=rf"cells\.zarr.*{part}.* missing.*incomplete"):
        read_all(open_source(path))


def test_lost_chunks_of_a_dense_matrix_are_counted_in_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "cells.zarr", annotated(counts().toarray() + 1), 2, chunks=(10, 12))
    assert not open_source(path).schema().notes
    (path / "X" / "1.0").unlink()
    (path / "obs" / "depth" / "0").unlink()
    source = open_source(path)
    first, second = source.schema().notes
    assert first.startswith("1 of 4 chunk files of X are absent")
    assert "obs/depth" in second
    assert np.array_equal(whole(source)[10:20], np.zeros((10, N_GENES)))


def test_a_lost_chunk_is_refused_where_the_array_has_no_fill_value(tmp_path: Path) -> None:
    path = write(tmp_path / "cells.zarr", annotated(counts().toarray() + 1), 2, chunks=(10, 12))
    facts = json.loads((path / "X" / ".zarray").read_text())
    (path / "X" / ".zarray").write_text(json.dumps(facts | {"fill_value": None}))
    assert np.array_equal(whole(open_source(path)), counts().toarray() + 1)
    (path / "X" / "3.0").unlink()
    with pytest.raises(FormatError, match="1 of 4 chunk files of X are missing"):
        whole(open_source(path))


def test_an_empty_sparse_matrix_needs_no_chunk(tmp_path: Path) -> None:
    path = write(tmp_path / "cells.zarr", annotated(sparse.csr_matrix((N_ROWS, N_GENES), dtype="f4")), 3)
    assert whole(open_source(path)).sum() == 0


def pertcast_store(path: Path, matrix: Any) -> Path:
    even = [number % 2 == 0 for number in range(N_ROWS)]
    obs = pl.DataFrame(
        {
            "sig_id": [f"s{number}" for number in range(N_ROWS)],
            "cell_iname": ["K562"] * N_ROWS,
            "pert_id": ["DMSO" if is_even else "BRD-1" for is_even in even],
            "pert_type": ["ctl_vehicle" if is_even else "trt_cp" for is_even in even],
        }
    )
    is_sparse = sparse.issparse(matrix)
    create_store(
        path,
        obs=obs,
        var=pl.DataFrame({"gene_symbol": [f"S{number}" for number in range(N_GENES)]}),
        batches=[matrix],
        measure="expression",
        normalisation="counts" if is_sparse else "log1p_cpm",
        shard_rows=64 if is_sparse else 16,
        chunk_rows=8,
    )
    return path


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_pertcast_store_is_read_as_anndata_reads_it(tmp_path: Path, is_sparse: bool) -> None:
    path = pertcast_store(tmp_path / "store", counts() if is_sparse else counts().toarray())
    source = open_source(path)
    expected = anndata.read_zarr(path)
    values = expected.X.toarray() if is_sparse else expected.X
    assert np.array_equal(whole(source), values)
    assert source.obs()["pert_id"].to_list() == expected.obs["pert_id"].to_list()
    assert source.schema().notes == ()


def test_a_zip_of_a_pertcast_store_is_refused_because_nothing_holds_it_to_its_manifest(
    tmp_path: Path,
) -> None:
    shutil.make_archive(str(tmp_path / "store"), "zip", pertcast_store(tmp_path / "store", counts()))
    with pytest.raises(FormatError, match=r"store\.zip: is a store of Pertcast in a zip. Unpack it"):
        open_source(tmp_path / "store.zip")


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_pertcast_store_without_a_shard_is_an_error_and_never_zeros(
    tmp_path: Path, is_sparse: bool
) -> None:
    path = pertcast_store(tmp_path / "store", counts() if is_sparse else counts().toarray())
    shard = path / "X" / ("indices/c/0" if is_sparse else "c/1/0")
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(CorruptStore, match=r"store/X/.*the file is missing"):
        open_source(path)
    shard.write_bytes(content[:-1])
    with pytest.raises(CorruptStore, match="bytes, the manifest says"):
        open_source(path)
    shard.write_bytes(content)
    shutil.rmtree(path / "obs")
    with pytest.raises(CorruptStore, match=r"store/obs/.*missing"):
        open_source(path)


def test_a_screen_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "screen"
    create_dense_group(path, 20, 3, chunk_rows=5, shard_rows=10)
    names = pl.DataFrame({"gene_id": ["a", "b", "c"], "gene_symbol": ["A", "B", "C"]})
    write_obs(path, pl.DataFrame({"sig_id": [str(number) for number in range(20)]}), names)
    first = write_dense_shard(path, 0, np.ones((10, 3), np.float32))
    commit_manifest(path, [first], {})
    with pytest.raises(CorruptStore, match=r"10 of 20 rows of X.*not finished"):
        open_source(path)
    commit_manifest(path, [first, write_dense_shard(path, 1, np.ones((10, 3), np.float32))], {})
    assert whole(open_source(path)).sum() == 60


def test_zarr_without_anndata_is_told_what_it_is(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "plain.zarr", mode="w").create_array("values", data=np.ones(3))
    with pytest.raises(FormatError, match=r"Zarr group, but holds no AnnData.*values.*write_zarr"):
        open_source(tmp_path / "plain.zarr")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    versions: tuple[Version, ...] = (2, 3)
    for version in versions:
        write(folder / f"csr{version}", annotated(counts()), version)
        write(folder / f"csc{version}", annotated(counts().tocsc()), version)
        write(folder / f"dense{version}", annotated(counts().toarray()), version)
    pertcast_store(folder / "store", counts())
    return {path.name: path for path in folder.iterdir()}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["csr2", "csc2", "dense2", "csr3", "csc3", "dense3", "store"]),
    which=st.integers(0, 10_000),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
    kept=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
def test_damaged_files_of_a_store_give_a_typed_error_or_a_store_that_reads(
    stores: dict[str, Path],
    tmp_path: Path,
    name: str,
    which: int,
    places: list[tuple[float, int]],
    kept: float,
) -> None:
    path = tmp_path / "damaged"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(stores[name], path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    target = files[which % len(files)]
    content = bytearray(target.read_bytes())
    for place, value in places if content else ():
        content[int(place * len(content))] = value
    target.write_bytes(content[: int(len(content) * kept)])
    try:
        source = open_source(path)
        n_rows = source.obs().height
        source.var(), source.schema()
        assert whole(source).shape[0] == n_rows
    except PertcastError as error:
        assert str(path) in str(error)


def test_a_chunk_that_claims_a_negative_size_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "cells.zarr", annotated(counts()), 2)
    chunk = path / "X" / "data" / "0"
    content = bytearray(chunk.read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"  # Blosc's header: size of the unpacked bytes
    chunk.write_bytes(content)
    with pytest.raises(FormatError, match=r"cells\.zarr: cannot be read as Zarr \(Negative size"):
        whole(open_source(path))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_zip_gives_a_typed_error_or_a_store_that_reads(
    stores: dict[str, Path], tmp_path: Path, places: list[tuple[float, int]]
) -> None:
    packed = tmp_path / "whole.zip"
    if not packed.exists():
        shutil.make_archive(str(tmp_path / "whole"), "zip", stores["csr3"])
    content = bytearray(packed.read_bytes())
    for place, value in places:
        content[int(place * len(content))] = value
    (tmp_path / "damaged").write_bytes(content)
    try:
        assert whole(open_source(tmp_path / "damaged")).shape[0] > 0
    except FormatError as error:
        assert "damaged" in str(error)


def test_old_h5ad_with_raw_beside_x_is_read(tmp_path: Path) -> None:
    matrix = counts()
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = matrix.toarray()[:, :3]
        for name, n in (("obs", N_ROWS), ("var", 3), ("raw.var", N_GENES)):
            file[name] = np.array([(number,) for number in range(n)], dtype=[("index", "u1")])
        group = file.create_group("raw.X")
        group.attrs["h5sparse_format"] = b"csr"
        group.attrs["h5sparse_shape"] = np.array(matrix.shape)
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
    raw = open_source(tmp_path / "old.h5ad", "raw")
    assert np.array_equal(whole(raw), matrix.toarray())
    assert raw.var()["source_id"].to_list() == [str(number) for number in range(N_GENES)]
    assert raw.obs().columns == ["source_id"]


def test_h5ad_with_one_cell_no_columns_and_a_nullable_index_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "cell.h5ad", "w") as file:
        file["X"] = np.array([1, 2, 3], ">f4")
        for name, ids in (("obs", [b"c1"]), ("var", [b"g1", b"g2", b"g3"])):
            file[f"{name}/names/values"] = np.array(ids)
            file[f"{name}/names/mask"] = np.zeros(len(ids), bool)
            file[name].attrs["_index"] = "names"
            file[name].attrs["column-order"] = h5py.Empty("S1")
    source = open_source(tmp_path / "cell.h5ad")
    assert whole(source).tolist() == [[1, 2, 3]]
    assert source.var()["names"].to_list() == ["g1", "g2", "g3"]
    assert source.schema().n_rows == 1


def test_a_column_of_another_length_is_left_out_and_named(tmp_path: Path) -> None:
    annotated(counts()).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        del file["obs/n"]
        file["obs/n"] = np.arange(3)
    source = open_source(tmp_path / "cells.h5ad")
    assert "n" not in source.obs().columns
    assert source.schema().notes == ("columns of obs that cannot be read were left out: n",)

"""Ranges of rows: together they are the whole, whatever the format, the layout and where they are cut."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast_data.errors import FormatError
from pertcast_data.readers import compressed_rows, open_source
from pertcast_data.readers.source import as_dense, row_range
from scipy import sparse

N_ROWS, N_GENES = 29, 7
LAYOUTS = ("h5ad_dense", "h5ad_chunked", "h5ad_csr", "h5ad_csc", "gctx", "gct", "zarr_csr", "zarr_dense")
VALUES = np.ceil(sparse.random(N_ROWS, N_GENES, 0.4, dtype=np.float32, random_state=1).toarray() * 9)


def annotated(stored: Any) -> anndata.AnnData:
    obs = pd.DataFrame(index=[f"c{number}" for number in range(N_ROWS)])
    return anndata.AnnData(stored, obs, pd.DataFrame(index=[f"g{number}" for number in range(N_GENES)]))


def write_gctx(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("0/DATA/0/matrix", data=VALUES, chunks=(4, 3))
        file["0/META/ROW/id"] = np.array([f"g{number}".encode() for number in range(N_GENES)])
        file["0/META/COL/id"] = np.array([f"c{number}".encode() for number in range(N_ROWS)])


def write_gct(path: Path) -> None:
    lines = ["#1.2", f"{N_GENES}\t{N_ROWS}", "\t".join(["Name", "Text", *map(str, range(N_ROWS))])]
    lines += ["\t".join([f"g{gene}", "x", *map(str, VALUES[:, gene])]) for gene in range(N_GENES)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


WRITERS: dict[str, Callable[[Path], None]] = {
    "h5ad_dense": lambda path: annotated(VALUES).write_h5ad(path),
    "h5ad_chunked": lambda path: annotated(VALUES).write_h5ad(path, compression="gzip"),
    "h5ad_csr": lambda path: annotated(sparse.csr_matrix(VALUES)).write_h5ad(path),
    "h5ad_csc": lambda path: annotated(sparse.csc_matrix(VALUES)).write_h5ad(path),
    "gctx": write_gctx,
    "gct": write_gct,
    "zarr_csr": lambda path: annotated(sparse.csr_matrix(VALUES)).write_zarr(path),
    "zarr_dense": lambda path: annotated(VALUES).write_zarr(path, chunks=(4, 3)),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("ranges")
    for name in LAYOUTS:
        WRITERS[name](folder / name)
    return {name: folder / name for name in LAYOUTS}


def read(path: Path, rows: int | None, start: int, stop: int | None) -> np.ndarray[Any, np.dtype[Any]]:
    batches = [as_dense(batch) for batch in open_source(path).batches(rows, start, stop)]
    return np.concatenate(batches) if batches else np.empty((0, N_GENES))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(LAYOUTS),
    cuts=st.lists(st.integers(0, N_ROWS), max_size=5),
    rows=st.sampled_from([None, 1, 3, 100]),
)
def test_the_union_of_any_ranges_is_the_whole(
    paths: dict[str, Path], name: str, cuts: list[int], rows: int | None
) -> None:
    edges = [0, *sorted(cuts), N_ROWS + 5]
    parts = [read(paths[name], rows, low, high) for low, high in pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), VALUES)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_range_gives_its_rows_in_batches_no_larger_than_asked(paths: dict[str, Path], name: str) -> None:
    batches = list(open_source(paths[name]).batches(4, 5, 18))
    assert max(batch.shape[0] for batch in batches) <= 4
    assert np.array_equal(np.concatenate([as_dense(batch) for batch in batches]), VALUES[5:18])
    assert list(open_source(paths[name]).batches(4, 9, 9)) == []
    assert np.array_equal(read(paths[name], None, 20, None), VALUES[20:])


def test_formats_that_are_read_from_their_front_say_so(paths: dict[str, Path]) -> None:
    splittable = {name: open_source(path).schema().is_splittable for name, path in paths.items()}
    assert splittable == {name: name not in ("h5ad_csc", "gct") for name in LAYOUTS}


class Watched:
    """An array that notes the slices that are read of it."""

    def __init__(self, values: np.ndarray[Any, np.dtype[Any]]) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.read: list[tuple[int, int]] = []

    def __getitem__(self, part: slice) -> np.ndarray[Any, np.dtype[Any]]:
        self.read.append((part.start, part.stop))
        return self.values[part]


def test_a_range_of_csr_reads_no_entry_outside_its_rows() -> None:
    matrix = sparse.csr_matrix(VALUES)
    indices, data = Watched(matrix.indices), Watched(matrix.data)
    parts = compressed_rows.CompressedRows(matrix.indptr, indices, data, matrix.shape, "matrix")
    list(parts.batches(3, 10, 16))
    low, high = matrix.indptr[10], matrix.indptr[16]
    assert min(start for start, _ in indices.read) == low
    assert max(stop for _, stop in indices.read) == high
    assert sum(stop - start for start, stop in data.read) == high - low


def test_pointers_read_in_pieces_give_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed_rows, "_POINTERS_AT_ONCE", 4)
    matrix = sparse.csr_matrix(VALUES)
    parts = compressed_rows.CompressedRows(matrix.indptr, matrix.indices, matrix.data, matrix.shape, "matrix")
    assert np.array_equal(np.concatenate([b.toarray() for b in parts.batches(None, 3, 23)]), VALUES[3:23])
    broken = matrix.indptr.copy()
    broken[15] = broken[14] - 1
    parts = compressed_rows.CompressedRows(broken, matrix.indices, matrix.data, matrix.shape, "matrix")
    with pytest.raises(FormatError, match=r"matrix: the pointers of rows 12 to 16.*damaged"):
        list(parts.batches(None, 0, None))


def test_a_range_that_is_none_is_refused_or_cut() -> None:
    assert row_range(10, 3, None) == (3, 10)
    assert row_range(10, 3, 99) == (3, 10)
    assert row_range(10, 99, None) == (10, 10)
    with pytest.raises(ValueError, match="from 0"):
        row_range(10, -1, None)


@pytest.mark.parametrize("name", ["gct", "gctx"])
def test_a_file_of_one_matrix_refuses_the_choice_of_another(paths: dict[str, Path], name: str) -> None:
    with pytest.raises(FormatError, match=rf"{name} and holds one matrix.*`matrix: raw`.*mapping file"):
        open_source(paths[name], matrix="raw")


def test_raw_brings_its_own_genes_and_layers_are_named(tmp_path: Path) -> None:
    table = annotated(VALUES)
    table.layers["counts"] = sparse.csc_matrix(VALUES * 2)
    table.raw = table
    table = table[:, :3].copy()
    table.write_h5ad(tmp_path / "cells.h5ad")
    raw = open_source(tmp_path / "cells.h5ad", matrix="raw")
    assert raw.schema().n_genes == raw.var().height == N_GENES
    assert np.array_equal(np.concatenate([as_dense(batch) for batch in raw.batches()]), VALUES)
    layer = open_source(tmp_path / "cells.h5ad", matrix="layers/counts")
    assert np.array_equal(np.concatenate([as_dense(b) for b in layer.batches()]), VALUES[:, :3] * 2)
    for name, near in (("layers/count", "layers/counts"), ("counts", "layers/counts"), ("Raw2", "raw")):
        with pytest.raises(FormatError, match=rf"no matrix '{name}'.*`matrix:`.*Nearest: {near}"):
            open_source(tmp_path / "cells.h5ad", matrix=name)


def test_a_file_without_x_names_what_there_is(tmp_path: Path) -> None:
    obs = pd.DataFrame(index=["a", "b"])
    var = pd.DataFrame(index=["g", "h"])
    anndata.AnnData(None, obs, var, layers={"counts": np.eye(2)}).write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(FormatError, match=r"no matrix X; it holds layers/counts\. Name one"):
        open_source(tmp_path / "cells.h5ad")
    source = open_source(tmp_path / "cells.h5ad", matrix="layers/counts")
    assert np.array_equal(next(iter(source.batches())), np.eye(2))


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "?", "i1", "u2", ">i4", "u8"])
@pytest.mark.parametrize("index_dtype", ["i4", "i8", "u4", ">i4", ">i8", "u8"])
@pytest.mark.parametrize("encoding", ["csr", "csc"])
def test_every_number_type_of_values_and_indices_is_read(
    tmp_path: Path, dtype: str, index_dtype: str, encoding: str
) -> None:
    expected = VALUES.astype(dtype).astype(np.float64)
    stored = sparse.csr_matrix(expected) if encoding == "csr" else sparse.csc_matrix(expected)
    annotated(VALUES).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        del file["X"]
        file["X/data"] = stored.data.astype(dtype)
        file["X/indices"] = stored.indices.astype(index_dtype)
        file["X/indptr"] = stored.indptr.astype(index_dtype)
        file["X"].attrs["encoding-type"] = f"{encoding}_matrix"
        file["X"].attrs["shape"] = np.array(expected.shape)
    assert np.array_equal(read(tmp_path / "cells.h5ad", 10, 0, None), expected)


@pytest.mark.parametrize("dtype", ["S3", "c8"])
def test_a_matrix_of_no_real_numbers_is_refused(tmp_path: Path, dtype: str) -> None:
    annotated(VALUES).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        del file["X"]
        file["X"] = np.zeros((N_ROWS, N_GENES), dtype)
    with pytest.raises(FormatError, match=r"X holds .* and no real numbers"):
        open_source(tmp_path / "cells.h5ad")

"""Parquet, Arrow and Feather: wide tables, vectors and long lists give the profiles, or a typed error."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pertcast_data.errors import FormatError, PertcastError
from pertcast_data.readers.arrow.table import ArrowTableSource
from pertcast_data.readers.source import ProfileBatch, as_dense
from scipy import sparse

Matrix = np.ndarray[Any, np.dtype[np.float32]]
SharedData = Callable[[str], Path]

GENES = ["TP53", "MYC", "EGFR"]


def write(path: Path, table: pa.Table, form: str = "parquet", rows: int = 3) -> Path:
    if form == "parquet":
        parquet.write_table(table, path, row_group_size=rows)
    elif form == "feather":
        feather.write_feather(table, str(path), chunksize=rows)
    else:
        make = ipc.new_file if form == "file" else ipc.new_stream
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return path


def whole(source: ArrowTableSource, rows: int | None = None) -> Matrix:
    return np.concatenate([as_dense(batch) for batch in source.batches(rows)])


def wide(matrix: Matrix, genes: list[str] = GENES) -> pa.Table:
    columns: dict[str, Any] = {
        "barcode": [f"c{number}" for number in range(len(matrix))],
        "cell_line": pa.array(["A375"] * len(matrix)).dictionary_encode(),
        "pert_dose": [1.5] * len(matrix),
        "n_genes": [3] * len(matrix),
    }
    return pa.table({**columns, **{gene: matrix[:, place] for place, gene in enumerate(genes)}})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(["parquet", "feather", "file", "stream"]),
    n_rows=st.integers(1, 12),
    group=st.integers(1, 13),
    rows=st.one_of(st.none(), st.integers(1, 5)),
    start=st.integers(0, 13),
    stop=st.one_of(st.none(), st.integers(0, 13)),
    seed=st.integers(0, 100),
)
def test_a_wide_table_comes_back_whole_and_in_ranges(
    tmp_path: Path,
    form: str,
    n_rows: int,
    group: int,
    rows: int | None,
    start: int,
    stop: int | None,
    seed: int,
) -> None:
    matrix = np.random.default_rng(seed).normal(size=(n_rows, 3)).astype(np.float32)
    matrix[0, 1] = np.nan
    source = ArrowTableSource(write(tmp_path / "table", wide(matrix), form, group))
    assert np.array_equal(whole(source, rows), matrix, equal_nan=True)
    parts = [as_dense(batch) for batch in source.batches(rows, start, stop)]
    assert np.array_equal(np.concatenate([np.zeros((0, 3)), *parts]), matrix[start:stop], equal_nan=True)
    assert all(0 < len(part) <= (rows or n_rows) for part in parts)
    assert source.var()["source_id"].to_list() == GENES
    assert source.obs().columns == ["source_id", "cell_line", "pert_dose", "n_genes"]
    assert source.obs()["source_id"].to_list() == [f"c{number}" for number in range(n_rows)]
    assert source.schema().is_splittable == (form != "stream")


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint32(), pa.int64(), pa.float16(), pa.float64(), pa.decimal128(9, 2)]
)
def test_numbers_of_every_type_are_float32_and_nulls_are_missing(tmp_path: Path, kind: Any) -> None:
    values = pa.array([1.0, None, 3.0]).cast(pa.float32()).cast(kind)
    table = pa.table({"id": ["a", "b", "c"], "TP53": values, "MYC": pa.array([-666.0, 0, 2])})
    found = whole(ArrowTableSource(write(tmp_path / "table", table)))
    assert found.dtype == np.float32
    assert np.array_equal(found, np.array([[1, np.nan], [np.nan, 0], [3, 2]]), equal_nan=True)


def test_what_each_column_was_taken_for_is_said(tmp_path: Path) -> None:
    genes = [f"GENE{number}" for number in range(8)]
    table = wide(np.ones((2, 8), np.float32), genes).append_column("viability", pa.array([0.5, 0.7]))
    table = table.append_column("purity", pa.array([0.5, 0.7]))
    source = ArrowTableSource(write(tmp_path / "table", table))
    notes = " ".join(source.schema().notes)
    assert "8 columns are genes" in notes
    assert "annotation columns: cell_line, pert_dose, n_genes, viability, purity" in notes
    assert "taken for annotations: purity" in notes


def test_a_dose_with_its_unit_in_brackets_is_no_gene(tmp_path: Path) -> None:
    matrix = np.arange(24, dtype=np.float32).reshape(3, 8)
    genes = [*GENES, "KLF1", "GATA1", "ACTB", "GAPDH", "SET"]
    table = wide(matrix, genes).append_column("Dose (µM)", pa.array([10.0, None, 1.0]))
    source = ArrowTableSource(
        write(tmp_path / "wells.parquet", table.append_column("[odd] 1", pa.array([1.0] * 3)))
    )
    assert source.obs()["Dose (µM)"].to_list() == [10.0, None, 1.0]
    assert source.var()["source_id"].to_list() == [*genes, "[odd] 1"]
    assert "1 column taken for genes by other names: [odd] 1" in source.schema().notes


def test_columns_that_cannot_be_told_are_asked_for_and_taken(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "apple": [1.0, 2.0], "pear": [3.0, 4.0], "plum": [5.0, 6.0]})
    path = write(tmp_path / "table", table)
    with pytest.raises(FormatError, match=r"cannot tell.*apple.*`annotation_columns: \[apple, "):
        ArrowTableSource(path)
    source = ArrowTableSource(path, annotation_columns=("plum",))
    assert source.var()["source_id"].to_list() == ["apple", "pear"]
    assert source.obs()["plum"].to_list() == [5.0, 6.0]
    with pytest.raises(FormatError, match="no column 'fig'"):
        ArrowTableSource(path, annotation_columns=("fig",))


def test_named_annotations_add_to_those_whose_names_tell_it(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "pert_dose": [1.0, 2.0], "pear": [3.0, 4.0], "plum": [5.0, 6.0]})
    source = ArrowTableSource(write(tmp_path / "table", table), annotation_columns=("plum",))
    assert source.var()["source_id"].to_list() == ["pear"]
    assert source.obs()["pert_dose"].to_list() == [1.0, 2.0]


def test_the_index_of_pandas_names_the_rows(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"TP53": [1.0, 2.0], "MYC": [3.0, 4.0]}, index=["w1", "w2"])
    frame.to_parquet(tmp_path / "table")
    source = ArrowTableSource(tmp_path / "table")
    assert source.obs().to_dict(as_series=False) == {"source_id": ["w1", "w2"]}
    assert whole(source).tolist() == [[1, 3], [2, 4]]


def vectors(kind: Any, metadata: dict[str, str] | None = None) -> pa.Table:
    column = pa.array([[1.0, 2.0, 3.0], None, [4.0, 5.0, 6.0]], kind)
    table = pa.table({"sig_id": ["a", "b", "c"], "dose": [1, 2, 3], "x": column})
    return table.replace_schema_metadata(metadata)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.int64()), pa.list_(pa.float64(), 3)]
)
@pytest.mark.parametrize("named", [json.dumps(GENES), "TP53,MYC,EGFR"])
def test_a_column_of_vectors_is_a_matrix(tmp_path: Path, kind: Any, named: str) -> None:
    source = ArrowTableSource(write(tmp_path / "table", vectors(kind, {"genes": named}), rows=2))
    wanted = np.array([[1, 2, 3], [np.nan] * 3, [4, 5, 6]])
    assert np.array_equal(whole(source), wanted, equal_nan=True)
    assert np.array_equal(np.concatenate([*source.batches(1, 1, 3)]), wanted[1:], equal_nan=True)
    assert source.var()["source_id"].to_list() == GENES
    assert source.obs().to_dict(as_series=False) == {"source_id": ["a", "b", "c"], "dose": [1, 2, 3]}


def test_vectors_need_names_of_genes_or_one_fixed_length(tmp_path: Path) -> None:
    fixed = ArrowTableSource(write(tmp_path / "fixed", vectors(pa.list_(pa.float32(), 3))))
    assert fixed.var()["source_id"].to_list() == ["0", "1", "2"]
    assert any("genes have no names" in note for note in fixed.schema().notes)
    with pytest.raises(FormatError, match="nothing names the genes"):
        ArrowTableSource(write(tmp_path / "free", vectors(pa.list_(pa.float32()))))
    with pytest.raises(FormatError, match=r"name 2 genes.*vectors of 3 values"):
        ArrowTableSource(
            write(tmp_path / "short", vectors(pa.list_(pa.float32(), 3), {"genes": '["A", "B"]'}))
        )
    ragged = pa.table({"id": ["a", "b"], "x": pa.array([[1.0, 2.0], [1.0]])}).replace_schema_metadata(
        {"genes": "A,B"}
    )
    with pytest.raises(FormatError, match="row 1 has 1 values where there are 2"):
        whole(ArrowTableSource(write(tmp_path / "ragged", ragged)))


def test_several_columns_of_vectors_are_chosen_by_name(tmp_path: Path) -> None:
    table = vectors(pa.list_(pa.float32(), 3)).append_column(
        "y", pa.array([[7.0, 8.0]] * 3, pa.list_(pa.float32(), 2))
    )
    path = write(tmp_path / "table", table)
    with pytest.raises(FormatError, match=r"2 columns hold vectors.*matrix: x"):
        ArrowTableSource(path)
    assert whole(ArrowTableSource(path, "y")).tolist() == [[7, 8]] * 3
    with pytest.raises(FormatError, match=r"no column of vectors 'z'.*x, y"):
        ArrowTableSource(path, "z")


def long_table(matrix: Matrix, seed: int, *, drops: bool) -> pa.Table:
    rows, columns = np.nonzero(matrix) if drops else np.nonzero(np.ones_like(matrix))
    order = np.random.default_rng(seed).permutation(len(rows))
    rows, columns = rows[order], columns[order]
    return pa.table(
        {
            "cell_barcode": pa.array([f"c{row}" for row in rows]).dictionary_encode(),
            "drug": [f"d{row % 2}" for row in rows],
            "gene_id": columns * 10,
            "gene_symbol": [f"G{column}" for column in columns],
            "count": matrix[rows, columns],
        }
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    drops=st.booleans(),
    n_rows=st.integers(1, 8),
    rows=st.one_of(st.none(), st.integers(1, 3)),
    form=st.sampled_from(["parquet", "stream"]),
)
def test_a_long_list_in_any_order_is_the_matrix(
    tmp_path: Path, seed: int, drops: bool, n_rows: int, rows: int | None, form: str
) -> None:
    matrix = np.random.default_rng(seed).poisson(1.0, (n_rows, 4)).astype(np.float32)
    matrix[:, 0] += 1
    matrix[0] += 1
    source = ArrowTableSource(write(tmp_path / "table", long_table(matrix, seed, drops=drops), form, 5))
    obs, var = source.obs(), source.var()
    cells = [int(name[1:]) for name in obs["source_id"]]
    genes = [int(name) // 10 for name in var["source_id"]]
    assert sorted(cells) == list(range(n_rows)) and sorted(genes) == list(range(4))
    assert obs["drug"].to_list() == [f"d{cell % 2}" for cell in cells]
    assert var["gene_symbol"].to_list() == [f"G{gene}" for gene in genes]
    assert np.array_equal(whole(source, rows), matrix[cells][:, genes])
    is_sparse = drops and bool((matrix == 0).any())
    assert source.schema().layout == ("csr" if is_sparse else "dense")
    kinds = {sparse.issparse(batch) for batch in source.batches(rows)}
    assert kinds == {is_sparse}
    assert any("not listed are 0" in note for note in source.schema().notes) == is_sparse


def test_pairs_that_are_not_listed_are_missing_where_zeros_are_listed(tmp_path: Path) -> None:
    table = pa.table({"sig_id": ["a", "a", "b"], "gene": ["TP53", "MYC", "MYC"], "value": [0.0, -1.5, 2.0]})
    source = ArrowTableSource(write(tmp_path / "table", table))
    assert np.array_equal(whole(source), np.array([[0, -1.5], [np.nan, 2]]), equal_nan=True)
    assert any("missing (NaN)" in note for note in source.schema().notes)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"sig_id": ["a", "a"], "gene": ["MYC", "MYC"], "value": [1.0, 2.0]},
            "'a' has several values of 'MYC'",
        ),
        ({"sig_id": ["a", None], "gene": ["MYC", "MYC"], "value": [1.0, 2.0]}, "row 1 has no 'sig_id'"),
        (
            {"sig_id": ["a", "a"], "gene": ["MYC", "TP53"], "drug": ["x", "y"], "value": [1.0, 2.0]},
            "column 'drug' has several values for one profile",
        ),
    ],
)
def test_a_long_list_that_contradicts_itself_is_refused(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    source = ArrowTableSource(write(tmp_path / "table", pa.table(columns)))
    with pytest.raises(FormatError, match=message):
        source.schema(), whole(source)


@pytest.mark.parametrize(
    "columns",
    [
        {"sig_id": ["a"], "pert_dose": [1.0], "cell_iname": ["A375"]},
        {"cmap_name": ["x"], "entrez_id": [18], "symbol": ["ABAT"]},
        {"id": ["x"], "note": ["y"], "amount": [1.0]},
    ],
)
def test_tables_of_annotations_are_refused_with_the_option_to_use(
    tmp_path: Path, columns: dict[str, Any]
) -> None:
    with pytest.raises(FormatError, match=r"table of annotations.*--obs-table"):
        ArrowTableSource(write(tmp_path / "table", pa.table(columns)))


def test_empty_tables_repeated_names_and_old_feather_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="has no rows"):
        ArrowTableSource(write(tmp_path / "table", wide(np.zeros((0, 3), np.float32))))
    repeated = pa.table([pa.array([1.0]), pa.array([2.0])], names=["MYC", "MYC"])
    with pytest.raises(FormatError, match=r"several columns share a name .'MYC'"):
        ArrowTableSource(write(tmp_path / "repeated", repeated, "file"))
    (tmp_path / "old").write_bytes(b"FEA1" + b"\0" * 40)
    with pytest.raises(FormatError, match="Feather version 1"):
        ArrowTableSource(tmp_path / "old")
    with pytest.raises(FormatError, match=r"no column of vectors .X.*leave .matrix. out"):
        ArrowTableSource(write(tmp_path / "wide", wide(np.ones((2, 3), np.float32))), "X")


def whole_files() -> dict[str, bytes]:
    files = {}
    for form in ("parquet", "file", "stream"):
        path = io.BytesIO()
        table = wide(np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32))
        if form == "parquet":
            parquet.write_table(table, path, row_group_size=4)
        else:
            with (ipc.new_file if form == "file" else ipc.new_stream)(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=4)
        files[form] = path.getvalue()
    return files


FILES = whole_files()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from([*FILES]),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
    length=st.one_of(st.just(1.0), st.floats(0.01, 1)),
)
def test_damaged_bytes_give_a_typed_error_or_a_file_that_reads(
    tmp_path: Path, form: str, places: list[tuple[float, int]], length: float
) -> None:
    damaged = bytearray(FILES[form])
    for place, value in places:
        damaged[int(place * len(damaged))] = value
    path = tmp_path / "damaged"
    path.write_bytes(damaged[: round(len(damaged) * length)])
    assert ArrowTableSource.detects(path) in (True, False)
    try:
        source = ArrowTableSource(path)
        source.obs(), source.var(), source.schema()
        batches: list[ProfileBatch] = list(source.batches())
    except PertcastError as error:
        assert str(path) in str(error)
    else:
        assert sum(batch.shape[0] for batch in batches) == source.schema().n_rows


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_truncated_files_are_refused_by_name(tmp_path: Path, form: str, share: float) -> None:
    path = tmp_path / "cut"
    path.write_bytes(FILES[form][: int(len(FILES[form]) * share)])
    assert ArrowTableSource.detects(path)
    with pytest.raises(FormatError, match=r"cut.*(again|no rows)"):
        whole(ArrowTableSource(path))


@pytest.mark.parametrize(("name", "n_rows"), [("rnai", 243), ("crispr", 302), ("oe", 181)])
def test_real_tables_by_entrez_id_are_read_as_polars_reads_them(
    shared_data: SharedData, name: str, n_rows: int
) -> None:
    path = shared_data(f"transcriptionnet/gec_{name}.parquet")
    source, frame = ArrowTableSource(path), pl.read_parquet(path)
    schema = source.schema()
    assert (schema.n_rows, schema.n_genes, schema.dtype) == (n_rows, 978, "float")
    assert source.obs().columns == ["source_id", "entrez_id", "symbol", "split"]
    assert source.var()["source_id"].to_list() == frame.columns[3:]
    assert np.array_equal(whole(source), frame[:, 3:].to_numpy(), equal_nan=True)


def test_real_features_are_read_and_said_to_be_no_genes(shared_data: SharedData) -> None:
    source = ArrowTableSource(shared_data("transcriptionnet/features.parquet"))
    assert source.schema().n_genes == 512
    assert "names of columns do not look like genes" in source.schema().notes


@pytest.mark.parametrize("name", ["gene_meta", "drug_target", "landmarks"])
def test_real_tables_of_annotations_are_refused(shared_data: SharedData, name: str) -> None:
    with pytest.raises(FormatError, match="table of annotations"):
        ArrowTableSource(shared_data(f"transcriptionnet/{name}.parquet"))


def test_a_real_list_of_edges_is_no_matrix(shared_data: SharedData) -> None:
    with pytest.raises(FormatError, match=r"cannot tell|table of annotations"):
        ArrowTableSource(shared_data("transcriptionnet/network_disease.parquet"))


def test_a_column_without_a_name_names_the_rows(tmp_path: Path) -> None:
    table = pa.table(
        [pa.array(["w1", "w2"]), pa.array([1.0, 2.0]), pa.array([3.0, 4.0])], names=["", "TP53", "MYC"]
    )
    source = ArrowTableSource(write(tmp_path / "table", table))
    assert source.obs().to_dict(as_series=False) == {"source_id": ["w1", "w2"]}
    assert whole(source).tolist() == [[1, 3], [2, 4]]

"""Bad input of any kind never crashes an ingest: a valid store with the file's values, or a typed refusal.

`make acceptance` plays a thousand more. A fault is printed with its seed; `malformed.judge(seed, folder)`
plays it again.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import anndata
import malformed
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pertcast_data.errors import ConfigError, FormatError, SchemaError, UnitError
from pertcast_data.ingest import ingest
from pertcast_data.ingest.inspection import inspect_path
from pertcast_data.store import ExpressionStore, validate_store

N_GROUPS, GROUP = 10, 25


@pytest.fixture(scope="module")
def base_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store that malformed rows are appended to."""
    return Path(malformed.write_base_store(tmp_path_factory.mktemp("base")))


@pytest.mark.parametrize("group", range(N_GROUPS))
def test_malformed_input_is_refused_by_name_or_its_store_holds_what_the_file_holds(
    group: int, base_store: Path, tmp_path: Path
) -> None:
    verdicts = [
        malformed.judge(seed, tmp_path / "case", base_store)
        for seed in range(group * GROUP, (group + 1) * GROUP)
    ]
    assert [f"{verdict.case}: {verdict.fault}" for verdict in verdicts if verdict.fault] == []
    assert {verdict.outcome for verdict in verdicts} == {"refused", "ingested"}


@pytest.mark.parametrize("form", malformed.FORMATS)
def test_the_data_that_is_damaged_ingests_while_it_is_whole(form: str, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    case = malformed.write_case(malformed.Case(0, form, "ingest"), [], random.Random(0), inputs)
    verdict = malformed.play(case, tmp_path)
    assert (verdict.outcome, verdict.message, verdict.fault) == ("ingested", "", "")


def screen(path: Path, obs: dict[str, Any], values: Any = None, genes: list[str] | None = None) -> Path:
    n_rows = len(next(iter(obs.values())))
    genes = genes or ["TP53", "MYC"]
    matrix = (
        np.arange(n_rows * len(genes), dtype=np.float32).reshape(n_rows, -1) if values is None else values
    )
    table = pd.DataFrame(obs, index=[f"c{row}" for row in range(n_rows)])
    anndata.AnnData(matrix, table, pd.DataFrame(index=genes)).write_h5ad(path)
    return path


COLUMNS = {
    "cell_line": ["K562", "K562"],
    "perturbation": ["control", "MYC"],
    "perturbation_type": ["CRISPRi", "CRISPRi"],
}


@pytest.mark.parametrize("name", ["BATCH_ID", "Targets", "PLATE", "Condition_ID", "SOURCE_ROW"])
def test_columns_that_differ_only_in_case_leave_a_store_that_opens(name: str, tmp_path: Path) -> None:
    path = screen(tmp_path / "a.h5ad", {**COLUMNS, "plate": ["P1", "P2"], name: ["x", "y"]})
    report = ingest([path], tmp_path / "store")
    assert validate_store(tmp_path / "store") == []
    store = ExpressionStore.open(tmp_path / "store")
    folded = [column.casefold() for column in store.obs.columns]
    assert len(set(folded)) == len(folded)
    assert sorted(store.obs[f"{name}_2"].to_list()) == ["x", "y"]
    assert f"{name!r} -> '{name}_2'" in "\n".join(report.lines())


@pytest.mark.parametrize("name", ["..", ".", "a\tb", "x" * 5000, "µ/m"])
def test_names_that_no_folder_can_have_are_kept_under_others(name: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({**COLUMNS, name: ["x", "y"], "TP53": [1.5, -2.0], "MYC": [0.5, 1.0]})
    frame.write_parquet(tmp_path / "a.parquet")
    ingest([tmp_path / "a.parquet"], tmp_path / "store")
    assert validate_store(tmp_path / "store") == []
    obs = ExpressionStore.open(tmp_path / "store").obs
    assert any(set(obs[column].cast(pl.String)) == {"x", "y"} for column in obs.columns)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.parquet", "store"]


def test_bytes_are_read_as_text_and_lists_are_left_out(tmp_path: Path) -> None:
    path = screen(tmp_path / "a.h5ad", {**COLUMNS, "extra": ["a", "b"]})
    columns = {"id": ["c0", "c1"], "site": [b"\xb5M", b"nM"], "pert_time": [[1, 2], [3, 4]]}
    pl.DataFrame(columns).write_parquet(tmp_path / "rows.parquet")
    report = ingest([path], tmp_path / "store", None, tmp_path / "rows.parquet", "id")
    told = "\n".join(report.lines())
    assert "bytes read as text: site" in told
    assert "columns that hold lists or records: pert_time" in told
    obs = ExpressionStore.open(tmp_path / "store").obs
    assert set(obs["site"]) == {"µM", "nM"}
    assert obs["pert_time"].null_count() == 2


@pytest.mark.parametrize("value", [1e39, -1e300, 1.7e308])
def test_a_value_beyond_float32_is_refused_and_never_stored_as_infinite(value: float, tmp_path: Path) -> None:
    path = screen(tmp_path / "a.h5ad", COLUMNS, np.array([[0.5, -1.0], [value, value]]))
    with pytest.raises(
        SchemaError, match=r"a\.h5ad: the value of row 1, gene 0 is .*beyond what float32 holds"
    ):
        ingest([path], tmp_path / "store")
    assert list(tmp_path.iterdir()) == [path]


def test_counts_with_missing_values_name_their_file_and_the_rule_that_leaves_them_out(tmp_path: Path) -> None:
    path = screen(tmp_path / "a.h5ad", COLUMNS, np.array([[1.0, 3.0], [np.nan, 2.0]], np.float32))
    with pytest.raises(SchemaError, match=r"a\.h5ad: .*holds negative or missing.*drop_rows_with_missing"):
        ingest([path], tmp_path / "store")


@pytest.mark.parametrize("name", ["", "map.yaml/inner"])
def test_a_mapping_file_that_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    path = screen(tmp_path / "a.h5ad", COLUMNS)
    (tmp_path / "map.yaml").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read as a mapping file"):
        ingest([path], tmp_path / "store", tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 3000, r"map\.yaml: is nested too deep"),
        ("tables: [{file: [], key: id}]", r"map\.yaml: tables\.file: names no file"),
        (f"controls: {{values: [{'x' * 9000}]}}\ncontrol_pert: y", r"map\.yaml: controls and control_pert"),
    ],
)
def test_a_mapping_file_that_says_nonsense_is_refused_in_few_words(
    text: str, message: str, tmp_path: Path
) -> None:
    path = screen(tmp_path / "a.h5ad", COLUMNS)
    (tmp_path / "map.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as refusal:
        ingest([path], tmp_path / "store", tmp_path / "map.yaml")
    assert len(str(refusal.value)) < 1000


def test_complex_numbers_are_refused_in_every_kind_of_hdf5(tmp_path: Path) -> None:
    draft = malformed.valid_draft(random.Random(3), is_counts=False)
    draft.values = draft.values.astype(np.complex64)
    for form in ("h5ad dense", "gctx", "10x h5 v3"):
        make, kind, _ = malformed.TREES[form]
        malformed.write_hdf5(make(draft, kind), tmp_path / "complex.h5")
        with pytest.raises(FormatError, match=r"complex\.h5: .* holds complex64 and no real numbers"):
            ingest([tmp_path / "complex.h5"], tmp_path / "store")


def test_a_long_unit_is_shown_short(tmp_path: Path) -> None:
    columns = {
        "cell_id": ["A", "A"],
        "drug": ["DMSO", "x"],
        "dose": [1.0, 2.0],
        "dose_unit": ["u" * 9000] * 2,
    }
    with pytest.raises(UnitError, match=r"a\.h5ad, row c1, pert_dose_unit: Unknown dose unit") as refusal:
        ingest([screen(tmp_path / "a.h5ad", columns)], tmp_path / "store")
    assert len(str(refusal.value)) < 1000


def test_a_name_that_is_too_long_for_the_disk_is_refused(tmp_path: Path) -> None:
    name = tmp_path / ("a" * 300)
    with pytest.raises(FormatError, match="cannot be looked at"):
        ingest([name], tmp_path / "store")
    with pytest.raises(FormatError, match="cannot be looked at"):
        inspect_path(name)


def test_a_gene_without_a_name_gets_one(tmp_path: Path) -> None:
    frame = pl.DataFrame({**COLUMNS, "TP53": [1.5, -2.0], "MYC": [0.5, 1.0], "": [0.0, 2.5]})
    frame.write_parquet(tmp_path / "a.parquet")
    ingest([tmp_path / "a.parquet"], tmp_path / "store")
    assert set(ExpressionStore.open(tmp_path / "store").var["gene_id"]) == {"TP53", "MYC", "unnamed"}


def test_a_side_table_may_have_a_column_without_a_name(tmp_path: Path) -> None:
    path = screen(tmp_path / "a.h5ad", COLUMNS)
    table = tmp_path / "rows.parquet"
    pl.DataFrame({"id": ["c0", "c1"], "": ["x", "y"], "plate": ["P1", "P2"]}).write_parquet(table)
    ingest([path], tmp_path / "store", None, table, "id")
    assert set(ExpressionStore.open(tmp_path / "store").obs["batch_id"]) == {"P1", "P2"}

"""Ingest as a whole, on small files made here: guesses, mapping files, side tables, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pertcast_data.errors import ConfigError, FormatError, PertcastError, SchemaError, UnitError
from pertcast_data.ingest import ControlRule, IngestMapping, IngestReport, ingest
from pertcast_data.store import ExpressionStore, validate_store
from scipy import sparse

GENES = ["TP53", "MYC", "KLF1", "SET", "GATA1", "ACTB"]


def write(path: Path, obs: dict[str, Any], matrix: Any = None, genes: list[str] | None = None) -> Path:
    n_rows = len(next(iter(obs.values())))
    genes = genes or GENES
    if matrix is None:
        rng = np.random.default_rng(n_rows)
        matrix = sparse.csr_matrix(rng.poisson(1.5, (n_rows, len(genes))).astype(np.float32))
    table = pd.DataFrame(obs, index=[f"cell{number}" for number in range(n_rows)])
    anndata.AnnData(matrix, table, pd.DataFrame(index=genes)).write_h5ad(path)
    return path


def crispr(n_rows: int = 12) -> dict[str, Any]:
    return {
        "cell_line": ["K562"] * n_rows,
        "perturbation": (["control", "SET+KLF1", "TP53"] * n_rows)[:n_rows],
        "perturbation_type": ["CRISPRi"] * n_rows,
    }


def opened(report: IngestReport) -> tuple[pl.DataFrame, np.ndarray[Any, np.dtype[Any]]]:
    """Return obs and raw values of the store in the source's order."""
    assert report.out is not None
    assert validate_store(report.out) == []
    store = ExpressionStore.open(report.out)
    raw = store.reader().raw(np.arange(store.n_rows))
    values = raw.toarray() if sparse.issparse(raw) else raw
    order = store.obs.with_row_index("at").sort("source_file", "source_row")["at"].to_numpy()
    return store.obs[order.tolist()], np.asarray(values)[order]


def how(report: IngestReport, column: str) -> tuple[str, str]:
    return next((item.source, item.how) for item in report.sources[0].columns if item.canonical == column)


def test_a_crispr_screen_needs_no_mapping(tmp_path: Path) -> None:
    path = write(tmp_path / "screen.h5ad", crispr())
    report = ingest([path], tmp_path / "store")
    obs, values = opened(report)
    assert np.array_equal(values, anndata.read_h5ad(path).X.toarray())
    assert obs["pert_type"].to_list() == ["ctl_vector", "trt_sh", "trt_sh"] * 4
    assert obs["pert_id"].to_list() == ["control", "KLF1+SET", "TP53"] * 4
    assert obs["targets"].to_list() == [None, "KLF1+SET", "TP53"] * 4
    assert obs["source_id"].to_list() == [f"cell{number}" for number in range(12)]
    assert (report.measure, report.normalisation, report.n_control_rows) == ("expression", "counts", 4)
    assert how(report, "cell_iname") == ("cell_line", "guessed")
    assert report.warnings == ()


def test_one_perturbation_word_can_mean_different_kinds_row_by_row(tmp_path: Path) -> None:
    columns = crispr() | {"perturbation_type": ["CRISPRa"] * 6 + ["CRISPRi"] * 6}
    obs, _ = opened(ingest([write(tmp_path / "a.h5ad", columns)], tmp_path / "store"))
    treated = obs.filter(pl.col("pert_type").str.starts_with("trt"))
    assert treated["pert_type"].to_list() == ["trt_act"] * 4 + ["trt_sh"] * 4


def test_compounds_get_structures_doses_times_and_plates(tmp_path: Path) -> None:
    columns = {
        "cell_id": ["A549"] * 4,
        "drug": ["DMSO", "aspirin", "aspirin salt", "broken"],
        "SMILES": ["CS(C)=O", "CC(=O)Oc1ccccc1C(=O)O", "CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", "c1cc"],
        "dose": ["0.1 %", "10 uM", "500 nM", "1 <b5>M"],
        "time": ["24 h", "1 d", "24", "24 hours"],
        "Plate": ["P1", "P1", "P2", "P2"],
    }
    report = ingest([write(tmp_path / "a.h5ad", columns)], tmp_path / "store")
    obs, _ = opened(report)
    assert obs["pert_type"].to_list() == ["ctl_vehicle", "trt_cp", "trt_cp", "trt_cp"]
    assert obs["pert_dose"].to_list() == [None, 10.0, 0.5, 1.0]
    assert obs["pert_dose_unit"].to_list() == [None, "uM", "uM", "uM"]
    assert obs["pert_time"].to_list() == [24.0, 24.0, 24.0, 24.0]
    assert obs["inchi_key"][1] == obs["inchi_key"][2] == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
    assert obs["canonical_smiles"][3] is None
    assert obs["batch_id"].to_list() == ["P1", "P1", "P2", "P2"]
    assert any("c1cc" in warning for warning in report.sources[0].warnings)
    assert any("1 rows of time have no unit" in warning for warning in report.sources[0].warnings)


def test_a_mapping_file_wins_over_every_guess(tmp_path: Path) -> None:
    columns = crispr(6) | {
        "cell_line": ["wrong"] * 6,
        "line": ["K562"] * 6,
        "modality": ["A", "A", "B", "A", "A", "B"],
    }
    del columns["perturbation_type"]
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        "cell_iname: line\n"
        "pert_time: {value: 96}\n"
        "pert_type: {column: modality, values: {A: trt_act, B: trt_xpr}}\n"
        "controls: {column: perturbation, values: [control, TP53], pert_type: ctl_untrt}\n",
        encoding="utf-8",
    )
    report = ingest([write(tmp_path / "a.h5ad", columns)], tmp_path / "store", mapping)
    obs, _ = opened(report)
    assert obs["cell_iname"].to_list() == ["K562"] * 6
    assert obs["pert_type"].to_list() == ["ctl_untrt", "trt_act", "ctl_untrt"] * 2
    assert obs["pert_time"].to_list() == [96.0] * 6
    assert how(report, "pert_time") == ("= 96", "given")
    assert report.sources[0].warnings == ()


def test_excluded_and_incomplete_rows_are_left_out_with_their_profiles(tmp_path: Path) -> None:
    columns = crispr(9) | {"qc": ["bad", "good", "good"] * 3}
    columns["cell_line"][4] = None
    path = write(tmp_path / "a.h5ad", columns)
    report = ingest([path], tmp_path / "store", IngestMapping(exclude={"qc": ("bad",)}))
    obs, values = opened(report)
    kept = [1, 2, 5, 7, 8]
    assert obs["source_row"].to_list() == kept
    assert np.array_equal(values, anndata.read_h5ad(path).X.toarray()[kept])
    assert report.sources[0].dropped == ("3 rows excluded by qc: bad", "1 row without cell_iname")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_side_table_tells_rows_that_hold_only_ids(tmp_path: Path, suffix: str) -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3) / 7 + 3
    with h5py.File(tmp_path / "level3.gctx", "w") as file:
        file["0/DATA/0/matrix"] = matrix
        file["0/META/ROW/id"] = np.array([b"5720", b"466", b"6009"])
        file["0/META/COL/id"] = np.array([b"w1", b"w2", b"w3", b"w4"])
    table = pl.DataFrame(
        {
            "inst_id": ["w4", "w3", "w2", "w1", "elsewhere"],
            "cell_iname": ["PC3", "PC3", "A375", "A375", "X"],
            "cmap_name": ["DMSO", "aspirin", "DMSO", "aspirin", "X"],
            "pert_type": ["ctl_vehicle", "trt_cp", "ctl_vehicle", "trt_cp", "trt_cp"],
            "pert_dose": ["-666", "10.0", "-666", "3.3", "1"],
            "pert_dose_unit": ["-666", "uM", "-666", "uM", "uM"],
        }
    )
    path = tmp_path / f"info.{suffix}"
    if suffix == "parquet":
        table.write_parquet(path)
    else:
        table.write_csv(path, separator="\t" if suffix == "tsv" else ",")
    report = ingest([tmp_path / "level3.gctx"], tmp_path / "store", obs_tables=path, key="inst_id")
    obs, values = opened(report)
    assert np.array_equal(values, matrix)
    assert obs["cmap_name"].to_list() == ["aspirin", "DMSO", "aspirin", "DMSO"]
    assert obs["pert_dose"].to_list() == [3.3, None, 10.0, None]
    assert ExpressionStore.open(str(report.out)).genes == ("5720", "466", "6009")


@pytest.mark.parametrize(
    ("content", "key", "error", "message"),
    [
        ("inst,cell\nw1,A\n", "inst_id", SchemaError, "no column 'inst_id'.*inst"),
        ("id,cell\nzzz,A\n", "id", SchemaError, "knows none"),
        ("id,cell\ncell0,A\ncell0,B\n", "id", SchemaError, "several different rows .cell0"),
        ("", "id", FormatError, "is empty"),
    ],
)
def test_a_wrong_side_table_is_refused(
    tmp_path: Path, content: str, key: str, error: type[PertcastError], message: str
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(content, encoding="utf-8")
    path = write(tmp_path / "a.h5ad", crispr())
    with pytest.raises(error, match=f"table\\.csv.*{message}"):
        ingest([path], tmp_path / "store", obs_tables=table, key=key)
    assert not (tmp_path / "store").exists()


def test_several_files_share_one_store_on_their_common_genes(tmp_path: Path) -> None:
    one = write(tmp_path / "one.h5ad", crispr(6))
    two = write(tmp_path / "two.h5ad", crispr(3), genes=["MYC", "NEW", "TP53"])
    report = ingest([one, two], tmp_path / "store")
    obs, values = opened(report)
    assert ExpressionStore.open(str(report.out)).genes == ("TP53", "MYC")
    expected = np.vstack([anndata.read_h5ad(path)[:, ["TP53", "MYC"]].X.toarray() for path in (one, two)])
    assert np.array_equal(values, expected)
    assert obs["source_file"].to_list() == ["one.h5ad"] * 6 + ["two.h5ad"] * 3
    assert obs["sig_id"].n_unique() == 9
    assert any("4 genes of one.h5ad" in note for note in report.dropped)


def test_files_that_hold_different_things_do_not_share_a_store(tmp_path: Path) -> None:
    one = write(tmp_path / "one.h5ad", crispr(6))
    two = write(tmp_path / "two.h5ad", crispr(6), np.random.default_rng(0).normal(0, 2, (6, 6)))
    with pytest.raises(SchemaError, match=r"one\.h5ad: expression, counts.*two\.h5ad: response, z_score"):
        ingest([one, two], tmp_path / "store")


def test_no_controls_is_a_warning_for_levels_and_nothing_for_responses(tmp_path: Path) -> None:
    columns = crispr(6) | {"perturbation": ["TP53", "MYC"] * 3}
    levels = ingest([write(tmp_path / "a.h5ad", columns)], tmp_path / "levels", dry_run=True)
    assert len(levels.warnings) == 1
    assert "no control profiles" in levels.warnings[0]
    response = np.random.default_rng(0).normal(0, 2, (6, 6))
    changes = ingest([write(tmp_path / "b.h5ad", columns, response)], tmp_path / "x", dry_run=True)
    assert changes.measure == "response"
    assert changes.warnings == ()


def test_contexts_without_controls_are_named(tmp_path: Path) -> None:
    columns = crispr(6) | {"cell_line": ["K562"] * 3 + ["A549"] * 3}
    columns["perturbation"][3] = "MYC"
    report = ingest([write(tmp_path / "a.h5ad", columns)], tmp_path / "store", dry_run=True)
    assert report.warnings == ("3 profiles in contexts without controls: A549",)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cell_line": None}, SchemaError, "no column tells cell_iname.*--map.*--obs-table"),
        ({"perturbation": None}, SchemaError, "no column tells the perturbation"),
        ({"perturbation_type": None}, SchemaError, "no column tells the kind of perturbation.*trt_sh"),
        ({"perturbation_type": ["heat"] * 12}, SchemaError, "'heat'.*tell no kind.*values"),
        (
            {"perturbation_type": ["drug"] * 12, "dose": ["3 mg/ml"] * 12},
            UnitError,
            "row cell1, pert_dose_unit: Unknown dose unit 'mg/ml'",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_line_to_write(
    tmp_path: Path, change: dict[str, Any], error: type[PertcastError], message: str
) -> None:
    columns = {name: values for name, values in (crispr() | change).items() if values is not None}
    with pytest.raises(error, match=f"a\\.h5ad.*{message}"):
        ingest([write(tmp_path / "a.h5ad", columns)], tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5ad"]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (IngestMapping(normalisation="counts"), "declared as counts"),
        (IngestMapping(normalisation="log1p_cpm"), "declared as log1p_cpm"),
        (IngestMapping(measure="expression"), "no known expression levels"),
        (IngestMapping(controls=ControlRule(column="perturbation", values=("DMSO",))), "no row has"),
        (
            IngestMapping(controls=ControlRule(column="pert", values=("DMSO",))),
            "no column 'pert'.*perturbation",
        ),
    ],
)
def test_a_mapping_that_contradicts_the_file_is_refused(
    tmp_path: Path, mapping: IngestMapping, message: str
) -> None:
    path = write(tmp_path / "a.h5ad", crispr(), np.random.default_rng(0).normal(0, 2, (12, 6)))
    with pytest.raises(SchemaError, match=message):
        ingest([path], tmp_path / "store", mapping)


def test_an_infinite_value_leaves_nothing_behind_and_a_missing_one_is_said(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).uniform(4, 12, (12, 6)).astype(np.float32)
    matrix[2, 3] = np.nan
    report = ingest([write(tmp_path / "a.h5ad", crispr(), matrix)], tmp_path / "store")
    _, values = opened(report)
    assert np.array_equal(values, matrix, equal_nan=True)
    assert report.sources[0].warnings == (
        "1 values are missing (NaN) in 1 profiles: models cannot train on them",
    )
    matrix[5, 1] = np.inf
    folder = tmp_path / "infinite"
    folder.mkdir()
    path = write(folder / "b.h5ad", crispr(), matrix)
    with pytest.raises(SchemaError, match="row 5, gene 1 is infinite"):
        ingest([path], folder / "store")
    assert list(folder.iterdir()) == [path]


def test_a_dry_run_tells_everything_and_writes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", crispr())
    report = ingest([path], tmp_path / "store", dry_run=True)
    assert list(tmp_path.iterdir()) == [path]
    assert report.out is None
    assert report.lines()[0].startswith("Would ingest 12 profiles x 6 genes (expression, counts)")
    assert report.lines()[-1].startswith("dry run: nothing was written")
    assert report.estimated_bytes > 0


def test_the_report_is_the_same_in_words_and_json(tmp_path: Path) -> None:
    report = ingest([write(tmp_path / "a.h5ad", crispr())], tmp_path / "store")
    content = json.loads(report.to_json())
    assert IngestReport.model_validate(content) == report
    lines = report.lines()
    assert "12 profiles" in lines[0]
    assert lines[-1] == f"store: {tmp_path / 'store'}"
    decided = {item["canonical"] for item in content["sources"][0]["columns"]}
    assert {"cell_iname", "pert_type", "pert_id", "gene_symbol", "measure", "normalisation"} <= decided


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", crispr())
    with pytest.raises(ConfigError, match="No file"):
        ingest([], tmp_path / "store")
    (tmp_path / "rows.csv").write_text("well,line\nw1,K562\n")
    with pytest.raises(SchemaError, match=r"is no table of LINCS.*--key COLUMN"):
        ingest([path], tmp_path / "store", obs_tables=tmp_path / "rows.csv")
    with pytest.raises(ConfigError, match="needs --obs-table"):
        ingest([path], tmp_path / "store", key="well")
    ingest([path], tmp_path / "store")
    with pytest.raises(ConfigError, match="already exists"):
        ingest([path], tmp_path / "store")


def test_repeated_row_ids_and_columns_named_like_ours_are_kept_apart(tmp_path: Path) -> None:
    columns = crispr(6) | {"pert_id": ["a", "b", "c", "a", "b", "c"], "condition_id": ["x"] * 6}
    path = write(tmp_path / "a.h5ad", columns)
    data = anndata.read_h5ad(path)
    data.obs_names = ["same"] * 3 + ["d", "e", "f"]
    data.write_h5ad(path)
    report = ingest([path], tmp_path / "store")
    obs, _ = opened(report)
    assert obs["sig_id"].to_list() == ["same#0", "same#1", "same#2", "d", "e", "f"]
    assert obs["source_id"].to_list() == ["same"] * 3 + ["d", "e", "f"]
    assert obs["condition_id"][1] == "K562|trt_sh|b||"

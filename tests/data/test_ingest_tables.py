"""Tables beside the matrix: joined one after another by their own keys, genes and rows chosen by them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
import yaml
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.ingest import ColumnRule, IngestMapping, TableRule, ingest, load_mapping
from pertcast_data.store import ExpressionStore

GENES = ("5720", "466", "6009", "2309")


def write_gctx(
    path: Path, wells: list[str], genes: tuple[str, ...] = GENES, first: float = 3.0
) -> np.ndarray:
    """A gctx with nothing but ids: value = first + well + gene / 10, by the gene's place in GENES."""
    places = [GENES.index(gene) for gene in genes]
    matrix = (first + np.arange(len(wells))[:, None] + np.array(places)[None, :] / 10).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["0/DATA/0/matrix"] = matrix
        file["0/META/ROW/id"] = np.array([gene.encode() for gene in genes])
        file["0/META/COL/id"] = np.array([well.encode() for well in wells])
    return matrix


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two gctx in the manner of LINCS, their genes in another order, and four tables."""
    write_gctx(tmp_path / "treated.gctx", ["t1", "t2", "t3"])
    write_gctx(tmp_path / "controls.gctx", ["c1", "c2"], GENES[::-1], first=5.0)
    wells = {
        "sample_id": ["t1", "t2", "t3", "c1", "c2"],
        "cell_iname": ["A375"] * 5,
        "pert_id": ["BRD-1", "BRD-2", "BRD-3", "DMSO", "EMPTY"],
        "cmap_name": ["one", "two", "three", "DMSO", "EMPTY"],
        "pert_type": ["trt_cp"] * 3 + ["ctl_vehicle", "ctl_vector"],
        "pert_dose": ["10", "0.5", "3", "", ""],
        "pert_dose_unit": ["uM", "uM", "uM", "", ""],
    }
    pl.DataFrame(wells).write_csv(tmp_path / "instinfo.txt", separator="\t")
    compounds = {
        "pert_id": ["BRD-1", "BRD-1", "BRD-2"],
        "target": ["EGFR", "KIT", "MTOR"],
        "canonical_smiles": ["-666", "CCO", "CCN"],
    }
    pl.DataFrame(compounds).write_csv(tmp_path / "compounds_1.txt", separator="\t")
    later = {"pert_id": ["BRD-3", "BRD-1"], "canonical_smiles": ["CCC", "CCCCC"]}
    pl.DataFrame(later).write_csv(tmp_path / "compounds_2.txt", separator="\t")
    genes = {"gene_id": GENES, "gene_symbol": ["PSME1", "ATF1", "RHEB", "FOXO3"], "is_lm": [1, 1, 0, 1]}
    pl.DataFrame(genes).write_csv(tmp_path / "geneinfo.txt", separator="\t")
    return tmp_path


MAPPING = """
tables:
- {file: instinfo.txt, key: sample_id}
- {file: [compounds_1.txt, compounds_2.txt], key: pert_id, matches: pert_id, columns: [canonical_smiles],
   repeats: first}
genes: {table: {file: geneinfo.txt, key: gene_id}, keep: {is_lm: [1]}}
keep: {pert_type: [trt_cp, ctl_vehicle]}
"""


def test_tables_are_joined_by_their_own_keys_and_choose_rows_and_genes(folder: Path) -> None:
    (folder / "map.yaml").write_text(MAPPING)
    report = ingest(
        [folder / "treated.gctx", folder / "controls.gctx"], folder / "store", folder / "map.yaml"
    )
    store = ExpressionStore.open(folder / "store")
    assert store.genes == ("PSME1", "ATF1", "FOXO3")
    obs = store.obs.with_row_index("at").sort("sig_id")
    assert obs["sig_id"].to_list() == ["c1", "t1", "t2", "t3"]
    assert obs["canonical_smiles"].to_list() == [None, "CCO", "CCN", "CCC"]
    assert obs["pert_dose"].to_list() == [None, 10.0, 0.5, 3.0]
    values = store.reader().dense(obs["at"].to_numpy())
    wanted = np.array([5.0, 3.0, 4.0, 5.0])[:, None] + np.array([0.0, 0.1, 0.3])[None, :]
    np.testing.assert_allclose(values, wanted, rtol=1e-6)
    text = "\n".join(report.lines())
    assert "compounds_1.txt and compounds_2.txt tells 3 of 3 rows (by pert_id)" in text
    assert "tells 0 of 2 rows" in text and "1 of 4 genes by is_lm" in text
    assert "1 rows whose pert_type is not among trt_cp, ctl_vehicle" in text
    assert store.obs.columns.count("target") == 0


def changed(**parts: object) -> IngestMapping:
    return IngestMapping.model_validate({**yaml.safe_load(MAPPING), **parts})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"genes": {"keep": {"is_lm": [1]}}}, "the gene table has no column 'is_lm'"),
        (
            {"genes": {"table": {"file": "geneinfo.txt", "key": "gene_id"}, "keep": {"is_lm": [7]}}},
            "no gene is left",
        ),
        ({"keep": {"pert_type": ["trt_oe"]}}, "no row is left. Check `keep`"),
        ({"keep": {"pert_typ": ["trt_cp"]}}, "no column 'pert_typ'"),
        ({"tables": [{"file": "instinfo.txt", "key": "sample"}]}, "no column 'sample'.*tables.*sample_id"),
        ({"tables": [{"file": "instinfo.txt", "key": "sample_id", "columns": ["cell"]}]}, "no column 'cell'"),
        (
            {"tables": [{"file": "instinfo.txt", "key": "sample_id", "matches": "well"}]},
            "no column 'well' to join on",
        ),
    ],
)
def test_what_a_table_lacks_is_named(folder: Path, parts: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        ingest([folder / "treated.gctx"], folder / "store", changed(**parts).beside(folder))
    assert not (folder / "store").exists()


def test_lines_that_contradict_each_other_are_refused_unless_the_first_counts(folder: Path) -> None:
    strict = TableRule(
        file=("compounds_1.txt",), key="pert_id", matches="pert_id", columns=("canonical_smiles",)
    )
    wells = TableRule(file=("instinfo.txt",), key="sample_id")
    with pytest.raises(
        SchemaError, match=r"compounds_1\.txt: 1 ids stand in several .*BRD-1.*repeats: first"
    ):
        ingest([folder / "treated.gctx"], folder / "store", changed(tables=[wells, strict]).beside(folder))


def test_a_table_that_knows_nothing_of_any_file_is_refused(folder: Path) -> None:
    useless = TableRule(file=("compounds_1.txt",), key="target", matches="pert_id", repeats="first")
    wells = TableRule(file=("instinfo.txt",), key="sample_id")
    with pytest.raises(SchemaError, match=r"column 'target' knows no value of 'pert_id' in any file"):
        ingest([folder / "treated.gctx"], folder / "store", changed(tables=[wells, useless]).beside(folder))


def test_a_pattern_takes_a_value_out_of_a_text(folder: Path) -> None:
    table = pl.DataFrame(
        {
            "sample_id": ["t1", "t2", "t3"],
            "cell": ["A375"] * 3,
            "drug": [
                "[('Infigratinib', 0.05, 'uM')]",
                "[('DMSO_TF', 0.0, 'uM')]",
                "[('8-HQ (b), x', 5.0, 'uM')]",
            ],
        }
    )
    table.write_parquet(folder / "cells.parquet")
    mapping = IngestMapping(
        tables=(TableRule(file=(folder / "cells.parquet",), key="sample_id"),),
        cell_iname=ColumnRule(column="cell"),
        pert_type=ColumnRule(value="trt_cp"),
        cmap_name=ColumnRule(column="drug", pattern=r"^\[\('(.*)', [0-9.]+, '"),
        pert_dose=ColumnRule(column="drug", pattern=r", ([0-9.]+), '[^']+'\)\]$"),
        pert_dose_unit=ColumnRule(value="uM"),
        controls={"column": "drug", "values": ["[('DMSO_TF', 0.0, 'uM')]"], "pert_type": "ctl_vehicle"},  # type: ignore[arg-type]
    )
    ingest([folder / "treated.gctx"], folder / "store", mapping)
    obs = ExpressionStore.open(folder / "store").obs.sort("sig_id")
    assert obs["cmap_name"].to_list() == ["Infigratinib", "DMSO_TF", "8-HQ (b), x"]
    assert obs["pert_dose"].to_list() == [0.05, None, 5.0]
    wrong = mapping.model_copy(update={"pert_dose": ColumnRule(column="drug", pattern=r"dose=(\d+)")})
    with pytest.raises(SchemaError, match=r"no value of 'drug' matches .*Infigratinib"):
        ingest([folder / "treated.gctx"], folder / "other", wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tables: [{file: a.txt, kye: b, key: c}]", r"unknown key tables\.kye; did you mean key"),
        (
            "genes: {table: {file: a.txt, key: b, colums: [c]}}",
            r"unknown key genes\.table\.colums; did you mean columns",
        ),
        ("batch_id: {column: a, pattern: 'x+'}", "needs a group in brackets"),
        ("batch_id: {column: a, pattern: '(x'}", "no regular expression"),
        ("batch_id: {value: a, pattern: '(x)'}", "a pattern needs a column"),
    ],
)
def test_a_wrong_mapping_is_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_mapping(tmp_path / "map.yaml")


def test_tables_lie_beside_the_mapping_file(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(MAPPING)
    mapping = load_mapping(tmp_path / "map.yaml")
    assert mapping.tables[1].file == (tmp_path / "compounds_1.txt", tmp_path / "compounds_2.txt")
    assert mapping.genes.table is not None and mapping.genes.table.file == (tmp_path / "geneinfo.txt",)


def test_a_named_column_may_be_empty_in_one_of_several_files(folder: Path) -> None:
    """Controls have neither doses nor structures; the mapping file names these columns for all files."""
    named = {"pert_dose": "pert_dose", "canonical_smiles": "canonical_smiles"}
    both = [folder / "treated.gctx", folder / "controls.gctx"]
    ingest(both, folder / "store", changed(**named).beside(folder))
    obs = ExpressionStore.open(folder / "store").obs.sort("sig_id")
    assert obs["canonical_smiles"].to_list() == [None, "CCO", "CCN", "CCC"]
    table = pl.read_csv(folder / "instinfo.txt", separator="\t").with_columns(cell_iname=pl.lit("-666"))
    table.write_csv(folder / "instinfo.txt", separator="\t")
    with pytest.raises(SchemaError, match="no column tells cell_iname"):
        ingest(both, folder / "other", changed(cell_iname="cell_iname").beside(folder))

"""The ingest contract: guides, donors, controls by name, checks of values, the schema, the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anndata
import jsonschema
import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from pertcast_data.errors import ConfigError, FormatError, SchemaError
from pertcast_data.ingest import ColumnRule, ControlRule, IngestMapping, ingest, load_mapping
from pertcast_data.ingest.findings import LONGEST_LIST, Findings
from pertcast_data.ingest.mapping.schema import DRAFT, mapping_json_schema
from pertcast_data.ingest.rows.harmonise import harmonise
from pertcast_data.ingest.values.normalisation import decide_values, summarise
from pertcast_data.store import ExpressionStore
from pertcast_data.vocabulary import DESCRIPTIVE_COLUMNS, OBS_COLUMNS
from pertcast_data.words import USER_WORDS
from scipy import sparse

PATH = Path("screen.h5ad")


def rows(**columns: list[Any]) -> pl.DataFrame:
    n_rows = len(next(iter(columns.values())))
    return pl.DataFrame({"source_id": [f"cell{number}" for number in range(n_rows)], **columns})


def screen(**columns: list[Any]) -> pl.DataFrame:
    n_rows = len(next(iter(columns.values())))
    return rows(**{"cell_line": ["K562"] * n_rows, "modality": ["CRISPRi"] * n_rows, **columns})


def harmonised(
    raw: pl.DataFrame, known_genes: frozenset[str] = frozenset(), **mapping: Any
) -> tuple[pl.DataFrame, Findings]:
    return harmonise(raw, PATH, IngestMapping.model_validate(mapping), known_genes)


def how(findings: Findings, canonical: str) -> tuple[str, str] | None:
    return next(((item.source, item.how) for item in findings.columns if item.canonical == canonical), None)


def test_names_of_guides_give_the_gene_and_keep_the_guide() -> None:
    obs, findings = harmonised(screen(sgrna=["TP53-1", "TP53-2", "NTC-7"]))
    assert obs["cmap_name"].to_list() == ["TP53", "TP53", "NTC"]
    assert obs["guide_id"].to_list() == ["TP53-1", "TP53-2", "NTC-7"]
    assert how(findings, "guide_id") == ("sgrna", "guessed")


def test_guides_in_a_column_of_another_name_are_kept_too_and_said_to_be_derived() -> None:
    obs, findings = harmonised(
        screen(perturbation=["TP53_+_1.23-P1", "TP53_-_2.23-P1", "non-targeting_00025"])
    )
    assert obs["pert_id"].to_list() == ["TP53", "TP53", "non-targeting"]
    assert obs["guide_id"].to_list() == ["TP53_+_1.23-P1", "TP53_-_2.23-P1", "non-targeting_00025"]
    assert how(findings, "guide_id") == ("perturbation", "derived")


def test_a_store_has_no_descriptive_column_that_its_source_does_not_tell() -> None:
    obs, findings = harmonised(screen(perturbation=["TP53", "control", "KLF1"]))
    assert not set(DESCRIPTIVE_COLUMNS) & set(obs.columns)
    assert obs.columns[: len(OBS_COLUMNS)] == list(OBS_COLUMNS)
    assert all(how(findings, name) is None for name in DESCRIPTIVE_COLUMNS)


def test_donors_and_replicates_are_found_and_donors_are_the_batch_where_there_is_none() -> None:
    raw = screen(perturbation=["TP53", "control"], patient=["P1", "P2"], biological_replicate=[1, 2])
    obs, findings = harmonised(raw)
    assert obs["donor_id"].to_list() == obs["batch_id"].to_list() == ["P1", "P2"]
    assert obs["replicate"].to_list() == ["1", "2"]
    assert how(findings, "batch_id") == ("patient", "derived")
    with_plate, findings = harmonised(raw.with_columns(plate=pl.lit("X")))
    assert with_plate["batch_id"].to_list() == ["X", "X"]
    assert how(findings, "batch_id") == ("plate", "guessed")
    without, _ = harmonised(raw, batch_id={"value": None})
    assert without["batch_id"].null_count() == 2


def test_a_column_of_the_canonical_name_stays_as_it_is_in_its_place() -> None:
    raw = screen(perturbation=["TP53", "control"], first=[1, 2], donor_id=[7, 8], last=[3, 4])
    obs, findings = harmonised(raw)
    assert obs.columns[-3:] == ["first", "donor_id", "last"]
    assert obs["donor_id"].to_list() == [7, 8]
    assert how(findings, "donor_id") == ("donor_id", "guessed")
    other, _ = harmonised(raw.with_columns(person=pl.Series(["a", "b"])), donor_id="person")
    assert other["donor_id"].to_list() == ["a", "b"]
    assert other["source_donor_id"].to_list() == [7, 8]


def test_control_pert_names_controls_without_a_column() -> None:
    raw = screen(perturbation=["OR1A1", "TP53", "OR1A1+KLF1", "or1a1"])
    obs, _ = harmonised(raw, control_pert="OR1A1")
    assert obs["pert_type"].to_list() == ["ctl_vector", "trt_sh", "trt_sh", "ctl_vector"]
    assert obs["pert_id"].to_list()[1:3] == ["TP53", "KLF1"]
    guides, _ = harmonised(screen(guide=["OR1A1-1", "OR1A1-2", "TP53-1"]), control_pert=["OR1A1"])
    assert guides["pert_type"].to_list() == ["ctl_vector", "ctl_vector", "trt_sh"]
    drugs, _ = harmonised(rows(cell_line=["A"] * 2, drug=["Buffer", "aspirin"]), control_pert="buffer")
    assert drugs["pert_type"].to_list() == ["ctl_vehicle", "trt_cp"]


def test_a_control_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        SchemaError, match=r"screen\.h5ad: no perturbation is called contol.*Nearest: control"
    ):
        harmonised(screen(perturbation=["control", "TP53"]), control_pert="contol")
    with pytest.raises(SchemaError, match=r"'NT' is a perturbation and no column.*control_pert: NT"):
        harmonised(screen(perturbation=["NT", "TP53"]), control_key="NT")
    empty = ControlRule(column="flag", values=("x",))
    with pytest.raises(SchemaError, match="no row has flag in x"):
        harmonised(screen(perturbation=["NT", "TP53"], flag=[None, "nan"]), controls=empty)


def test_a_column_of_flags_named_in_another_tools_words_marks_controls() -> None:
    raw = screen(perturbation=["OR1A1", "TP53"], is_neg=[True, False])
    obs, _ = harmonised(raw, control_key="is_neg")
    assert obs["pert_type"].to_list() == ["ctl_vector", "trt_sh"]


def test_known_genes_keep_names_that_look_like_guides() -> None:
    raw = screen(perturbation=["FOO-1", "FOO-2", "BAR-1", "BAR-2"])
    assert harmonised(raw)[0]["pert_id"].to_list() == ["FOO", "FOO", "BAR", "BAR"]
    names = raw["perturbation"].to_list()
    assert harmonised(raw, frozenset(names))[0]["pert_id"].to_list() == names


def test_a_unit_in_a_headers_micro_sign_counts() -> None:
    raw = rows(cell_line=["A"] * 2, drug=["x", "y"], **{"Dose (µM)": [1.0, 2.0]})
    obs, findings = harmonised(raw)
    assert obs["pert_dose"].to_list() == [1.0, 2.0]
    assert findings.warnings == []


def test_everything_dropped_or_converted_is_counted_and_listed() -> None:
    raw = rows(
        cell_line=["A", "A", None, "A", "A"],
        drug=["DMSO", "b+a", "c", "d", "e"],
        smiles=["CS(C)=O", "CCO", "CCN", "c1cc", "???"],
        dose=["0", "10", "1 uM", "1 uM", "1 uM"],
        qc=["good", "good", "good", "good", "bad"],
    )
    obs, findings = harmonised(raw, exclude={"qc": "bad"})
    assert obs.height == 3
    assert findings.listed == {
        "rows excluded by qc": ["cell4"],
        "perturbation names put in one form": ["b+a -> a+b"],
        "texts that are no structure": ["c1cc"],
        "rows without cell_iname": ["cell2"],
    }
    assert findings.counts["rows read as controls"] == 1
    assert findings.counts["pert_dose without a unit"] == 1
    assert findings.counts["rows without cell_iname"] == 1


def test_a_list_ends_with_a_note_of_how_many_there_are() -> None:
    findings = Findings()
    findings.list_all("odd", range(600))
    findings.list_all("odd", range(600, 1200))
    assert len(findings.listed["odd"]) == LONGEST_LIST + 1
    assert findings.listed["odd"][-2:] == ["999", "and 200 more (1,200 in all)"]
    findings.list_all("many", ["a"], number=5_000_000)
    assert findings.counts == {"odd": 1200, "many": 5_000_000}


def written(path: Path, **columns: list[Any]) -> Path:
    n_rows = len(next(iter(columns.values())))
    table = pd.DataFrame({"cell_line": ["A549"] * n_rows, **columns}, index=[f"c{i}" for i in range(n_rows)])
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(2.0, (n_rows, 5)).astype(np.float32))
    genes = pd.DataFrame(index=["TP53", "MYC", "KLF1", "SET", "ACTB"])
    anndata.AnnData(counts, table, genes, layers={"twice": counts * 2}).write_h5ad(path)
    return path


def test_invalid_structures_stand_in_full_in_the_json_and_three_in_the_text(tmp_path: Path) -> None:
    smiles = [f"c1cc{'N' * n}" for n in range(1, 8)] + ["CCO"]
    path = written(tmp_path / "a.h5ad", drug=[f"d{n}" for n in range(8)], smiles=smiles)
    report = ingest([path], tmp_path / "store", dry_run=True)
    source = json.loads(report.to_json())["sources"][0]
    assert source["details"]["texts that are no structure"] == smiles[:-1]
    assert source["counts"]["texts that are no structure"] == 7
    warning = next(line for line in report.lines() if "no valid SMILES" in line)
    assert sum(text in warning.replace("(", " ").split() for text in smiles[:-1]) == 3


def test_a_matrix_is_chosen_by_its_layer(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5ad", drug=["DMSO", "x"])
    plain = ingest([path], tmp_path / "one")
    twice = ingest([path], tmp_path / "two", IngestMapping.model_validate({"layer": "twice"}))
    values = [anndata.read_zarr(str(report.out)).X.toarray() for report in (plain, twice)]
    assert np.array_equal(2 * values[0], values[1])


def scaled(n_rows: int, n_genes: int, total: float | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    random = np.random.default_rng(3)
    counts = random.poisson(random.gamma(0.3, 2.0, n_genes) * random.uniform(0.3, 3, (n_rows, 1))).astype(
        float
    )
    if total is None:
        return counts
    return counts / counts.sum(axis=1, keepdims=True) * total


def doubts(values: Any, **declared: Any) -> list[str]:
    findings = Findings()
    wanted = {"measure": None, "normalisation": None, **declared}
    decide_values(summarise([values]), PATH, findings=findings, **wanted)
    return findings.warnings


@pytest.mark.parametrize("total", [1e4, 1e6, 3217.0])
@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
def test_logarithms_of_scaled_counts_pass_whatever_their_total(total: float, layout: Any) -> None:
    assert doubts(layout(np.log1p(scaled(60, 12_000, total)))) == []


def test_logarithms_of_counts_that_were_not_scaled_are_said_with_their_spread() -> None:
    values = np.log1p(scaled(60, 12_000, None))
    (said,) = doubts(values, normalisation="log1p_cpm")
    low, high = np.percentile(np.expm1(values).sum(axis=1), (5, 95))
    assert f"profiles sum to {low:,.0f} to {high:,.0f} (5th to 95th percentile" in said
    assert "over 12,000 genes" in said
    assert doubts(values[:, :500], normalisation="log1p_cpm") == []


@pytest.mark.parametrize(("base", "shown"), [(2.0, "base 2"), (10.0, "base 10")])
def test_another_base_of_the_logarithm_is_told(base: float, shown: str) -> None:
    values = np.log1p(scaled(60, 12_000, 1e4)) / np.log(base)
    (said,) = doubts(values, normalisation="log1p_cpm")
    assert f"only where the logarithm is taken to {shown}" in said


@pytest.mark.parametrize(
    ("values", "normalisation", "message"),
    [
        (np.full((4, 5), 2.0**25), "counts", "they go up to 33,554,432"),
        (np.arange(20.0).reshape(4, 5) * 1000 + 20_000, "counts", "these look like intensities"),
        (np.eye(6) * 8.5, "log2_intensity", "83% of them are zero"),
        (np.full((4, 5), 0.3), "log2_intensity", "half of them are below 0.3"),
        (np.random.default_rng(0).normal(8, 2, (20, 9)), "z_score", "not centred: mean 8"),
        (np.random.default_rng(0).normal(-3, 1, (20, 9)), "log_fold_change", "not centred: mean -"),
    ],
)
def test_values_that_do_not_keep_what_they_promise_are_said(
    values: Any, normalisation: str, message: str
) -> None:
    (said,) = doubts(values, normalisation=normalisation)
    assert said.startswith(f"values are declared as {normalisation}, but")
    assert message in said


@pytest.mark.parametrize("normalisation", ["log1p_cpm", "log2_intensity"])
def test_values_too_large_for_logarithms_are_refused(normalisation: Any) -> None:
    values = np.random.default_rng(0).uniform(0, 60_000, (20, 9))
    with pytest.raises(
        SchemaError, match=rf"declared as {normalisation}, but values go up to .*no logarithms"
    ):
        doubts(values, normalisation=normalisation)


def test_ordinary_values_raise_no_doubt() -> None:
    random = np.random.default_rng(1)
    assert doubts(random.poisson(3.0, (50, 40)).astype(float)) == []
    assert doubts(random.uniform(4, 15, (50, 40))) == []
    assert doubts(random.normal(0.2, 2, (50, 40))) == []
    assert doubts(np.zeros((0, 5))) == []


SCHEMA = mapping_json_schema()


def invalid(content: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(content)]


def test_the_schema_is_one_and_describes_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == DRAFT
    assert set(IngestMapping.model_fields) | set(USER_WORDS) == set(SCHEMA["properties"])
    described = [SCHEMA["properties"], *(part.get("properties", {}) for part in SCHEMA["$defs"].values())]
    assert all(len(value["description"]) > 5 for properties in described for value in properties.values())
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_example_of_the_schema_is_valid_and_can_be_loaded() -> None:
    for key, described in SCHEMA["properties"].items():
        for example in described.get("examples", ()):
            assert invalid({key: example}) == []
            assert key in IngestMapping.model_validate({key: example}).model_fields_set


def test_every_mapping_of_the_guide_is_valid(repository: Path, tmp_path: Path) -> None:
    guide = (repository / "docs" / "ingest.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        (tmp_path / "map.yaml").write_text(block, encoding="utf-8")
        load_mapping(tmp_path / "map.yaml")
        assert invalid(yaml.safe_load(block)) == []


@pytest.mark.parametrize(
    "content",
    [
        "cell_inam: {value: A}",
        "cell_iname: {colum: A}",
        "cell_iname: {column: A, value: B}",
        "cell_iname: {}",
        "measure: level",
        "normalisation: counted",
        "controls: {column: a, values: [b], pert_typ: ctl_vehicle}",
        "controls: {column: a}",
        "tables: [{file: a.txt, kye: b, key: c}]",
        "genes: {table: {file: a.txt, key: b, colums: [c]}}",
        "orientation: rows",
        "use_raw: 3",
        "pert_coll: a",
        "matrix: ''",
    ],
)
def test_what_the_schema_refuses_is_refused_when_read(content: str, tmp_path: Path) -> None:
    assert invalid(yaml.safe_load(content))
    (tmp_path / "map.yaml").write_text(content)
    with pytest.raises(ConfigError):
        load_mapping(tmp_path / "map.yaml")


@pytest.mark.parametrize(
    "content",
    [
        "pert_col: condition\ncontrol_pert: [NT, AAVS1]\ncell_type_key: {value: K562}\nlayer: counts\n",
        "control_pert: NT\ngene_symbols: symbol\nuse_raw: true\nnormalization: lognorm\n",
        "keep: {qc: good, n: [1, 2]}\ntables: [{file: [a.txt, b.txt], key: id}]\npert_time: {value: 96}\n",
    ],
)
def test_words_of_other_tools_are_valid(content: str, tmp_path: Path) -> None:
    assert invalid(yaml.safe_load(content)) == []
    (tmp_path / "map.yaml").write_text(content)
    load_mapping(tmp_path / "map.yaml")


def test_an_alias_says_what_it_stands_for() -> None:
    assert SCHEMA["properties"]["pert_col"]["x-alias-of"] == "cmap_name"
    assert ColumnRule(column="a").is_plain


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_that_no_name_tells_are_annotations_once_the_mapping_says_so(
    ending: str, tmp_path: Path
) -> None:
    table = pl.DataFrame(
        {
            "id": ["w1", "w2", "w3"],
            "cell_line": ["A549"] * 3,
            "drug": ["DMSO", "aspirin", "ibuprofen"],
            "dose_um": [0.0, 1.0, 10.0],
            "apple": [1.5, 2.5, 3.5],
            "pear": [2.0, 0.0, 1.0],
            "plum": [4.0, 5.0, 6.0],
        }
    )
    path = tmp_path / f"wells.{ending}"
    table.write_csv(path) if ending == "csv" else table.write_parquet(path)
    (tmp_path / "map.yaml").write_text(
        "annotation_columns: plum\nnormalisation: log2_intensity\npert_type: {value: trt_cp}\n"
    )
    mapping = load_mapping(tmp_path / "map.yaml")
    ingest([path], tmp_path / "store", mapping)
    store = ExpressionStore.open(tmp_path / "store")
    assert sorted(store.genes) == ["apple", "pear"]
    by_name = store.obs.sort("source_id")
    assert by_name["plum"].to_list() == [4.0, 5.0, 6.0]
    assert by_name["pert_dose"].to_list() == [None, 1.0, 10.0]
    wrong = mapping.model_copy(update={"annotation_columns": ("fig",)})
    with pytest.raises(FormatError, match=r"wells.*no column 'fig'.*annotation_columns"):
        ingest([path], tmp_path / "other", wrong)

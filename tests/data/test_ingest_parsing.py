"""The parts of an ingest: words, amounts, names, missing values, mappings, meaning of values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, SchemaError, UnitError
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.join import join_genes
from pertcast_data.ingest.genes.table import gene_table
from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.mapping.loading import load_mapping
from pertcast_data.ingest.mapping.rules import GeneRule
from pertcast_data.ingest.rows.amounts import DOSE, TIME, AmountKind, read_amounts
from pertcast_data.ingest.rows.missing import clear_missing
from pertcast_data.ingest.rows.perturbations import read_compound_name, read_genetic_name, read_names
from pertcast_data.ingest.values.normalisation import guess_normalisation, summarise
from pertcast_data.text import fold
from pertcast_data.words import control_code, kind_code
from scipy import sparse

PATH = Path("file.h5ad")


def amounts(
    values: list[object], units: list[str | None] | None = None, kind: AmountKind = DOSE, column: str = "dose"
) -> list[float | None]:
    series = pl.Series(values)
    names = pl.Series([f"row{number}" for number in range(len(values))])
    unit_series = None if units is None else pl.Series(units, dtype=pl.String)
    return read_amounts(series, unit_series, names, kind, column, "file").values.to_list()


@pytest.mark.parametrize(
    ("text", "micromolar"),
    [
        ("10 uM", 10.0),
        ("10uM", 10.0),
        ("500 nM", 0.5),
        ("0.01 mM", 10.0),
        ("10 \xb5M", 10.0),
        ("10 \u03bcM", 10.0),
        ("10 <b5>M", 10.0),
        ("10 UM", 10.0),
        ("1e-1 um", 0.1),
        ("2", 2.0),
        ("1+1", 1.0),
        (None, None),
    ],
)
def test_doses_of_every_spelling_become_micromolar(text: str | None, micromolar: float | None) -> None:
    assert amounts([text, "7"]) == [micromolar, 7.0]


def test_units_of_a_column_apply_unless_the_text_has_its_own() -> None:
    assert amounts(["10", "10 uM", "3"], ["nM", "nM", None]) == [0.01, 10.0, 3.0]
    assert amounts([10.0, 2.5], ["UM", "mM"]) == [10.0, 2500.0]
    assert amounts(["24 h", "2 d", "30 min"], kind=TIME) == [24.0, 48.0, 0.5]
    assert amounts([500.0], column="dose_nm") == [0.5]


def test_a_float32_dose_keeps_its_short_form() -> None:
    dose = pl.Series([11.1], dtype=pl.Float32)
    read = read_amounts(dose, None, pl.Series(["a"]), DOSE, "dose", "file")
    assert read.values.to_list() == [11.1]
    assert read.n_without_unit == 1


def test_an_unknown_unit_or_amount_is_refused_with_its_row() -> None:
    with pytest.raises(UnitError, match="file, row row1, pert_dose_unit: Unknown dose unit 'mg/ml'"):
        amounts(["1 uM", "3 mg/ml"])
    with pytest.raises(SchemaError, match="row row0: 'high' is no pert_dose"):
        amounts(["high"])
    with pytest.raises(SchemaError, match="different amounts"):
        amounts(["1+5"])


@given(st.floats(1e-6, 1e6), st.sampled_from([("nM", 1e-3), ("uM", 1.0), ("mM", 1e3)]))
def test_any_dose_converts_to_within_rounding(value: float, unit: tuple[str, float]) -> None:
    (read,) = amounts([f"{value!r} {unit[0]}"])
    assert read == pytest.approx(value * unit[1], rel=1e-8)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("DMSO", "ctl_vehicle"),
        ("non-targeting", "ctl_vector"),
        ("NTC-135", "ctl_vector"),
        ("ProbeNTC-666", "ctl_vector"),
        ("negative control", "ctl_vector"),
        ("untreated", "ctl_untrt"),
        ("control", ""),
        ("ctrl", ""),
        ("NT5E", None),
        ("DMSO2-analog", None),
        ("CTRL1P", None),
        ("H2AX", None),
    ],
)
def test_controls_are_known_by_their_whole_name_only(name: str, code: str | None) -> None:
    assert control_code(name) == code


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("CRISPRa", "trt_act"),
        ("CRISPRi", "trt_sh"),
        ("CRISPR interference", "trt_sh"),
        ("CRISPR-Cas9", "trt_xpr"),
        ("CRISPR", "trt_xpr"),
        ("shRNA", "trt_sh"),
        ("drug", "trt_cp"),
        ("ORF overexpression", "trt_oe"),
        ("cytokine", "trt_lig"),
        ("heat shock", None),
    ],
)
def test_words_of_kind_become_codes(word: str, code: str | None) -> None:
    assert kind_code(word) == code


@pytest.mark.parametrize(
    ("text", "guides", "name", "control"),
    [
        ("SET+KLF1", False, "KLF1+SET", None),
        ("KLF1+ctrl", False, "KLF1", None),
        ("ABCD2-2 || ProbeNTC-666", True, "ABCD2", None),
        ("FBP1-1 || FBP1-2 || ERN1-2", True, "ERN1+FBP1", None),
        ("HLA-A", False, "HLA-A", None),
        ("NTC-135", True, "NTC", "ctl_vector"),
        ("control", False, "control", ""),
    ],
)
def test_genetic_names_are_read_by_their_parts(
    text: str, guides: bool, name: str, control: str | None
) -> None:
    read = read_genetic_name(text, guides)
    assert (read.name, read.control) == (name, control)


def test_compound_names_stay_whole_but_a_sign_is_no_pair() -> None:
    assert read_compound_name("2',5'-dideoxyadenosine; salt").name == "2',5'-dideoxyadenosine; salt"
    assert read_compound_name("(+)-catechin").name == "(plus)-catechin"
    assert read_compound_name("DMSO").control == "ctl_vehicle"


def test_guide_numbers_are_stripped_only_where_most_names_have_one() -> None:
    genes = pl.Series(["NKX2-1", "TP53", "HLA-A", "MYC"])
    assert read_names(genes, True, "gene", Findings())[0].to_list() == genes.to_list()
    guides = pl.Series(["TP53-1", "TP53-2", "MYC_sg3", "NTC-7", None])
    names, told = read_names(guides, True, "guide", Findings())
    assert names.to_list() == ["TP53", "TP53", "MYC", "NTC", None]
    assert told.to_list() == [None, None, None, "ctl_vector", None]


@given(st.lists(st.sampled_from(["TP53", "MYC", "KLF1", "SET", "ctrl"]), min_size=1, max_size=4))
def test_the_order_of_a_combination_does_not_matter(parts: list[str]) -> None:
    one, other = (read_genetic_name("+".join(order), False) for order in (parts, parts[::-1]))
    assert one == other


def test_missing_values_of_every_spelling_become_null_and_empty_columns_go() -> None:
    frame = pl.DataFrame(
        {
            "source_id": ["-666", "b", "c"],
            "text": ["nan", " K562 ", "-666"],
            "number": [-666.0, float("nan"), 1.5],
            "whole": [-666, 2, 3],
            "word": ["none", "x", "y"],
            "empty": ["nan", "NA", ""],
        }
    )
    findings = Findings()
    cleared = clear_missing(frame, findings)
    assert cleared.columns == ["source_id", "text", "number", "whole", "word"]
    assert cleared["source_id"].to_list() == ["-666", "b", "c"]
    assert cleared["text"].to_list() == [None, "K562", None]
    assert cleared["number"].to_list() == [None, None, 1.5]
    assert cleared["whole"].to_list() == [None, 2, 3]
    assert cleared["word"].to_list() == ["none", "x", "y"]
    assert "text (2)" in findings.converted[0]
    assert "empty" in findings.dropped[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cell_inam: {value: A}", "did you mean cell_iname"),
        ("cell_iname: {colum: A}", r"unknown key cell_iname\.colum; did you mean column"),
        ("cell_iname: {column: A, value: B}", "either column or value"),
        ("cell_iname: {}", "either column or value"),
        ("measure: level", "measure"),
        ("controls: {column: a, values: [b], pert_typ: ctl_vehicle}", "did you mean pert_type"),
        ("[1, 2]", "must hold"),
        ("a: [", "no YAML"),
    ],
)
def test_a_wrong_mapping_file_is_refused_with_the_nearest_key(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"map\\.yaml: .*{message}"):
        load_mapping(path)


def test_a_mapping_file_may_name_a_column_alone_or_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("cell_iname: line\npert_time: {value: 24}\npert_dose: {value: null}\n", encoding="utf-8")
    mapping = load_mapping(path)
    assert mapping.cell_iname is not None
    assert mapping.cell_iname.column == "line"
    assert mapping.pert_time is not None
    assert mapping.pert_time.value == 24
    assert mapping.pert_dose is not None
    assert mapping.pert_dose.is_constant
    path.write_text("", encoding="utf-8")
    assert load_mapping(path) == IngestMapping()
    with pytest.raises(ConfigError, match="no such mapping file"):
        load_mapping(tmp_path / "absent.yaml")


def test_the_mapping_file_of_the_guide_is_valid(repository: Path, tmp_path: Path) -> None:
    guide = (repository / "docs" / "ingest.md").read_text(encoding="utf-8")
    path = tmp_path / "map.yaml"
    path.write_text(guide.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    mapping = load_mapping(path)
    assert mapping.pert_type is not None
    assert mapping.pert_type.values == {"activation": "trt_act", "interference": "trt_sh"}
    assert mapping.exclude == {"qc": ("failed", "doublet")}


def test_values_tell_what_they_are() -> None:
    rng = np.random.default_rng(0)
    counts = sparse.random(50, 40, 0.2, format="csr", random_state=0)
    counts.data = np.ceil(counts.data * 30)
    log_counts = counts.copy()
    log_counts.data = np.log1p(log_counts.data / 7)
    shapes = {
        "counts": counts,
        "log1p_cpm": log_counts,
        "log2_intensity": rng.uniform(3, 15, (50, 40)),
        "z_score": rng.normal(0, 3, (50, 40)),
        None: rng.uniform(0, 1e4, (50, 40)),
    }
    assert [guess_normalisation(summarise([matrix])) for matrix in shapes.values()] == list(shapes)
    assert guess_normalisation(summarise([counts.toarray()])) == "counts"


def test_gene_ids_are_the_rows_names_and_symbols_are_found() -> None:
    raw = pl.DataFrame(
        {"source_id": ["1_at", "2_at"], "pr_gene_symbol": ["TP53", "-666"], "pr_gene_id": [7157.0, 2.0]}
    )
    table = gene_table(raw, PATH, GeneRule(), Findings())
    assert table["gene_id"].to_list() == ["1_at", "2_at"]
    assert table["gene_symbol"].to_list() == ["TP53", None]
    assert table["pr_gene_id"].to_list() == [7157, 2]
    symbols = gene_table(pl.DataFrame({"source_id": ["TP53", "MYC"]}), PATH, GeneRule(), Findings())
    assert symbols["gene_symbol"].to_list() == ["TP53", "MYC"]
    bare = gene_table(pl.DataFrame({"source_id": ["ENSG00000000001", "5720"]}), PATH, GeneRule(), Findings())
    assert bare["gene_symbol"].to_list() == [None, None]


def test_repeated_gene_ids_are_numbered_and_said() -> None:
    findings = Findings()
    table = gene_table(pl.DataFrame({"source_id": ["A", "B", "A"]}), PATH, GeneRule(), findings)
    assert table["gene_id"].to_list() == ["A", "B", "A-1"]
    assert "A" in findings.warnings[0]


def test_files_are_joined_on_the_genes_that_all_share() -> None:
    one = pl.DataFrame({"gene_id": ["p1", "p2", "p3"], "gene_symbol": ["A", "B", "C"]})
    two = pl.DataFrame({"gene_id": ["C", "A", "X"], "gene_symbol": ["C", "A", "X"]})
    findings = Findings()
    var, columns = join_genes([one, two], [PATH, PATH], None, findings)
    assert var["gene_id"].to_list() == ["p1", "p3"]
    assert [column.tolist() for column in columns] == [[0, 2], [1, 0]]
    assert "2 shared genes by gene_symbol" in findings.converted[0]
    assert len(findings.dropped) == 2
    with pytest.raises(SchemaError, match="share no gene by gene_id"):
        join_genes([one, two], [PATH, PATH], "gene_id", Findings())


def test_column_names_are_compared_folded() -> None:
    assert fold(" Cell-Line (ATCC) ") == "cell_line_atcc"

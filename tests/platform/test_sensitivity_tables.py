"""Tables of drug sensitivity: every layout is read, faults are named, joins say how much they join."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pertcast.analysis.sensitivity.joining import join_sensitivity
from pertcast.analysis.sensitivity.names import Catalogue, folded_line, match_lines
from pertcast.analysis.sensitivity.reading import read_sensitivity
from pertcast.analysis.sensitivity.table import SensitivityTable
from pertcast_data.errors import FormatError, SchemaError

ASPIRIN, CAFFEINE, IBUPROFEN = (
    "CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
)  # fmt: skip
COMPOUNDS = pl.DataFrame(
    {
        "pert_id": ["BRD-K00000001", "BRD-K00000002", "BRD-K00000003"],
        "cmap_name": ["aspirin", "caffeine", "ibuprofen"],
        "canonical_smiles": [ASPIRIN, CAFFEINE, IBUPROFEN],
    }
)


def read(tmp_path: Path, text: str, name: str = "table.csv") -> SensitivityTable:
    path = tmp_path / name
    path.write_text(text)
    return read_sensitivity(path)


def test_the_long_table_of_an_atlas_is_read_with_both_values(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "pert_id,cmap_name,cell_iname,ln_ic50,auc\nA,aspirin,MCF7,1.5,0.7\nA,aspirin,A549,-0.5,0.4\n",
    )
    assert table.layout == "long" and table.values == ("ln_ic50", "auc")
    assert table.pairs.to_dicts()[1] == {"drug": "A", "line": "A549", "ln_ic50": -0.5, "auc": 0.4}
    assert table.drugs["names"].to_list() == [["aspirin"]]


def test_the_columns_of_gdsc_are_known_in_their_own_spelling(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "DRUG_ID\tDRUG_NAME\tCELL_LINE_NAME\tLN_IC50\tAUC\n1003\tCamptothecin\tPFSK-1\t-1.46\t.93\n",
        "gdsc2.tsv",
    )
    assert table.drugs.row(0, named=True)["pert_id"] == "1003"
    assert table.lines["line"].to_list() == ["PFSK-1"] and table.pairs["ln_ic50"][0] == -1.46


def test_missing_values_and_repeats_are_counted_in_words(tmp_path: Path) -> None:
    table = read(tmp_path, "drug,cell line,auc\na,X,0.2\na,X,0.4\nb,X,-666\n,X,0.5\n")
    assert table.pairs["auc"].to_list() == pytest.approx([0.3])
    said = " ".join(table.remarks)
    assert (
        "1 rows name no drug" in said
        and "1 rows repeat" in said
        and "1 of 3 rows or cells hold no value" in said
    )


def test_triples_without_a_header_are_told_from_a_table_with_one(tmp_path: Path) -> None:
    table = read(tmp_path, f"MCF7_BREAST\t{ASPIRIN}\t0.89\nA549_LUNG\t{CAFFEINE}\t0.5\n", "triples.txt")
    assert table.layout == "triples" and table.values == ("auc",)
    assert table.drugs["canonical_smiles"].to_list() == [ASPIRIN, CAFFEINE]


def write_matrix(folder: Path) -> Path:
    (folder / "GDSC_IC50.csv").write_text(
        '"","ACH-000001","ACH-000002"\n"GDSC:1",1.5,NA\n"GDSC:2",-2,0.5\n"GDSC:9",3,4\n'
    )
    (folder / "gdsc_drugs.csv").write_text(
        'drug_id,Name,Synonyms\n1,Aspirin,"ASA, Acetylsalicylic acid"\n2,Unheard,"Caffeine, Theine"\n'
    )
    (folder / "ccle_cell_lines.tsv").write_text(
        "CCLE_ID\tdepMapID\tName\nMCF7_BREAST\tACH-000001\tMCF7\nA549_LUNG\tACH-000002\tA549\n"
    )
    return folder / "GDSC_IC50.csv"


def test_a_matrix_gets_its_names_from_the_tables_beside_it(tmp_path: Path) -> None:
    table = read_sensitivity(write_matrix(tmp_path))
    assert table.layout == "matrix" and table.pairs.height == 5
    assert table.drugs["names"].to_list()[1] == ["Unheard", "Caffeine", "Theine"]
    assert table.lines["names"].to_list()[0] == ["ACH-000001", "MCF7", "MCF7_BREAST"]
    assert any("1 of 3 drugs have no name" in remark for remark in table.remarks)


def test_a_matrix_joins_by_name_and_synonym_and_says_what_did_not(tmp_path: Path) -> None:
    joined = join_sensitivity(
        read_sensitivity(write_matrix(tmp_path)), Catalogue(COMPOUNDS), ["A549", "MCF7"]
    )
    assert joined.compounds["pert_id"].to_list() == ["BRD-K00000001", "BRD-K00000002"]
    assert sorted(joined.pairs["value"].to_list()) == [-2.0, 0.5, 1.5]
    report = joined.report
    assert (report.n_drugs, report.n_drugs_joined, report.n_pairs, report.n_pairs_joined) == (3, 2, 5, 3)
    assert report.by["name"] == 2 and report.drugs_left_out == ("GDSC:9",)
    assert "2 of 3 drugs (2 by name), 2 of 2 cell lines and 3 of 5 measured pairs join" in report.lines()[0]


def test_without_its_side_tables_a_matrix_still_reads_and_says_so(tmp_path: Path) -> None:
    path = write_matrix(tmp_path)
    for name in ("gdsc_drugs.csv", "ccle_cell_lines.tsv"):
        (tmp_path / name).unlink()
    table = read_sensitivity(path)
    assert sum("lies beside the matrix" in remark for remark in table.remarks) == 2
    with pytest.raises(FormatError, match=r"none\.csv does not exist"):
        read_sensitivity(path, drug_names=tmp_path / "none.csv")
    (tmp_path / "odd.csv").write_text("id,Name\n1,x\n")
    with pytest.raises(SchemaError, match=r"odd\.csv lacks the column 'drug_id'"):
        read_sensitivity(path, drug_names=tmp_path / "odd.csv")


def test_a_salt_and_its_parent_are_one_compound_and_their_values_are_averaged(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        f"drug,canonical_smiles,cell_iname,ln_ic50\nfree,{IBUPROFEN},A549,1\n"
        f"salt,{IBUPROFEN}.[Na+].[OH-],A549,3\nbroken,C1CC,A549,2\n",
    )
    joined = join_sensitivity(table, Catalogue(COMPOUNDS), ["A549"])
    assert joined.pairs["value"].to_list() == [2.0]
    assert joined.compounds["pert_id"].to_list() == ["BRD-K00000003"]
    assert joined.report.by["structure"] == 2 and joined.report.drugs_left_out == ("broken",)


def test_a_new_compound_joins_by_its_own_structure(tmp_path: Path) -> None:
    joined = join_sensitivity(
        read(tmp_path, "smiles,cell,auc\nCCOC(=O)c1ccccc1,A549,0.5\n"), Catalogue(COMPOUNDS), ["A549"]
    )
    assert joined.report.by["own structure"] == 1 and joined.value == "auc"


def test_a_name_that_two_structures_bear_joins_neither(tmp_path: Path) -> None:
    twice = COMPOUNDS.with_columns(cmap_name=pl.Series(["twin", "twin", "ibuprofen"]))
    table = read(tmp_path, "drug,cell,auc\ntwin,A549,0.5\nibuprofen,A549,0.6\n")
    report = join_sensitivity(table, Catalogue(twice), ["A549"]).report
    assert report.n_ambiguous == 1 and report.drugs_left_out == ("twin",)
    assert "1 bear an ambiguous name" in report.lines()[1]


def test_cell_lines_that_differ_in_a_dot_alone_are_not_confused() -> None:
    assert match_lines({"TT": ["TT"], "T-T": ["T-T"]}, ["TT"]) == {"TT": "TT"}
    assert match_lines({"T-T": ["T-T"], "T.T": ["T.T"]}, ["TT"]) == {}
    assert match_lines({"a": ["ACH-1", "HT-115", "HT115_LARGE_INTESTINE"]}, ["HT115"]) == {"a": "HT115"}
    assert folded_line("NCI_H460") == folded_line("nci-h460") == "NCIH460"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("drug,cell,ic50\na,X,1\n", "lacks a sensitivity .*natural logarithm of ic50"),
        ("cell,auc\nX,1\n", "lacks a drug"),
        ("drug,auc\na,1\n", "lacks a cell line"),
        ("drug,cell,ln_ic50\na,X,1\nb,X,low\n", "row 3: ln_ic50 is 'low', which is no number"),
        ("drug,cell,ln_ic50\na,X,1500\n", "row 2: ln_ic50 is '1500', which lies outside -25 to 25"),
        ("drug,cell,auc\na,X,inf\n", "row 2: auc is 'inf', which is no number"),
        ("drug,cell,auc\na,X,\n", "holds no sensitivity value"),
    ],
)
def test_a_table_that_cannot_be_believed_is_refused_by_place_and_remedy(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(SchemaError, match=words) as caught:
        read(tmp_path, text)
    assert "table.csv" in str(caught.value)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="does not exist"):
        read_sensitivity(tmp_path / "absent.csv")
    with pytest.raises(FormatError, match="is empty"):
        read(tmp_path, "\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81" * 9)
    with pytest.raises(FormatError, match="is no text"):
        read_sensitivity(tmp_path / "binary.csv")


def test_a_table_about_other_lines_is_refused_with_examples_of_both(tmp_path: Path) -> None:
    table = read(tmp_path, "drug,cell,auc\naspirin,HELA,0.5\n")
    with pytest.raises(SchemaError, match=r"Nothing of table.csv joins: 1 of its 1 drugs .*HELA.*A549"):
        join_sensitivity(table, Catalogue(COMPOUNDS), ["A549"])
    with pytest.raises(SchemaError, match="holds no ln_ic50; it holds auc"):
        join_sensitivity(table, Catalogue(COMPOUNDS), ["HELA"], "ln_ic50")


def test_the_real_gdsc_matrix_joins_one_line_of_a_store_of_ht115(shared_data: Callable[[str], Path]) -> None:
    table = read_sensitivity(shared_data("drugs/GDSC_IC50.csv"))
    assert (table.drugs.height, table.lines.height, table.pairs.height) == (266, 969, 208_734)
    vorinostat = pl.DataFrame(
        {
            "pert_id": ["BRD-K81418486"],
            "cmap_name": ["vorinostat"],
            "canonical_smiles": ["ONC(=O)CCCCCCC(=O)Nc1ccccc1"],
        }
    )
    joined = join_sensitivity(table, Catalogue(vorinostat), ["HT115"])
    assert (joined.report.n_lines_joined, joined.pairs.height) == (1, 1)


def test_the_real_triples_are_read_with_their_structures(shared_data: Callable[[str], Path]) -> None:
    table = read_sensitivity(shared_data("drugs/drugcell_test.txt"))
    assert (table.layout, table.pairs.height, table.lines.height) == ("triples", 1000, 626)
    joined = join_sensitivity(table, Catalogue(COMPOUNDS), ["MCF7", "LS123"])
    assert joined.report.n_drugs_joined == table.drugs.height and joined.report.n_lines_joined >= 1

"""A library's own ids bring its structures; what is no structure is listed; RDKit is quiet."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.compounds import canonicalise, structure_files, why_no_structure
from pertcast_data.compounds.library import library_blocks, read_compound_library
from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.mapping.rules import TableRule
from pertcast_data.ingest.rows.structures import canonical_structures
from pertcast_data.ingest.side_tables.joining import join_side_table
from rdkit import Chem

SharedData = Callable[[str], Path]
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
SALT = "CC(=O)Oc1ccccc1C(=O)[O-].[Na+]"
ETHANOL = "CCO"


def record(title: str, smiles: str, v3000: bool = False, **properties: str) -> str:
    """A record of an SDF, written by RDKit."""
    molecule = Chem.MolFromSmiles(smiles)
    molecule.SetProp("_Name", title)
    block = Chem.MolToMolBlock(molecule, forceV3000=v3000)
    told = "".join(f">  <{name}>  (1)\n{value}\n\n" for name, value in properties.items())
    return f"{block}{told}$$$$\n"


def five_bonds(title: str) -> str:
    """A record whose carbon has five bonds."""
    return record(title, "CC(C)(C)C").replace("  2  5  1  0", "  2  5  2  0")


@pytest.mark.parametrize("kind", ["v2000", "v3000", "windows", "gzip", "blocks"])
def test_an_sdf_is_read_whatever_its_version_and_packing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = record("L-1", ASPIRIN, kind == "v3000", Plate="P1", Note="one\ntwo") + record(
        "L-2", SALT, kind == "v3000"
    )
    content = text.replace("\n", "\r\n").encode() if kind == "windows" else text.encode()
    path = tmp_path / "library.anything"
    path.write_bytes(gzip.compress(content) if kind == "gzip" else content)
    if kind == "blocks":
        monkeypatch.setattr(structure_files, "_READ_BYTES", 64)
    library = read_compound_library(path)
    wanted = canonicalise(ASPIRIN)
    assert wanted is not None
    assert library.compounds.to_dict(as_series=False) == {
        "id": ["L-1", "L-2"],
        "canonical_smiles": [wanted.canonical_smiles] * 2,
        "inchi_key": [wanted.inchi_key] * 2,
        "is_salt": [False, True],
        "record": [1, 2],
        "Plate": ["P1", None],
        "Note": ["one\ntwo", None],
    }
    assert library.same_structure["ids"].to_list() == [["L-1", "L-2"]]
    assert not library.invalid


def test_what_is_no_structure_is_listed_with_its_number_id_and_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "library.sdf"
    path.write_text(
        record("good", ETHANOL)
        + five_bonds("five")
        + "empty\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n$$$$\n"
        + "cut\n\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n$$$$\n"
        + "words\nthis is\nno structure\nat all\nM  END\n$$$$\n"
        + record("", ETHANOL)
        + record("last", ASPIRIN).removesuffix("$$$$\n")
    )
    library = read_compound_library(path)
    assert library.compounds["id"].to_list() == ["good"]
    listed = {found.number: (found.id, found.reason) for found in library.invalid}
    assert list(listed) == [2, 3, 4, 5, 6, 7]
    assert listed[2][0] == "five" and "valence" in listed[2][1]
    assert listed[3] == ("empty", "has no atoms")
    assert listed[4] == ("cut", "has no M  END line: its structure is not whole")
    assert listed[5] == ("words", "is no mol block")
    assert listed[6] == ("", "has no id")
    assert listed[7][0] == "last" and "breaks off" in listed[7][1]
    assert "no structure: record 3 (empty): has no atoms" in "\n".join(library.lines())
    shown = capfd.readouterr()
    assert shown.out == shown.err == ""


def test_the_id_is_the_title_or_the_property_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "library.sdf"
    path.write_text(record("", ETHANOL, Catalog="C-1") + record("", ASPIRIN, Catalog="C-2", Vendor="x"))
    with pytest.raises(
        SchemaError, match=r"title lines are empty; they have Catalog, Vendor\. Name the prop"
    ):
        read_compound_library(path)
    with pytest.raises(SchemaError, match=r"no record has 'catalog'"):
        read_compound_library(path, "catalog")
    assert read_compound_library(path, "Catalog").compounds["id"].to_list() == ["C-1", "C-2"]


SMI = {
    "blanks": f"{ASPIRIN} L 1\n{ETHANOL}   L2\n",
    "tabs": f"{ASPIRIN}\tL 1\tmore\n{ETHANOL}\tL2\n",
    "header": f"SMILES Name\n{ASPIRIN} L 1\n{ETHANOL} L2\n",
    "comment and blank line": f"# made\n{ASPIRIN} L 1\r\n\r\n{ETHANOL} L2",
    "extension": f"{ASPIRIN} |c:1,3| L 1\n{ETHANOL} L2\n",
}


@pytest.mark.parametrize("kind", SMI)
def test_lines_of_smiles_and_ids_are_a_library(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "library.smi"
    path.write_text(SMI[kind])
    compounds = read_compound_library(path).compounds
    assert compounds["id"].to_list() == ["L 1", "L2"]
    assert compounds["record"].to_list() == [1, 2]
    assert compounds["canonical_smiles"].to_list() == [canonicalise(ASPIRIN).canonical_smiles, ETHANOL]  # type: ignore[union-attr]


def test_a_table_of_smiles_is_a_library_and_a_row_without_one_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "library.csv"
    path.write_text(f"Compound ID;SMILES;Supplier\nL1;{SALT};x\nL2;;y\nL3;C1CC;\n;CC;\n")
    library = read_compound_library(path)
    assert library.compounds.select("id", "is_salt", "Supplier").rows() == [("L1", True, "x")]
    assert [str(found) for found in library.invalid] == [
        "record 2 (L2): its structure is empty",
        f"record 3 (L3): {why_no_structure('C1CC')}",
        "record 4 (no id): has no id",
    ]
    assert why_no_structure("C1CC") == "is no SMILES"
    assert "valence" in why_no_structure("C(C)(C)(C)(C)C")


def test_one_id_of_two_structures_is_refused_and_an_equal_record_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "library.smi"
    path.write_text(f"{ASPIRIN} L1\n{SALT} L1\n{ETHANOL} L2\n")
    library = read_compound_library(path)
    assert library.n_repeats == 1 and library.compounds["id"].to_list() == ["L1", "L2"]
    path.write_text(f"{ASPIRIN} L1\n{ETHANOL} L2\n{ETHANOL} L1\n")
    with pytest.raises(SchemaError, match=r"1 ids stand for different.*L1 in records 1, 3.*an id of its own"):
        read_compound_library(path)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("absent.sdf", None, FormatError, "no such library"),
        ("empty.csv", "", FormatError, "is empty"),
        ("headless.csv", f"L1,{ASPIRIN}\nL2,{ETHANOL}\n", SchemaError, "no column of SMILES.*line of names"),
        ("ids.csv", f"smiles,mass\n{ETHANOL},46\n", SchemaError, "no column of ids.*Name its columns id"),
        ("all.smi", "C1CC L1\n", SchemaError, r"no valid structure with an id \(record 1 \(L1\)"),
        ("none.smi", "", SchemaError, "no valid structure"),
    ],
)
def test_what_is_no_library_is_refused(
    name: str, content: str | None, error: type[Exception], message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=rf"{name}.*{message}"):
        read_compound_library(tmp_path / name)


def test_rows_get_the_structures_of_their_own_ids_and_only_these_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "library.sdf"
    path.write_text(
        record("L1", ASPIRIN, Code="K1") + five_bonds("L2") + five_bonds("L9") + record("L3", SALT, Code="K3")
    )
    rows = pl.DataFrame({"source_id": ["a", "b", "c"], "pert_id": ["L3", "L2", "L3"]})
    joined = join_side_table(rows, TableRule(file=(path,), key="id", matches="pert_id"), "tables")
    key = canonicalise(ASPIRIN).inchi_key  # type: ignore[union-attr]
    assert joined.frame["inchi_key"].to_list() == [key, None, key]
    assert joined.frame.columns == ["source_id", "pert_id", "canonical_smiles", "inchi_key"]
    assert joined.n_found == 2 and "1 of the compounds" in joined.told and "L9" not in joined.told
    by_code = TableRule(file=(path,), key="Code", matches="pert_id", columns=("inchi_key", "Vendor"))
    named = join_side_table(rows.with_columns(pert_id=pl.lit("K1")), by_code, "tables").frame
    assert named["inchi_key"].to_list() == [key] * 3 and named["Vendor"].null_count() == 3


def test_a_library_is_read_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pertcast_data.compounds.library._RECORDS_AT_ONCE", 2)
    path = tmp_path / "library.smi"
    path.write_text("".join(f"{'C' * n} L{n}\n" for n in range(1, 6)))
    heights = [block.compounds.height for block in library_blocks(path)]
    assert heights == [2, 2, 1]
    assert read_compound_library(path).compounds["record"].to_list() == [1, 2, 3, 4, 5]


def test_every_invalid_structure_of_a_column_says_why(tmp_path: Path) -> None:
    findings = Findings()
    smiles = pl.Series([ASPIRIN, "C1CC", None, "restricted", "C1CC", SALT])
    found = canonical_structures(smiles, findings)
    key = canonicalise(ASPIRIN).inchi_key  # type: ignore[union-attr]
    assert found["inchi_key"].to_list() == [key, None, None, None, None, key]
    assert len(findings.warnings) == 1
    assert "1 structure in 2 rows" in findings.warnings[0] and "C1CC (is no SMILES)" in findings.warnings[0]


def test_the_real_library_without_header_is_refused_and_with_one_is_read(
    shared_data: SharedData, tmp_path: Path
) -> None:
    real = shared_data("drugs/lincs_drugs_smiles.csv")
    with pytest.raises(SchemaError, match=r"no column of SMILES.*line of names above"):
        read_compound_library(real)
    path = tmp_path / "named.csv"
    path.write_text("pert_id,smiles\n" + "".join(real.read_text().splitlines(keepends=True)[:300]))
    library = read_compound_library(path)
    assert library.compounds.height == 300 and not library.invalid
    assert not library.compounds["canonical_smiles"].str.starts_with(" ").any()


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=12) | st.text("CNOc1()=#[]@+-.%H23", max_size=25))
def test_no_text_makes_a_structure_raise(text: str) -> None:
    found = canonicalise(text)
    if found is None:
        assert why_no_structure(text)
    else:
        assert canonicalise(found.canonical_smiles) is not None

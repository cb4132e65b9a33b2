"""A file that holds no profiles is told for what it is, with the command that reads it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from pertcast_data.errors import FormatError
from pertcast_data.readers import open_source
from pertcast_data.readers.text.delimited_columns import AnnotationTableError

ATOMS = "ethanol\n  tool\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n"
LINES = ",".join(f"ACH-{number:06d}" for number in range(30))
IC50 = f",{LINES}\n" + "\n".join(f"GDSC:{row}," + ",".join(["1.5"] * 30) for row in range(1, 12)) + "\n"
CASES = {
    "sets.gmt": ("HALLMARK_A\thttp://a\tTP53\tMYC\tEGFR\nHALLMARK_B\tna\tMYC\tACTB\n", "data gene-sets FILE"),
    "sets.txt": ("SET_A\t\tTP53\tMYC\tEGFR\tKRAS\nSET_B\t\tMYC\tACTB\nSET_C\t\tVIM\n", "data gene-sets FILE"),
    "edges.txt": ("TP53\tMDM2\t0.9\nMYC\tMAX\t0.8\nEGFR\tGRB2\t0.5\n", "data networks FILE"),
    "pairs.txt": ("TP53 MDM2\nMYC MAX\nEGFR GRB2\n", "data networks FILE"),
    "string.tsv": ("#node1\tnode2\tscore\nTP53\tMDM2\t0.9\nMYC\tMAX\t0.8\n", "data networks FILE"),
    "edges.csv": ("gene1,gene2,weight\n7157,4193,0.9\n4609,4149,0.8\n", "data networks FILE"),
    "ic50.csv": (IC50, "--sensitivity FILE"),
    "triples.txt": ("A375_SKIN\tCC(=O)Oc1ccccc1C(=O)O\t0.81\nHT29\tCCN(CC)CC\t0.92\n", "--sensitivity FILE"),
    "fitted.csv": (
        "DRUG_NAME,CELL_LINE_NAME,LN_IC50\nErlotinib,MC-CAR,2.4\nErlotinib,ES3,3.1\n",
        "--sensitivity",
    ),
    "drugs.csv": ("drug_id,Name,Targets\n1,Erlotinib,EGFR\n2,Trametinib,MEK1\n", "--obs-table FILE --key"),
    "smiles.csv": ("pert_id,canonical_smiles\nBRD-K1,CCO\nBRD-K2,CCN\n", "--obs-table FILE --key"),
    "headless.csv": ("BRD-A1, CC1CS(=O)(=O)C1\nBRD-A2, NC(Cc1c[nH]c2)C(=O)O\n", "pert_id,canonical_smiles"),
    "library.sdf": (ATOMS, "screen compounds FILE"),
    "library.smi": ("CCO ethanol\nCCN amine\n", "screen compounds FILE"),
    "lines.tsv": (
        "depMapID\tName\tPathology\nACH-000001\tA\tprimary\nACH-000002\tB\tmetastasis\n",
        "cell_iname",
    ),
    "genes.tsv": (
        "entrez_id\tsymbol\tdescription\n7157\tTP53\ttumor protein\n4609\tMYC\tmyc\n",
        "genes: {names",
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_what_a_file_without_profiles_is_and_what_reads_it_stand_in_the_refusal(
    name: str, tmp_path: Path
) -> None:
    content, remedy = CASES[name]
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FormatError) as refusal:
        open_source(path)
    assert f"{name}: is a" in str(refusal.value)
    assert remedy in str(refusal.value)


def test_a_parquet_table_of_edges_is_a_network(tmp_path: Path) -> None:
    path = tmp_path / "edges.parquet"
    pl.DataFrame({"gene1": [1, 2], "gene2": [3, 4], "weight": [0.5, 0.1]}).write_parquet(path)
    with pytest.raises(FormatError, match=r"edges\.parquet: is a network of genes.*pertcast data networks"):
        open_source(path)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_features_of_genes_are_no_profiles(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"features.{ending}"
    frame = pl.DataFrame({"symbol": ["TP53", "MYC"], **{f"f{place}": [0.5, 1.5] for place in range(9)}})
    frame.write_parquet(path) if ending == "parquet" else frame.write_csv(path)
    with pytest.raises(
        AnnotationTableError, match=r"features of|gene features.*encoder\.gene_embedding=FILE"
    ):
        open_source(path)


def test_a_broken_matrix_with_annotations_of_drugs_keeps_the_readers_own_words(tmp_path: Path) -> None:
    path = tmp_path / "screen.csv"
    path.write_text(
        "sig_id,cell_iname,drug_id,TP53,MYC\ns1,A375,d1,1.5,2\ns2,A375,d1,1.5\n", encoding="utf-8"
    )
    with pytest.raises(FormatError, match=r"screen\.csv, line 3: 4 fields where 5 are expected"):
        open_source(path)


def test_a_name_that_no_disk_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be looked at"):
        open_source(tmp_path / ("a" * 300))

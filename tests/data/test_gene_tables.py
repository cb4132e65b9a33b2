"""Tables of gene names as they are downloaded say what an id stands for; what is ambiguous says nothing."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import FormatError, PertcastError, SchemaError
from pertcast_data.gene_tables.gene_names import read_gene_names
from pertcast_data.gene_tables.identifiers import identifier_key, identifier_kind, main_kind
from pertcast_data.splits import read_aliases

HGNC = (
    "hgnc_id\tsymbol\tname\tlocus_group\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tuniprot_ids\n"
    'HGNC:11998\tTP53\ttumor protein p53\tprotein-coding gene\t"p53|LFS1"\t\t7157\tENSG00000141510\tP04637\n'
    'HGNC:6973\tMDM2\tMDM2 proto-oncogene\tprotein-coding\t"HDM2|MGC5370"\t\t4193\tENSG00000135679\tQ00987\n'
    "HGNC:20\tAARS1\talanyl-tRNA synthetase 1\tprotein-coding gene\t\tAARS\t16\tENSG00000090861\tP49588\n"
)
GENE_INFO = (
    "#tax_id\tGeneID\tSymbol\tLocusTag\tSynonyms\tdbXrefs\tchromosome\tdescription\n"
    "9606\t7157\tTP53\t-\tBCC7|LFS1|P53\tMIM:191170|HGNC:HGNC:11998|Ensembl:ENSG00000141510\t17\tp53\n"
    "9606\t4193\tMDM2\t-\tHDM2|hdm2\tHGNC:HGNC:6973|Ensembl:ENSG00000135679\t12\tproto-oncogene\n"
    "9606\t16\tAARS1\t-\tAARS|CMT2N\tEnsembl:ENSG00000090861\t16\t-\n"
    "10090\t22059\tTrp53\t-\tp44|p53\tEnsembl:ENSMUSG00000059552\t11\tmouse\n"
)
STRING_INFO = (
    "#string_protein_id\tpreferred_name\tprotein_size\tannotation\n"
    '9606.ENSP00000269305\tTP53\t393\tCellular tumor antigen p53; "acts" as a suppressor\n'
    "9606.ENSP00000258149\tMDM2\t491\tLigase\n9606.ENSP00000261772\tAARS1\t968\tLigase\n"
)
STRING_ALIASES = (
    "#string_protein_id\talias\tsource\n"
    "9606.ENSP00000269305\tTP53\tEnsembl_HGNC_symbol\n9606.ENSP00000269305\t7157\tEnsembl_HGNC_entrez_id\n"
    "9606.ENSP00000269305\t4193\tEnsembl_HGNC_omim_id\n9606.ENSP00000269305\tP04637\tUniProt_AC\n"
    "9606.ENSP00000269305\tENSG00000141510\tEnsembl_gene\n9606.ENSP00000269305\t1A1U\tUniProt_DR_PDB\n"
    "9606.ENSP00000258149\tMDM2\tEnsembl_HGNC_symbol\n9606.ENSP00000258149\t4193\tUniProt_DR_GeneID\n"
    "9606.ENSP00000258149\tHDM2\tEnsembl_HGNC_alias_symbol\n9606.ENSP00000261772\tAARS1\tUniProt_GN_Name\n"
    "9606.ENSP00000261772\tAARS\tEnsembl_HGNC_prev_symbol\n9606.ENSP00000999999\tNOBODY\tUniProt_DR_PDB\n"
)
BIOMART = (
    "Gene stable ID,Protein stable ID,Gene name,NCBI gene (formerly Entrezgene) ID,Gene Synonym\n"
    "ENSG00000141510,ENSP00000269305,TP53,7157,LFS1\nENSG00000141510,ENSP00000391127,TP53,7157,P53\n"
    "ENSG00000135679,ENSP00000258149,MDM2,4193.0,HDM2\nENSG00000090861,,AARS1,16,AARS\n"
)
HGNC_WEB = (
    "Approved symbol\tPrevious symbols\tAlias symbols\tNCBI Gene ID\n"
    "TP53\t\tp53, LFS1\t7157\nMDM2\t\tHDM2, MGC5370\t4193\nAARS1\tAARS\t\t16\n"
)
TABLES = {
    "hgnc": (HGNC, "7157 ENSG00000141510.17 P04637 p53 LFS1 tp53", "4193 Q00987-2 HDM2", "AARS 16.0"),
    "gene info": (GENE_INFO, "7157 ENSG00000141510 bcc7", "4193 HDM2", "AARS CMT2N ENSG00000090861"),
    "string info": (STRING_INFO, "9606.ENSP00000269305 ENSP00000269305.4", "9606.ENSP00000258149", "AARS1"),
    "string aliases": (
        STRING_ALIASES,
        "7157 P04637 ENSG00000141510 9606.ENSP00000269305",
        "4193 HDM2",
        "ENSP00000261772 AARS",
    ),
    "biomart": (BIOMART, "7157 ENSP00000269305 ENSP00000391127 LFS1", "4193 HDM2", "16 AARS"),
    "hgnc web": (HGNC_WEB, "7157 LFS1 P53", "MGC5370 4193", "AARS"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_every_download_says_what_its_ids_stand_for(table: str, packed: bool, tmp_path: Path) -> None:
    text, *asked = TABLES[table]
    path = tmp_path / "names.txt"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    names = read_gene_names(path)
    found = [{name: names.symbol(name) for name in words.split()} for words in asked]
    assert [set(each.values()) for each in found] == [{"TP53"}, {"MDM2"}, {"AARS1"}], found
    assert names.file == "names.txt" and len(names.sha256) == 64
    assert names.symbol("NOTHING") is None and names.symbol("999999999") is None


def test_other_organisms_and_numbers_of_other_things_are_no_genes(tmp_path: Path) -> None:
    (tmp_path / "info.tsv").write_text(GENE_INFO)
    info = read_gene_names(tmp_path / "info.tsv")
    assert info.symbol("22059") is None and info.symbol("ENSMUSG00000059552") is None
    assert info.symbol("p53") == "TP53" and info.symbol("17") is None and info.symbol("191170") is None
    (tmp_path / "aliases.tsv").write_text(STRING_ALIASES)
    aliases = read_gene_names(tmp_path / "aliases.tsv")
    assert aliases.symbol("1A1U") is None and aliases.symbol("ENSP00000999999") is None


def test_symbols_win_over_aliases_and_an_alias_of_two_genes_means_none(tmp_path: Path) -> None:
    rows = {
        "symbol": ["CAP1", "CAP2", "BRAP", "-", "H4C1", "H4C2", None],
        "synonyms": ["BRAP|CAP|MCH1", "CAP|CAPZ", "CAPZ|mch1|brap2", "LOST", "-", "-", "-"],
        "uniprot_ids": ["Q01518; A8K123", "P40123", "Q7Z569", "P00001", "P62805", "P62805", "-"],
        "entrez_id": [10487, 10486, 8315, 4, 8359, 8366, 5],
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "names.parquet")
    names = read_gene_names(tmp_path / "names.parquet")
    assert names.symbol("BRAP") == "BRAP"
    assert [names.symbol(name) for name in ("CAP", "CAPZ", "MCH1", "P62805")] == [None] * 4
    assert [names.symbol(name) for name in ("brap2", "A8K123", "8366")] == ["BRAP", "CAP1", "H4C2"]
    assert [names.symbol(name) for name in ("LOST", "P00001", "4", "5", "-", "")] == [None] * 6


def test_two_columns_alias_and_name_are_enough(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("alias,name\nHDM2,MDM2\n7157,TP53\n")
    names = read_gene_names(tmp_path / "names.csv")
    assert (names.symbol("hdm2"), names.symbol("7157")) == ("MDM2", "TP53")


BROKEN: dict[str, tuple[bytes, type[PertcastError], str]] = {
    "no symbols": (
        b"entrez_id\tensembl_id\n1\tENSG00000121410\n",
        SchemaError,
        "needs a column of symbols.*it has entrez_id, ensembl_id.*Name its columns so",
    ),
    "symbols alone": (b"symbol\tlength\nTP53\t393\n", SchemaError, "ids or aliases beside it"),
    "no row": (b"symbol\tentrez_id\n", SchemaError, "no row has a symbol"),
    "missing symbols": (b"symbol\tentrez_id\n-\t1\n", SchemaError, "no row has a symbol"),
    "empty": (b"\n\n", FormatError, "is empty. Bring a table with a header"),
    "ragged": (b"symbol\tentrez_id\nA\t1\t2\n", FormatError, "line 2: 3 values, the first row has 2"),
    "zip": (b"PK\x03\x04", FormatError, "is packed. Unpack it first"),
    "cut parquet": (b"PAR1 cut off", FormatError, "cannot be read as Parquet"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_table_that_says_nothing_is_refused(case: str, tmp_path: Path) -> None:
    content, error, message = BROKEN[case]
    (tmp_path / "names.tsv").write_bytes(content)
    with pytest.raises(error, match=rf"names\.tsv.*{message}"):
        read_gene_names(tmp_path / "names.tsv")


def test_an_absent_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"absent\.tsv: no such file. Check the path"):
        read_gene_names(tmp_path / "absent.tsv")


def test_kinds_are_told_by_how_names_look() -> None:
    kinds = {
        "604": "Entrez ids",
        " 5720.0": "Entrez ids",
        "9606.ENSP00000000233": "Ensembl protein ids",
        "ENSG00000121410.12": "Ensembl gene ids",
        "ENSMUSG00000059552": "Ensembl gene ids",
        "P04637-2": "UniProt accessions",
        "A0A024RBG1": "UniProt accessions",
        "TP53": "symbols",
        "5_8S_rRNA": "symbols",
        "0": "symbols",
    }
    assert {name: identifier_kind(name) for name in kinds} == kinds
    assert main_kind(["604", "TP53", "7157"]) == "Entrez ids" and main_kind([]) == "symbols"


@given(
    st.sampled_from(["604", "ENSP00000000233", "ENSG00000121410", "P04637", "NKX2-1", "C1orf9"]), st.data()
)
def test_prefix_version_case_and_blanks_never_change_what_a_name_means(
    name: str, data: st.DataObject
) -> None:
    forms = [name, name.lower(), f"  {name} "]
    if name.startswith("ENS"):
        forms += [f"9606.{name}", f"{name}.7", f"9606.{name}.12"]
    if identifier_kind(name) == "Entrez ids":
        forms.append(f"{name}.0")
    if identifier_kind(name) == "UniProt accessions":
        forms.append(f"{name}-2")
    assert identifier_key(data.draw(st.sampled_from(forms))) == identifier_key(name)


def test_withdrawn_symbols_name_no_gene_and_are_known_as_such(tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text(
        "symbol\tstatus\talias_symbol\tentrez_id\nTP53\tApproved\tP53\t7157\n"
        "A12M1~withdrawn\tEntry Withdrawn\tP53\t11\nGONE\tSymbol Withdrawn\t\t12\n"
    )
    names = read_gene_names(tmp_path / "names.tsv")
    assert names.meaning("P53") == ("alias", ("TP53",))
    assert [names.meaning(name)[0] for name in ("A12M1", "GONE", "11", "NEW")] == [
        *("withdrawn", "withdrawn", "unknown", "unknown")
    ]


def test_a_symbol_spelled_as_asked_wins_over_one_that_differs_in_hyphens(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("symbol,entrez_id\nAB-C,1\nABC,2\n")
    names = read_gene_names(tmp_path / "names.csv")
    assert names.meaning("ABC") == ("approved", ("ABC",)) and names.meaning("AB-C") == ("approved", ("AB-C",))
    assert names.meaning("abc") == ("approved", ("AB-C", "ABC"))


def test_aliases_for_splits_are_no_ones_own_symbol(tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text(
        "symbol\talias_symbol\tprev_symbol\nA1\tOWN|TWICE|OLD\t\nA2\tTWICE\t\nOWN\t\t\n"
    )
    assert read_aliases(tmp_path / "names.tsv") == (("OLD", "A1"),)

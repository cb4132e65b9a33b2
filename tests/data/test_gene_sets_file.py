"""Gene sets are read by one parser, and what a store can see of them is told before they are used."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.gene_sets.gmt import read_gmt
from pertcast_data.gene_sets.report import namespaces, read_gene_set_report
from pertcast_data.networks.gene_groups import read_gene_groups

SharedData = Callable[[str], Path]
GMT = "A\tdescription\tTP53\tMDM2\nB\t\tMYC\tMAX\tTP53\n"
WANTED = {"A": ("TP53", "MDM2"), "B": ("MYC", "MAX", "TP53")}
CONTENTS = {
    "plain": GMT.encode(),
    "windows": GMT.replace("\n", "\r\n").encode(),
    "byte order mark": b"\xef\xbb\xbf" + GMT.encode(),
    "utf-16": GMT.encode("utf-16"),
    "gzip": gzip.compress(GMT.encode()),
    "comments and blank lines": b"# made by hand\n\n" + GMT.replace("\n", "\n\n").encode(),
    "spare tabs": GMT.replace("\n", "\t\t\n").encode(),
    "weights": GMT.replace("MDM2", "MDM2,1.0").encode(),
    "no last line end": GMT.rstrip("\n").encode(),
    "repeated members": GMT.replace("MDM2", "MDM2\tTP53").encode(),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_the_same_sets_are_read_for_enrichment_and_for_networks(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_bytes(CONTENTS[kind])
    assert read_gmt(path).members == WANTED
    groups = read_gene_groups(path, "gmt")
    listed: dict[int, list[str]] = {}
    for group, gene in groups.members.tolist():
        listed.setdefault(group, []).append(groups.names[gene])
    assert [tuple(dict.fromkeys(genes)) for genes in listed.values()] == list(WANTED.values())


WORDS = st.text("ABCXYZ129-_", min_size=1, max_size=6)


@given(sets=st.dictionaries(WORDS, st.lists(WORDS, min_size=1, unique=True), min_size=1))
def test_any_sets_that_are_written_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, sets: dict[str, list[str]]
) -> None:
    path = tmp_path_factory.mktemp("sets") / "sets.gmt"
    path.write_text("".join(f"{name}\t\t{chr(9).join(genes)}\n" for name, genes in sets.items()))
    assert read_gmt(path).members == {name: tuple(genes) for name, genes in sets.items()}


def test_a_name_that_stands_twice_is_refused_or_numbered(tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text("A\t\tTP53\nA\t\tMYC\nA_2\t\tMAX\nA\t\tMDM2\n")
    with pytest.raises(SchemaError, match="line 2: the set 'A' stands there twice"):
        read_gmt(path)
    assert list(read_gmt(path, repeated="number").members) == ["A", "A_2", "A_2_2", "A_3"]
    assert read_gene_set_report(path).renamed == ("A_2", "A_2_2", "A_3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A\t\tTP53\nB\tx\n", "line 2 has 2 tab-separated fields"),
        (b"A\t\tTP53\nB\t\tTP\xff\n", "line 2 is not text in UTF-8"),
        (b"", "holds no gene set"),
        (gzip.compress(GMT.encode(), mtime=0)[:-8], "packed with gzip and broken"),
        (None, "no such file"),
    ],
)
def test_what_is_no_file_of_sets_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    if content is not None:
        path.write_bytes(content)
    for read in (read_gmt, read_gene_set_report):
        with pytest.raises(FormatError, match=rf"sets\.gmt.*{message}"):
            read(path)


def test_what_is_odd_about_sets_is_told_and_overlap_is_counted_however_genes_are_spelled(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text("A\t\ttp53\tMDM2\tMDM2\nB\t\t\nC\t\tMYC\tHLA.A\tZNF9\n")
    report = read_gene_set_report(path, ["TP53", "HLA-A", "MYC"])
    assert report.sizes == {"A": 2, "B": 0, "C": 3} and report.overlaps == {"A": 1, "B": 0, "C": 2}
    assert report.n_surviving(2) == 1 and read_gene_set_report(path).n_surviving(2) == 2
    text = "\n".join(report.lines())
    assert "3 sets of 0 to 3 genes (median 2), 5 genes, called by symbols" in text
    assert "0 to 2 of its 3 genes; 0 have 5 or more" in text
    assert "1 sets list a gene twice, counted once: A" in text and "1 sets without a gene: B" in text
    assert report.to_json()["sets"][2] == {"name": "C", "size": 3, "in_store": 2}


@pytest.mark.parametrize(
    ("genes", "kind"),
    [
        (["204748_at", "203054_s_at", "AFFX-BioB-3_at", "TP53"], "probe ids"),
        (["7157", "4193", "672"], "Entrez ids"),
        (["ENSG00000141510", "ENSG00000135679.5"], "Ensembl gene ids"),
        (["P04637", "Q00987", "TP53"], "UniProt accessions"),
        (["C8ORF4", "TP53", "B3GNT1", "MDM2", "MYC"], "symbols"),
    ],
)
def test_the_kind_of_names_is_told_and_a_store_of_symbols_needs_symbols(
    genes: list[str], kind: str, tmp_path: Path
) -> None:
    assert next(iter(namespaces(genes))) == kind
    path = tmp_path / "sets.gmt"
    path.write_text("A\t\t" + "\t".join(genes) + "\n")
    text = "\n".join(read_gene_set_report(path, ["NAT2"]).lines())
    assert f"called by {kind}" in text
    assert "warning: no gene is in the store" in text and ("Bring sets of symbols" in text) == (
        kind != "symbols"
    )


def test_hallmark_sets_over_the_landmarks_are_as_counted_by_hand(shared_data: SharedData) -> None:
    landmarks = pl.read_parquet(shared_data("transcriptionnet/landmarks.parquet"))["symbol"].to_list()
    report = read_gene_set_report(shared_data("gene_sets/h.all.v7.0.symbols.gmt"), landmarks)
    assert len(report.sizes) == 50 and report.overlaps is not None
    assert (min(report.overlaps.values()), max(report.overlaps.values())) == (1, 53)
    assert (report.n_surviving(15), report.n_surviving(5)) == (35, 49)
    probes = read_gene_set_report(shared_data("gene_sets/up_n50.gmt"), landmarks)
    assert probes.namespace == "probe ids" and len(probes.sizes) == 371

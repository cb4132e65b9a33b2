"""Gene sets: what a GMT file may hold, what is refused, what a small gene space drops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast.analysis.gene_sets import GeneSets, index_sets, read_gmt
from pertcast_data.errors import FormatError, SchemaError

NAMES = st.text(st.characters(categories=("Lu", "Nd")), min_size=1, max_size=6)


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sets.gmt"
    path.write_text(text, encoding="utf-8")
    return path


@given(st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=8, unique=True), min_size=1, max_size=8))
def test_every_set_that_is_written_is_read_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, sets: dict[str, list[str]]
) -> None:
    lines = ["\t".join((name, "", *genes)) for name, genes in sets.items()]
    path = _write(tmp_path_factory.mktemp("gmt"), "\n".join(lines))
    found = read_gmt(path)
    assert {name: list(genes) for name, genes in found.members.items()} == sets
    assert list(found.members) == list(sets)


def test_empty_descriptions_repeats_weights_blank_lines_and_windows_ends_are_read(tmp_path: Path) -> None:
    path = _write(tmp_path, "A\t\tTP53,1.0\tTP53\tMDM2\t\t\r\n\r\nB\thttp://x\tMYC\r\n")
    assert read_gmt(path).members == {"A": ("TP53", "MDM2"), "B": ("MYC",)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A\tdescription\n", "line 1 has 2 tab-separated fields"),
        ("A\t\tTP53\nB TP53 MDM2\n", "line 2 has 1 tab-separated fields"),
        ("\t\tTP53\n", "line 1: the set has no name"),
        ("\n\n", "holds no gene set"),
    ],
)
def test_a_line_that_is_no_set_is_refused_by_its_number(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        read_gmt(_write(tmp_path, text))


def test_a_binary_file_is_refused_as_one(tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(FormatError, match="not text"):
        read_gmt(path)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"line 2.*'A' stands there twice"):
        read_gmt(_write(tmp_path, "A\t\tTP53\nA\t\tMYC\n"))


def test_dropped_sets_are_named_with_their_reason() -> None:
    sets = GeneSets({"few": ("a", "x", "y"), "some": ("a", "b", "z"), "all": ("a", "b", "c", "d")})
    index = index_sets(sets, ("d", "c", "b", "a"), min_size=2)
    assert index.names == ("some",)
    assert list(index.members_of(0)) == [2, 3]
    assert (index.sizes[0], index.full_sizes[0]) == (2, 3)
    assert [(item.name, item.genes_in_space, item.reason) for item in index.dropped] == [
        ("few", 1, "fewer than 2 genes"),
        ("all", 4, "more than 3 genes"),
    ]


def test_sets_in_another_kind_of_name_are_refused_with_examples() -> None:
    sets = GeneSets({"A": ("ENSG01", "ENSG02")}, source="ensembl.gmt")
    with pytest.raises(SchemaError, match=r"ensembl\.gmt.*ENSG01.*TP53"):
        index_sets(sets, ("TP53", "MYC"), min_size=1)


def test_hallmark_sets_that_landmark_genes_cover_are_kept_and_the_rest_named(
    shared_data: Callable[[str], Path],
) -> None:
    import anndata

    genes = anndata.read_h5ad(shared_data("l1000/ht115_level3_compounds.h5ad"), backed="r").var_names
    hallmark = read_gmt(shared_data("gene_sets/h.all.v7.0.symbols.gmt"))
    assert len(hallmark) == 50
    assert len(index_sets(hallmark, tuple(genes), min_size=5)) == 48
    assert len(index_sets(hallmark, tuple(genes), min_size=15)) == 35

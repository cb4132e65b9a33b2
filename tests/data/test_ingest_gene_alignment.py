"""Ids and symbols that contradict each other are told and, where most do, refused; order never matters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import SchemaError
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.alignment import check_alignment
from pertcast_data.ingest.genes.join import join_genes
from pertcast_data.ingest.genes.table import gene_table
from pertcast_data.ingest.mapping.rules import GeneRule
from pertcast_data.readers.registry import open_source

SharedData = Callable[[str], Path]

SHIFTED = "l1000/modzs_gct_n3x978.gctx"
META = "transcriptionnet/gene_meta.parquet"


def real_table(path: Path, rule: GeneRule | None = None) -> pl.DataFrame:
    return gene_table(open_source(path).var(), path, rule or GeneRule(), Findings())


def table(symbols: list[str], ids: list[str] | None = None, **others: list[object]) -> pl.DataFrame:
    own = ids or [f"{number}_at" for number in range(len(symbols))]
    return pl.DataFrame({"gene_id": own, "gene_symbol": symbols, **others})


def raw(symbols: list[str], entrez: list[int]) -> pl.DataFrame:
    ids = [f"{number}_at" for number in range(len(symbols))]
    return pl.DataFrame({"source_id": ids, "pr_gene_id": entrez, "pr_gene_symbol": symbols})


SYMBOLS = [f"GENE{letter}" for letter in "ABCDEFGHIJKLMNOPQRST"]
ENTREZ = [*range(101, 121)]


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.csv"
    pl.DataFrame(
        {"symbol": SYMBOLS, "entrez_id": ENTREZ, "alias": [f"OLD{each}" for each in SYMBOLS]}
    ).write_csv(path)
    return path


def test_a_table_of_names_reveals_ids_that_are_shifted_against_symbols(names: Path) -> None:
    shifted = raw(SYMBOLS[1:] + SYMBOLS[:1], ENTREZ)
    message = r"file\.gct: by names\.csv, ids \(pr_gene_id\) and symbols.* are misaligned: 20 of 20 disagree"
    with pytest.raises(SchemaError, match=message + r".*101: GENEA and GENEB.*genes: \{gene_id: COLUMN"):
        gene_table(shifted, Path("file.gct"), GeneRule(names=names), Findings())


def test_a_few_disagreements_are_listed_and_older_names_are_none(names: Path) -> None:
    symbols = [SYMBOLS[1], SYMBOLS[0], *(f"OLD{each}" for each in SYMBOLS[2:])]
    findings = Findings()
    found = gene_table(raw(symbols, ENTREZ), Path("file.gct"), GeneRule(names=names), findings)
    assert found["gene_symbol"].to_list() == [SYMBOLS[1], SYMBOLS[0], *SYMBOLS[2:]]
    assert any("do not all agree: 2 of 20 disagree" in note for note in findings.warnings)


def test_an_entrez_id_with_several_symbols_in_one_file_is_told() -> None:
    findings = Findings()
    gene_table(raw([*SYMBOLS, "OTHER"], [*ENTREZ, 101]), Path("file.gct"), GeneRule(), findings)
    assert any(
        "gene_symbol and pr_gene_id" in note and "101: GENEA and OTHER" in note for note in findings.warnings
    )


def test_two_columns_of_symbols_in_one_file_must_agree() -> None:
    turned = pl.DataFrame({"source_id": SYMBOLS, "gene_symbol": SYMBOLS[::-1]})
    with pytest.raises(
        SchemaError, match="columns gene_id and gene_symbol of the genes are misaligned: 20 of 20"
    ):
        gene_table(turned, Path("file.h5ad"), GeneRule(), Findings())
    declared = GeneRule(gene_id="gene_symbol", gene_symbol="gene_symbol")
    found = gene_table(turned, Path("file.h5ad"), declared, Findings())
    assert found["gene_symbol"].to_list() == SYMBOLS[::-1]


def test_files_that_call_the_same_ids_differently_are_refused() -> None:
    one, two = table(SYMBOLS), table(SYMBOLS[3:] + SYMBOLS[:3])
    with pytest.raises(
        SchemaError, match=r"b\.gct: the symbols of its gene_id, against a\.gct, are misaligned"
    ):
        join_genes([one, two], [Path("a.gct"), Path("b.gct")], None, Findings())


def test_a_few_symbols_that_changed_between_files_are_listed() -> None:
    findings = Findings()
    one, two = table(SYMBOLS), table(["NEWNAME", *SYMBOLS[1:]])
    joined, _ = join_genes([one, two], [Path("a.gct"), Path("b.gct")], "gene_id", findings)
    assert joined.height == 20
    assert any("1 of 20 disagree, e.g. 0_AT: GENEA and NEWNAME" in note for note in findings.warnings)


def test_too_few_genes_to_judge_are_never_refused() -> None:
    findings = Findings()
    check_alignment([table(["A1", "B1", "C1"]), table(["B1", "C1", "A1"])], [Path("a"), Path("b")], findings)
    assert any("3 of 3 disagree" in note for note in findings.warnings)


@given(st.permutations(range(20)))
def test_files_of_any_gene_order_join_right_and_agree(order: list[int]) -> None:
    one = table(SYMBOLS, [str(each) for each in ENTREZ])
    two = one[order]
    findings = Findings()
    joined, (first, second) = join_genes([one, two], [Path("a"), Path("b")], None, findings)
    assert joined.equals(one)
    assert one[first.tolist()].equals(two[second.tolist()])
    assert findings.warnings == []


def test_versions_and_trailing_zeros_never_keep_genes_apart() -> None:
    one = table(["TP53", "MYC", "KRAS"], ["ENSG00000141510.17", "5720.0", "ENSG00000133703"])
    two = table(["KRAS", "TP53", "MYC"], ["ENSG00000133703.4", "ENSG00000141510", "5720"])
    joined, columns = join_genes([one, two], [Path("a"), Path("b")], "gene_id", Findings())
    assert joined["gene_id"].to_list() == one["gene_id"].to_list()
    assert [each.tolist() for each in columns] == [[0, 1, 2], [1, 2, 0]]


def test_genes_that_a_file_lacks_are_counted_and_never_filled() -> None:
    findings = Findings()
    joined, columns = join_genes(
        [table(SYMBOLS), table(SYMBOLS[:10])], [Path("a"), Path("b")], None, findings
    )
    assert joined.height == 10 and all(np.array_equal(each, np.arange(10)) for each in columns)
    assert "10 genes of a that not all files have" in findings.dropped
    assert any("only 10 of 20 genes of a are shared" in note for note in findings.warnings)


def test_files_of_different_genes_are_refused_where_that_is_declared() -> None:
    tables, paths = [table(SYMBOLS), table(SYMBOLS[:18])], [Path("a.gct"), Path("b.gct")]
    with pytest.raises(SchemaError, match=r"not have the same genes: 2 only in a\.gct \(18_at, 19_at\)"):
        join_genes(tables, paths, None, Findings(), GeneRule(missing="refuse"))
    joined, _ = join_genes([tables[1], tables[1]], paths, None, Findings(), GeneRule(missing="refuse"))
    assert joined.height == 18


def test_genes_that_only_spelling_keeps_apart_are_told_and_not_joined() -> None:
    findings = Findings()
    one, two = table(["C1ORF9", "TP53"], ["a_at", "b_at"]), table(["C1orf9", "TP53"], ["c_at", "d_at"])
    joined, _ = join_genes([one, two], [Path("a"), Path("b")], None, findings)
    assert joined["gene_symbol"].to_list() == ["TP53"]
    assert any("C1ORF9 / C1orf9" in note for note in findings.warnings)


@pytest.mark.parametrize("other", ["test_l1000.gct", "gctv13_01.gctx", "test_l1000_highprecision.gctx"])
def test_files_with_probe_ids_reveal_the_misaligned_real_file(other: str, shared_data: SharedData) -> None:
    paths = [shared_data(f"l1000/{other}"), shared_data(SHIFTED)]
    tables = [real_table(path) for path in paths]
    message = r"modzs_gct_n3x978\.gctx: the symbols of its gene_id, against .* are misaligned: 975 of 978"
    with pytest.raises(SchemaError, match=message + r".*But pr_gene_id and gene_symbol agree in both"):
        join_genes(tables, paths, None, Findings())


def test_the_misaligned_real_file_joins_by_its_entrez_ids_where_these_are_declared(
    shared_data: SharedData,
) -> None:
    rule = GeneRule(gene_id="pr_gene_id", gene_symbol="pr_gene_symbol")
    paths = [shared_data(f"l1000/{name}") for name in ("test_l1000.gct", "modzs_gct_n3x978.gctx")]
    findings = Findings()
    joined, _ = join_genes([real_table(path, rule) for path in paths], paths, None, findings, rule)
    assert joined.height == 978 and findings.warnings == []


@pytest.mark.parametrize("other", ["level3_lm_n5x978.gctx", "level5_s2n_lm_n5x978.gctx"])
def test_files_with_entrez_ids_alone_cannot_reveal_it(other: str, shared_data: SharedData) -> None:
    paths = [shared_data(f"l1000/{other}"), shared_data(SHIFTED)]
    joined, _ = join_genes([real_table(path) for path in paths], paths, None, Findings())
    assert joined.height == 978


def test_a_table_without_probes_cannot_reveal_it_but_reveals_shifted_entrez_ids(
    shared_data: SharedData,
) -> None:
    path, rule = shared_data(SHIFTED), GeneRule(names=shared_data(META))
    whole = open_source(path).var()
    findings = Findings()
    found = gene_table(whole, path, rule, findings)
    assert found.height == 978 and findings.genes is not None
    assert findings.genes.gene_counts == {"identical": 931, "id": 47}
    shifted = whole.with_columns(pl.col("pr_gene_id").shift(-1, fill_value=pl.col("pr_gene_id").first()))
    with pytest.raises(SchemaError, match=r"by gene_meta\.parquet, ids \(pr_gene_id\) .* misaligned: 9\d\d"):
        gene_table(shifted, path, rule, Findings())


def test_real_files_of_different_order_join_gene_by_gene(shared_data: SharedData) -> None:
    paths = [shared_data(f"l1000/{name}_n5x978.gctx") for name in ("level3_lm", "level5_s2n_lm")]
    tables = [real_table(path) for path in paths]
    assert tables[0]["gene_id"].to_list() != tables[1]["gene_id"].to_list()
    findings = Findings()
    joined, columns = join_genes(tables, paths, None, findings)
    assert joined.height == 978 and findings.warnings == []
    for column in ("gene_id", "gene_symbol"):
        first, second = (each[place.tolist()][column] for each, place in zip(tables, columns, strict=True))
        assert first.to_list() == second.to_list()

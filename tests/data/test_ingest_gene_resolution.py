"""Names of genes at ingest: namespaces, a user's table of names, dates, and targets of perturbations."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, FormatError, SchemaError
from pertcast_data.gene_tables.gene_names import GeneNames, read_gene_names
from pertcast_data.ingest import GeneRule, IngestMapping, ingest, load_mapping
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.dates import date_candidates
from pertcast_data.ingest.genes.namespace import gene_namespace
from pertcast_data.ingest.genes.records import GeneRecord
from pertcast_data.ingest.genes.resolution import resolve_name
from pertcast_data.ingest.genes.table import gene_table, kept_genes
from pertcast_data.ingest.genes.targets import resolve_targets
from pertcast_data.readers.registry import open_source
from pertcast_data.store import ExpressionStore

SharedData = Callable[[str], Path]

HGNC = (
    "symbol\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tuniprot_ids\tstatus\n"
    'TP53\t"P53|LFS1"\t\t7157\tENSG00000141510\tP04637\tApproved\n'
    "MAP3K21\t\tKIAA1804|MLK4\t84451\tENSG00000143674\tQ5TCX8\tApproved\n"
    "CAP1\tCAP\t\t10487\tENSG00000131236\tQ01518\tApproved\n"
    "CAP2\tCAP\t\t10486\tENSG00000112186\tP40123\tApproved\n"
    "BRAP\tTP53\tOLDBRAP\t8315\tENSG00000089234\tQ7Z569\tApproved\n"
    "MARCHF1\t\tMARCH1\t55016\tENSG00000145416\tQ8TCQ1\tApproved\n"
    "MTARC1\t\tMARC1\t64757\tENSG00000186205\tQ5VT66\tApproved\n"
    "MARCHF3\t\tMARCH3\t115123\tENSG00000173926\tQ86UD3\tApproved\n"
    "SEPTIN2\t\tSEPT2\t4735\tENSG00000168385\tQ15019\tApproved\n"
    "SEPTIN4\t\t\t5414\tENSG00000108387\tO43236\tApproved\n"
    "NKX2-1\tTTF1\t\t7080\tENSG00000136352\tP43699\tApproved\n"
    "A12M1~withdrawn\t\t\t11\t\t\tEntry Withdrawn\n"
)


@pytest.fixture(scope="module")
def hgnc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "hgnc.txt"
    path.write_text(HGNC, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def names(hgnc: Path) -> GeneNames:
    return read_gene_names(hgnc)


def table_of(
    columns: dict[str, list[object]], rule: GeneRule | None = None
) -> tuple[pl.DataFrame, Findings, GeneRecord]:
    """The canonical gene table of a file whose row ids are `source_id`."""
    findings = Findings()
    table = gene_table(pl.DataFrame(columns), Path("file.h5ad"), rule or GeneRule(), findings)
    assert findings.genes is not None
    return table, findings, findings.genes


NAMESPACES: dict[str, tuple[list[object], str, float]] = {
    "symbols": (["TP53", "NKX2-1", "RP11-34P13.7", "7SK", "C8orf4", "C8ORF4"], "symbol", 1.0),
    "ensembl": (["ENSG00000141510.17", "ENSG00000135679", "ENSG00000002586.20_PAR_Y"], "ensembl", 1.0),
    "entrez text": (["5720", "466", "6009.0"], "entrez", 1.0),
    "entrez int": ([5720, 466, 6009], "entrez", 1.0),
    "entrez float": ([5720.0, 466.0, 6009.0], "entrez", 1.0),
    "affymetrix": (["200814_at", "218597_s_at", "AFFX-BioB-5_at", "AFFX-hum_alu"], "probe", 1.0),
    "illumina": (["ILMN_1762337", "ILMN_2055271"], "probe", 1.0),
    "uniprot": (["P04637", "Q00987-2", "A0A024RBG1"], "uniprot", 1.0),
    "mixed": (["TP53", "MDM2", "MYC", "ENSG00000141510"], "symbol", 0.75),
    "row numbers": (["0", "1", "2", "3"], "row_number", 1.0),
    "rows from one": ([1, 2, 3], "row_number", 1.0),
    "dates": (["1-Mar", "2-Sep", "2006-09-01"], "date", 1.0),
    "nothing": ([], "unrecognised", 0.0),
    "missing": ([None, "TP53", "MYC"], "symbol", 2 / 3),
}


@pytest.mark.parametrize("case", NAMESPACES)
def test_a_namespace_is_told_from_the_names(case: str) -> None:
    ids, name, share = NAMESPACES[case]
    found = gene_namespace(ids)
    assert (found.name, found.share) == (name, share)
    assert sum(found.counts.values()) == len(ids)


@given(st.integers(min_value=1, max_value=10**8))
def test_an_entrez_id_is_one_as_number_float_and_text(number: int) -> None:
    forms: list[object] = [number, float(number), str(number), f"{number}.0"]
    assert {gene_namespace([each]).name for each in forms} == {"entrez"}


@given(st.integers(0, 10**11 - 1), st.integers(1, 99))
def test_a_version_never_changes_what_an_ensembl_id_stands_for(number: int, version: int) -> None:
    gene = f"ENSG{number:011d}"
    names = GeneNames("t", "", {"TP53": ("TP53",)}, {gene: ("TP53",)}, {})
    assert resolve_name(f"{gene}.{version}", names).resolved == resolve_name(gene, names).resolved == "TP53"


RESOLVED = {
    "TP53": ("TP53", "identical"),
    "tp53": ("TP53", "spelling"),
    "NKX2.1": ("NKX2-1", "spelling"),
    "P53": ("TP53", "renamed"),
    "KIAA1804": ("MAP3K21", "renamed"),
    "7157": ("TP53", "id"),
    "7157.0": ("TP53", "id"),
    "ENSG00000141510.17": ("TP53", "id"),
    "Q5TCX8": ("MAP3K21", "id"),
    "MARCH1": ("MARCHF1", "renamed"),
    "SEPT2": ("SEPTIN2", "renamed"),
    "SEPT4": ("SEPTIN4", "renamed"),
    "3-Mar": ("MARCHF3", "date"),
    "2-Sep": ("SEPTIN2", "date"),
    "Sep-02": ("SEPTIN2", "date"),
    "2006-09-04": ("SEPTIN4", "date"),
    "1-Mar": (None, "ambiguous"),
    "CAP": (None, "ambiguous"),
    "A12M1": (None, "withdrawn"),
    "NOBODY": (None, "unknown"),
}


@pytest.mark.parametrize("name", RESOLVED)
def test_what_a_name_stands_for(name: str, names: GeneNames) -> None:
    found = resolve_name(name, names)
    assert (found.resolved, found.how) == RESOLVED[name]


def test_an_approved_symbol_is_no_alias_of_another_gene(names: GeneNames) -> None:
    assert resolve_name("TP53", names).how == "identical"
    assert resolve_name("OLDBRAP", names).resolved == "BRAP"


def test_an_ambiguous_name_lists_the_genes_that_it_may_be(names: GeneNames) -> None:
    assert resolve_name("CAP", names).candidates == ("CAP1", "CAP2")
    assert resolve_name("1-Mar", names).candidates == ("MARCHF1", "MTARC1")


SYMBOLS = st.from_regex(r"[ABCab][12AB-]{0,3}", fullmatch=True)


@given(
    st.dictionaries(SYMBOLS, st.lists(SYMBOLS, max_size=3), min_size=1, max_size=8),
    st.lists(SYMBOLS, max_size=8),
)
def test_resolution_is_idempotent(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, list[str]], asked: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.parquet"
    aliases = ["|".join(each) for each in table.values()]
    pl.DataFrame({"symbol": [*table], "alias": aliases}).write_parquet(path)
    names = read_gene_names(path)
    for name in [*asked, *table]:
        found = resolve_name(name, names)
        if found.resolved is not None:
            again = resolve_name(found.resolved, names)
            assert (again.resolved, again.how) == (found.resolved, "identical")
        assert name not in table or found.resolved == name


def test_matrix_genes_get_approved_symbols_and_keep_the_files_own_beside(hgnc: Path) -> None:
    symbols: list[object] = ["TP53", "KIAA1804", "CAP", "NOBODY", "2-Sep", None]
    ids: list[object] = ["a_at", "b_at", "c_at", "d_at", "e_at", "f_at"]
    entrez: list[object] = [7157.0, 84451.0, 10487.0, None, None, 4735.0]
    table, findings, record = table_of(
        {"source_id": ids, "pr_gene_id": entrez, "pr_gene_symbol": symbols}, GeneRule(names=hgnc)
    )
    assert table["gene_symbol"].to_list() == ["TP53", "MAP3K21", "CAP1", "NOBODY", "SEPTIN2", "SEPTIN2"]
    assert table["source_gene_symbol"].to_list() == symbols
    assert table["gene_id"].to_list() == ids
    assert record.gene_counts == {"id": 2, "identical": 1, "renamed": 1, "unknown": 1, "date": 1}
    assert {(each.name, each.resolved, each.how) for each in record.genes} == {
        ("KIAA1804", "MAP3K21", "renamed"),
        ("CAP", "CAP1", "id"),
        ("NOBODY", None, "unknown"),
        ("2-Sep", "SEPTIN2", "date"),
        ("f_at", "SEPTIN2", "id"),
    }
    assert record.namespace.name == "probe"
    assert any("1 gene whose name is unknown to hgnc.txt: NOBODY" in note for note in findings.warnings)
    assert any("SEPTIN2 (e_at, f_at)" in note for note in findings.warnings)
    assert any("KIAA1804 -> MAP3K21" in note for note in findings.converted)


def test_ids_alone_get_symbols_from_the_table_and_versions_a_column(hgnc: Path) -> None:
    ids: list[object] = ["ENSG00000141510.17", "ENSG00000143674.2", "ENSG00000999999"]
    table, _, _ = table_of({"source_id": ids}, GeneRule(names=hgnc))
    assert table["gene_symbol"].to_list() == ["TP53", "MAP3K21", None]
    assert table["gene_id"].to_list() == ["ENSG00000141510", "ENSG00000143674", "ENSG00000999999"]
    assert table["gene_id_version"].to_list() == [17, 2, None]
    numbers, _, record = table_of({"source_id": ["7157", "84451", "4735.0"]}, GeneRule(names=hgnc))
    assert numbers["gene_symbol"].to_list() == ["TP53", "MAP3K21", "SEPTIN2"]
    assert record.gene_counts == {"id": 3}


def test_without_a_table_and_a_namespace_a_gene_table_is_as_it_was() -> None:
    table, findings, record = table_of({"source_id": ["ENSG00000141510.17", "ENSG00000143674.2"]})
    assert table.columns == ["gene_id", "gene_symbol"]
    assert table["gene_id"].to_list() == ["ENSG00000141510.17", "ENSG00000143674.2"]
    assert record.namespace.name == "ensembl" and record.genes == () and findings.warnings == []


def test_a_column_of_ids_beside_the_row_names_is_kept_and_resolves(hgnc: Path) -> None:
    columns: dict[str, list[object]] = {
        "source_id": ["TP53", "CAP"],
        "gene_id": ["ENSG00000141510", "ENSG00000131236"],
    }
    table, _, _ = table_of(columns)
    assert table["gene_id"].to_list() == table["gene_symbol"].to_list() == ["TP53", "CAP"]
    assert table["source_gene_id"].to_list() == columns["gene_id"]
    resolved, _, _ = table_of(columns, GeneRule(names=hgnc))
    assert resolved["gene_symbol"].to_list() == ["TP53", "CAP1"]


def test_entrez_ids_that_the_file_itself_rounded_resolve_nothing() -> None:
    raw = pl.DataFrame(
        {"source_id": ["a_at", "b_at"], "pr_gene_id": pl.Series([5720.0, 100_132_406.0], dtype=pl.Float32)}
    )
    findings = Findings()
    table = gene_table(raw, Path("file.gctx"), GeneRule(), findings)
    assert table["pr_gene_id"].to_list() == [5720, None]
    assert any(
        "1 Entrez ids of pr_gene_id above 16,777,216 are rounded" in note for note in findings.warnings
    )


def test_ids_that_only_a_version_tells_apart_keep_it() -> None:
    ids: list[object] = ["ENSG00000141510.1", "ENSG00000141510.2", "ENSG00000143674.2"]
    table, _, _ = table_of({"source_id": ids}, GeneRule(namespace="ensembl"))
    assert table["gene_id"].to_list() == ["ENSG00000141510.1", "ENSG00000141510.2", "ENSG00000143674"]


def test_row_numbers_are_never_taken_for_entrez_ids(hgnc: Path, tmp_path: Path) -> None:
    counted = tmp_path / "names.csv"
    counted.write_text("symbol,entrez_id\nA1BG,1\nA2M,2\nA2MP1,3\n")
    with pytest.raises(SchemaError, match=r"knows none of its 3 genes.*3 row numbers.*name the columns"):
        table_of({"source_id": ["1", "2", "3"]}, GeneRule(names=counted))


def test_a_declared_namespace_is_checked() -> None:
    with pytest.raises(SchemaError, match=r"namespace: entrez.*2 symbols.*TP53, MYC.*say namespace: symbol"):
        table_of({"source_id": ["TP53", "MYC"]}, GeneRule(namespace="entrez"))
    table, _, _ = table_of({"source_id": ["TP53", "MYC"]}, GeneRule(namespace="symbol"))
    assert table["gene_symbol"].to_list() == ["TP53", "MYC"]


def test_mixed_namespaces_are_told_with_counts() -> None:
    _, findings, _ = table_of({"source_id": ["TP53", "MYC", "ENSG00000141510", "5720"]})
    assert "gene ids are mixed: 2 symbols, 1 Ensembl gene ids, 1 Entrez ids" in findings.warnings


def test_dates_are_warned_of_where_no_table_resolves_them() -> None:
    _, findings, _ = table_of({"source_id": ["TP53", "1-Mar", "SEPT2"]})
    text = "\n".join(findings.warnings)
    assert "1 gene symbol changed to a date by a spreadsheet" in text
    assert "1-Mar (MARCH1 or MARCHF1 or MARC1 or MTARC1)" in text
    assert "SEPT2 (SEPTIN2 today)" in text


@given(st.sampled_from(["TP53", "7SK", "NKX2-1", "5_8S_rRNA", "HLA-DRB1", "MARCH1", "SEPT2", "AC012345.1"]))
def test_a_symbol_is_no_date(name: str) -> None:
    assert date_candidates(name) == ()


def test_unresolved_genes_are_kept_dropped_or_refused_as_declared(hgnc: Path) -> None:
    columns: dict[str, list[object]] = {"source_id": ["TP53", "CAP", "NOBODY", "A12M1"]}
    kept, findings, record = table_of(columns, GeneRule(names=hgnc))
    assert kept["gene_symbol"].to_list() == columns["source_id"]
    assert kept_genes(kept, Path("f"), GeneRule(names=hgnc), findings) is None
    assert record.gene_counts == {"identical": 1, "ambiguous": 1, "unknown": 1, "withdrawn": 1}
    assert any("means several genes by hgnc.txt: CAP (CAP1 or CAP2)" in note for note in findings.warnings)
    rule = GeneRule(names=hgnc, unresolved="drop")
    table, findings, _ = table_of(columns, rule)
    places = kept_genes(table, Path("f"), rule, findings)
    assert places is not None and places.tolist() == [0]
    assert any("3 of 4 genes that hgnc.txt does not resolve" in note for note in findings.dropped)
    with pytest.raises(SchemaError, match=r"hgnc\.txt does not resolve 3 of 4 genes: CAP, NOBODY"):
        table_of(columns, GeneRule(names=hgnc, unresolved="refuse"))


def test_a_table_that_is_absent_or_of_other_genes_is_refused(hgnc: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"absent\.txt: no such table of gene names"):
        table_of({"source_id": ["TP53"]}, GeneRule(names=tmp_path / "absent.txt"))
    with pytest.raises(SchemaError, match="knows none of its 2 genes"):
        table_of({"source_id": ["YAL001C", "YAL002W"]}, GeneRule(names=hgnc))


def test_the_mapping_file_names_the_table_beside_it(tmp_path: Path, hgnc: Path) -> None:
    (tmp_path / "map.yaml").write_text("genes: {names: hgnc.txt, namespace: symbol, unresolved: drop}\n")
    rule = load_mapping(tmp_path / "map.yaml").genes
    assert rule.names == tmp_path / "hgnc.txt" and rule.unresolved == "drop"
    (tmp_path / "bad.yaml").write_text("genes: {unresolved: drop}\n")
    with pytest.raises(ConfigError, match="unresolved: drop needs a table of names"):
        load_mapping(tmp_path / "bad.yaml")
    (tmp_path / "typo.yaml").write_text("genes: {nmaes: hgnc.txt}\n")
    with pytest.raises(ConfigError, match=r"unknown key genes\.nmaes; did you mean names"):
        load_mapping(tmp_path / "typo.yaml")


def rows(targets: list[str | None], kind: str = "trt_sh") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "pert_type": [kind if each else "ctl_vector" for each in targets],
            "pert_id": [each or "control" for each in targets],
            "cmap_name": [each or "control" for each in targets],
            "targets": targets,
            "source_file": ["file.h5ad"] * len(targets),
        }
    )


def genes(*symbols: str) -> pl.DataFrame:
    return pl.DataFrame({"gene_id": [f"id{each}" for each in symbols], "gene_symbol": [*symbols]})


def test_members_of_pairs_are_resolved_one_by_one_and_sorted_again(names: GeneNames) -> None:
    findings = Findings()
    obs = rows(["KIAA1804+TP53", "MAP3K21+TP53", "tp53", "Q5TCX8", None])
    found = resolve_targets(obs, genes("TP53", "MAP3K21"), names, findings)
    expected = ["MAP3K21+TP53", "MAP3K21+TP53", "TP53", "MAP3K21"]
    assert found["targets"].to_list() == [*expected, None]
    assert found["pert_id"].to_list() == found["cmap_name"].to_list() == [*expected, "control"]
    assert found["source_targets"].to_list() == obs["targets"].to_list()
    assert findings.genes is not None
    assert findings.genes.target_counts == {"identical": 2, "renamed": 1, "spelling": 1, "id": 1}
    assert any("1 perturbations fell together" in note for note in findings.converted)
    assert findings.warnings == []
    again = resolve_targets(found, genes("TP53", "MAP3K21"), names, Findings())
    assert again.equals(found)


def test_a_target_of_two_genes_is_refused_with_the_line_to_write(names: GeneNames) -> None:
    with pytest.raises(
        SchemaError, match=r"file\.h5ad: 1 target .*CAP \(CAP1 or CAP2\).*values: \{CAP: CAP1\}"
    ):
        resolve_targets(rows(["CAP", "TP53"]), genes("TP53"), names, Findings())


def test_a_target_of_two_genes_means_the_one_that_the_file_has_under_that_name(names: GeneNames) -> None:
    var = genes("TP53", "CAP1").with_columns(source_gene_symbol=pl.Series(["TP53", "CAP"]))
    found = resolve_targets(rows(["CAP"]), var, names, Findings())
    assert found["targets"].to_list() == ["CAP1"]


def test_without_a_table_only_case_version_and_the_files_own_ids_are_folded() -> None:
    var = pl.DataFrame(
        {
            "gene_id": ["ENSG00000141510.17", "ENSG00000136352", "ENSG00000143674"],
            "gene_symbol": ["TP53", "NKX2-1", "MAP3K21"],
        }
    )
    findings = Findings()
    found = resolve_targets(
        rows(["tp53", "NKX2.1", "ENSG00000141510.2", "KIAA1804", "7157"]), var, None, findings
    )
    assert found["targets"].to_list() == ["TP53", "NKX2-1", "TP53", "KIAA1804", "7157"]
    assert any(note.startswith("2 of 5 targets") and "KIAA1804" in note for note in findings.warnings)


def test_unmapped_targets_are_listed_with_the_nearest_genes() -> None:
    findings = Findings()
    obs = rows(["TP35", "MYC"])
    assert resolve_targets(obs, genes("TP53", "MYC", "TPM1"), None, findings).equals(obs)
    assert findings.warnings == [
        "1 of 2 targets of genetic perturbations are no gene of the matrix: TP35 (nearest: TP53)"
    ]


def test_targets_that_the_table_does_not_know_are_told_apart_from_those_not_measured(
    names: GeneNames,
) -> None:
    findings = Findings()
    resolve_targets(rows(["TP35", "MAP3K21", "TP53"]), genes("TP53"), names, findings)
    assert findings.warnings == [
        "1 target of genetic perturbations unknown to hgnc.txt: TP35 (nearest: TP53)",
        "2 of 3 targets of genetic perturbations are no gene of the matrix: TP35 (nearest: TP53), MAP3K21",
    ]


def test_compounds_and_controls_are_left_alone(names: GeneNames) -> None:
    obs = rows(["KIAA1804", None], kind="trt_cp")
    assert resolve_targets(obs, genes("TP53"), names, Findings()).equals(obs)


def test_a_perturbation_called_by_a_number_is_no_entrez_id_among_symbols(names: GeneNames) -> None:
    found = resolve_targets(rows(["7157", "MAP3K21", "TP53"]), genes("TP53"), names, Findings())
    assert found["targets"].to_list() == ["7157", "MAP3K21", "TP53"]
    found = resolve_targets(rows(["7157", "84451"]), genes("TP53"), names, Findings())
    assert found["targets"].to_list() == ["TP53", "MAP3K21"]


def test_the_old_alias_in_a_real_file_becomes_its_symbol(shared_data: SharedData, names: GeneNames) -> None:
    path = shared_data("perturb_seq/norman_mcfaline_devel.h5ad")
    raw = open_source(path).obs()["perturbation_raw"].cast(pl.String)
    old = raw.filter(raw.str.contains("KIAA1804")).unique().sort().to_list()
    assert old
    obs = rows([*old, "MAP3K21"], kind="trt_act")
    found = resolve_targets(obs, genes("TP53"), names, Findings())
    members = {part for text in found["targets"] for part in text.split("+")}
    assert "MAP3K21" in members and "KIAA1804" not in members
    assert found["source_targets"].to_list() == obs["targets"].to_list()


def test_a_report_holds_every_resolution_in_json_and_counts_in_text(tmp_path: Path, hgnc: Path) -> None:
    names = ["TP53", "KIAA1804", "NOBODY"]
    values = np.random.default_rng(1).poisson(2.0, (6, 3)).astype(np.float32)
    obs = pd.DataFrame(
        {"cell_line": "K562", "perturbation": ["TP53", "control"] * 3, "perturbation_type": "CRISPRi"},
        index=[f"c{row}" for row in range(6)],
    )
    anndata.AnnData(values, obs, pd.DataFrame(index=names)).write_h5ad(tmp_path / "file.h5ad")
    mapping = IngestMapping(genes=GeneRule(names=hgnc))
    report = ingest([tmp_path / "file.h5ad"], tmp_path / "store", mapping)
    told = json.loads(report.to_json())["sources"][0]["genes"]
    assert told["table"] == "hgnc.txt" and told["namespace"]["name"] == "symbol"
    assert [each["name"] for each in told["genes"]] == ["KIAA1804", "NOBODY"]
    text = "\n".join(report.lines())
    assert "gene ids: 3 symbols" in text and "genes by hgnc.txt: 1 identical, 1 renamed, 1 unknown" in text
    assert ExpressionStore.open(str(tmp_path / "store")).genes == ("TP53", "MAP3K21", "NOBODY")


def test_sixty_thousand_genes_are_resolved_within_seconds(tmp_path: Path) -> None:
    symbols = [f"GENE{number}A" for number in range(45_000)]
    pl.DataFrame(
        {
            "symbol": symbols,
            "alias_symbol": [f"OLD{number}|OTHER{number}" for number in range(45_000)],
            "entrez_id": range(1, 45_001),
            "ensembl_gene_id": [f"ENSG{number:011d}" for number in range(45_000)],
        }
    ).write_csv(tmp_path / "names.tsv", separator="\t")
    asked: list[object] = [*symbols[:40_000], *(f"OLD{number}" for number in range(40_000, 45_000))]
    asked += [f"LOC{number}" for number in range(15_000)]
    start = time.perf_counter()
    table, _, record = table_of({"source_id": asked}, GeneRule(names=tmp_path / "names.tsv"))
    seconds = time.perf_counter() - start
    assert record.gene_counts == {"identical": 40_000, "unknown": 15_000, "renamed": 5_000}
    assert table["gene_symbol"][40_000] == "GENE40000A"
    assert seconds < 30, seconds

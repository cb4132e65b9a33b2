"""Every real file at hand is ingested, read by its own command, or refused with the way out; docs/catalog.md.

PERTCAST_WRITE_DOCS=1 writes the page anew; without it the page must say what happens.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertcast_data.embedding_table import GENES, read_embedding_table
from pertcast_data.errors import PertcastError
from pertcast_data.gene_sets.report import read_gene_set_report
from pertcast_data.gene_tables.gene_names import read_gene_names
from pertcast_data.ingest import IngestReport, ingest
from pertcast_data.networks.reading import read_multiplex
from pertcast_data.store import validate_store
from pertcast_data.tables.table import open_table
from pertcast_data.text import counted

SharedData = Callable[[str], Path]
Reader = Callable[[Path], str]

HEAD = """# What real files become

Real files of the formats that labs and public repositories have, each ingested as it is. A file of profiles
becomes a store, or is refused with the lines to write into a mapping file; the next line of the table has it
ingested with them. A file of anything else is refused with the command that reads it. The files are not part
of the project; `tests/data/test_ingest_catalog.py` makes this page and compares it with what happens
(`PERTCAST_WRITE_DOCS=1` writes it anew).

| file | what it is | command | outcome |
|---|---|---|---|
"""
INGEST = "pertcast data ingest FILE --out STORE"
LANDMARKS = "genes: {table: {file: landmarks.parquet, key: column}}"


@dataclass(frozen=True)
class Entry:
    """One file: what it is, the mapping file it needs, and how another command reads it."""

    file: str
    what: str
    mapping: tuple[str, ...] = ()
    command: str = ""
    read: Reader | None = None


def _gene_sets(path: Path) -> str:
    return read_gene_set_report(path).lines()[0].split(": ", 1)[1]


def _network(path: Path) -> str:
    return read_multiplex([path]).coverage_text().split(": ", 1)[1]


def _entrez_network(path: Path) -> str:
    network = read_multiplex([path], gene_names=path.with_name("gene_meta.parquet"))
    return network.coverage_text().split(": ", 1)[1]


def _sensitivity(path: Path) -> str:
    reading: Any = importlib.import_module("pertcast.analysis.sensitivity.reading")
    table = reading.read_sensitivity(path)
    pairs, drugs, lines = table.pairs.height, table.drugs.height, table.lines.height
    return f"{pairs:,} pairs of {drugs:,} drugs and {lines:,} cell lines ({table.layout})"


def _table(path: Path) -> str:
    table = open_table(path)
    n_rows = sum(block.height for block in table.blocks())
    return f"{n_rows:,} rows x {len(table.columns):,} columns"


def _table_with_header(path: Path) -> str:
    table = open_table(path)
    return f"{_table(path)}; its first line would be its header" if table.looks_headless else _table(path)


def _features(path: Path) -> str:
    table = read_embedding_table(path, GENES)
    n_genes, n_features = table.vectors.shape
    return f"{n_genes:,} genes x {n_features:,} features"


def _gene_names(path: Path) -> str:
    names = read_gene_names(path)
    return f"{len(names.approved):,} symbols, {len(names.identifiers):,} ids"


SETS = ("pertcast data gene-sets FILE", _gene_sets)
NETWORK = ("pertcast data networks FILE", _network)
NAMED_NETWORK = ("pertcast data networks FILE --gene-names gene_meta.parquet", _entrez_network)
SENSITIVITY = ("pertcast evaluate RUN --sensitivity FILE", _sensitivity)
RESPONSES = ("cell_iname: {value: mixed lines}", "cmap_name: symbol")
IN_MAPPING = "mapping file: `tables: [{file: FILE, key: COLUMN, matches: NAME}]`"

ENTRIES = (
    Entry("drugs/GDSC_IC50.csv", "ln IC50, drugs x cell lines", (), *SENSITIVITY),
    Entry("drugs/ccle_cell_lines.tsv", "table of cell lines", (), IN_MAPPING, _table),
    Entry("drugs/drugcell_test.txt", "cell line, SMILES, AUC; no header", (), *SENSITIVITY),
    Entry("drugs/gdsc_drugs.csv", "table of drugs", (), IN_MAPPING, _table),
    Entry("drugs/lincs_drugs_smiles.csv", "compound, SMILES; no header", (), IN_MAPPING, _table_with_header),
    *(
        Entry(f"gene_sets/{name}", what, (), *SETS)
        for name, what in (
            ("dn_n50.gmt", "gene sets of probe ids"),
            ("enrichr.KEGG_2016.gmt", "gene sets"),
            ("h.all.v7.0.symbols.gmt", "gene sets"),
            ("up_n50.gmt", "gene sets of probe ids"),
        )
    ),
    Entry("l1000/gctv13_01.gctx", "L1000 level 3"),
    Entry("l1000/ht115_level3_compounds.h5ad", "L1000 level 3, compounds in HT115"),
    Entry("l1000/level3_lm_n5x978.gctx", "L1000 level 3"),
    Entry(
        "l1000/level5_s2n_lm_n5x978.gctx",
        "L1000 level 5, signal to noise of two classes",
        ("cell_iname: {value: 42MGBA}", "cmap_name: class_a", "pert_type: {value: trt_cp}"),
    ),
    Entry(
        "l1000/mini_gctx_with_metadata_n2x3.gctx",
        "the smallest GCTX",
        ("cell_iname: {value: A375}", "cmap_name: source_id", "pert_type: {value: trt_cp}"),
    ),
    Entry("l1000/modzs_gct_n3x978.gctx", "L1000 level 5"),
    Entry("l1000/modzs_n25x50.gctx", "L1000 level 5, 18 cell lines"),
    Entry("l1000/test_l1000.gct", "L1000 level 3 as text"),
    Entry("l1000/test_l1000.gctx", "GCT text under a .gctx name"),
    Entry("l1000/test_l1000_highprecision.gctx", "L1000 level 4"),
    Entry("networks/iref_interactome.txt", "interactions, no header", (), *NETWORK),
    Entry("networks/string_export.tsv", "STRING, web export", (), *NETWORK),
    Entry("perturb_seq/marson_cd4_small.h5ad", "CRISPRi of CD4 T cells, counts"),
    Entry("perturb_seq/norman_mcfaline_devel.h5ad", "CRISPRa and CRISPRi, log-normalised"),
    Entry(
        "transcriptionnet/drug_target.parquet",
        "known targets of drugs",
        (),
        "pertcast targets LIBRARY --drugs STORE --known FILE",
        _table,
    ),
    Entry(
        "transcriptionnet/features.parquet",
        "features of genes",
        (),
        "training: `encoder.gene_embedding=FILE`",
        _features,
    ),
    *(
        Entry(
            f"transcriptionnet/gec_{name}.parquet",
            f"responses to {what}, genes by Entrez id",
            (*RESPONSES, f"pert_type: {{value: {code}}}", LANDMARKS),
        )
        for name, what, code in (
            ("crispr", "knock-out", "trt_xpr"),
            ("oe", "over-expression", "trt_oe"),
            ("rnai", "RNAi", "trt_sh"),
        )
    ),
    Entry(
        "transcriptionnet/gene_meta.parquet",
        "names of genes",
        (),
        "mapping file: `genes: {names: FILE}`",
        _gene_names,
    ),
    Entry(
        "transcriptionnet/landmarks.parquet",
        "symbols of the landmark genes",
        (),
        f"mapping file: `{LANDMARKS}`",
        _table,
    ),
    *(
        Entry(f"transcriptionnet/network_{name}.parquet", f"{name} network by Entrez id", (), *NAMED_NETWORK)
        for name in ("corum", "disease", "drug")
    ),
)


def _outcome(report: IngestReport) -> str:
    conditions = counted(report.n_conditions, "condition")
    controls = counted(report.n_control_rows, "control")
    told = [*report.warnings, *(item for source in report.sources for item in source.warnings)]
    shape = f"{report.n_rows:,} profiles x {report.n_genes:,} genes"
    parts = [f"{shape}; {conditions}, {controls}; {report.measure}, {report.normalisation}"]
    parts += [f"Left out: {item}" for source in report.sources for item in source.dropped if " row" in item]
    return ". ".join([*parts, *(f"Warning: {item}" for item in told)])


def _tried(path: Path, folder: Path, mapping: tuple[str, ...]) -> tuple[bool, str]:
    """Ingest a file; return whether it became a store, and the outcome in words."""
    said = None
    if mapping:
        said = folder / "map.yaml"
        lines = "\n".join(mapping).replace("file: ", f"file: {path.parent}/")
        said.write_text(lines + "\n", encoding="utf-8")
    before = sorted(folder.iterdir())
    try:
        report = ingest([path], folder / "store", said)
    except PertcastError as error:
        assert sorted(folder.iterdir()) == before
        assert path.name in str(error)
        return False, f"refused: {str(error).replace(str(path), path.name)}"
    assert validate_store(folder / "store") == []
    return True, _outcome(report)


def _read(read: Reader, path: Path) -> str:
    try:
        return read(path)
    except PertcastError as error:
        assert str(path) in str(error)
        return f"refused: {str(error).replace(str(path), path.name)}"


def _rows(entry: Entry, path: Path, folder: Path) -> list[tuple[str, ...]]:
    """Return the lines of the page about one file: as it is and, where it takes more, with that."""
    (folder / "plain").mkdir(parents=True)
    is_stored, outcome = _tried(path, folder / "plain", ())
    rows = [(entry.file, entry.what, f"`{INGEST}`", outcome)]
    if entry.read is not None:
        assert not is_stored
        command = entry.command if "`" in entry.command else f"`{entry.command}`"
        rows.append(("", "", command, _read(entry.read, path)))
    elif entry.mapping:
        assert not is_stored
        (folder / "mapped").mkdir()
        is_stored, outcome = _tried(path, folder / "mapped", entry.mapping)
        rows.append(
            ("", "", f"`{INGEST} --map MAP`: " + "<br>".join(f"`{line}`" for line in entry.mapping), outcome)
        )
    assert is_stored or entry.read is not None
    return rows


def _page(rows: list[tuple[str, ...]]) -> str:
    def cell(text: str) -> str:
        return " ".join(text.split()).replace("|", "\\|")

    return HEAD + "".join(f"| {' | '.join(map(cell, row))} |\n" for row in rows)


def test_every_real_file_is_ingested_or_refused_with_a_way_that_works_and_the_page_says_so(
    shared_data: SharedData, repository: Path, tmp_path: Path
) -> None:
    paths = [shared_data(entry.file) for entry in ENTRIES]
    rows: list[tuple[str, ...]] = []
    for number, (entry, path) in enumerate(zip(ENTRIES, paths, strict=True)):
        rows += _rows(entry, path, tmp_path / str(number))
    page = _page(rows)
    assert str(paths[0].parents[1]) not in page and str(tmp_path) not in page
    written = repository / "docs/catalog.md"
    if os.environ.get("PERTCAST_WRITE_DOCS") == "1":
        written.write_text(page, encoding="utf-8")
    assert written.read_text(encoding="utf-8") == page


def test_the_catalog_knows_every_real_file(shared_data: SharedData) -> None:
    root = shared_data(ENTRIES[0].file).parents[1]
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert found - {"CATALOG.md"} == {entry.file for entry in ENTRIES}

"""What a file without profiles is instead, and the command that reads it.

Asked only once no reader could make profiles of a file: people bring everything of a project to an ingest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pertcast_data.compounds.structure_files import is_structure_file
from pertcast_data.errors import PertcastError
from pertcast_data.networks.edge_columns import EVIDENCE_WORDS, SCORE_WORDS, known_ends
from pertcast_data.networks.gene_groups import group_kind
from pertcast_data.readers.arrow.file import ArrowFile
from pertcast_data.readers.column_roles import is_gene_note, looks_like_gene
from pertcast_data.tables.content import content_start, head_lines
from pertcast_data.tables.text_blocks import fields_of
from pertcast_data.text import fold

_GMT: Final = (
    "is a file of gene sets (GMT), not of profiles. Read it with `pertcast data gene-sets FILE`, and give it "
    "to an analysis by --gmt FILE."
)
_NETWORK: Final = (
    "is a network of genes, not profiles. Read it with `pertcast data networks FILE`, and name it in the "
    "encoder of a training (docs/gene_features.md)."
)
_LIBRARY: Final = (
    "is a library of compounds, not of profiles. Give it to an ingest by --obs-table FILE (it joins "
    "structures to the rows' pert_id), or to `pertcast screen compounds FILE`."
)
_SENSITIVITY: Final = (
    "is a table of drug sensitivity, not of profiles. Give it to an analysis: `pertcast evaluate RUN "
    "--sensitivity FILE`."
)
_DRUGS: Final = (
    "is a table of drugs, not of profiles. Give it to an ingest by --obs-table FILE --key COLUMN, or in the "
    "mapping file: `tables: [{file: FILE, key: COLUMN, matches: pert_id}]`."
)
_HEADLESS_DRUGS: Final = (
    "is a list of compounds with SMILES and without a header, not of profiles. Write "
    "`pert_id,canonical_smiles` above its first line and give it to an ingest by --obs-table FILE."
)
_LINES: Final = (
    "is a table of cell lines, not of profiles. Give it to an ingest in the mapping file: `tables: [{file: "
    "FILE, key: COLUMN, matches: cell_iname}]`."
)
_GENES: Final = (
    "is a table of genes, not of profiles. Give it to an ingest in the mapping file: `genes: {table: {file: "
    "FILE, key: COLUMN}}` for annotations, or `genes: {names: FILE}` for approved symbols."
)

_FEATURES: Final = (
    "is a table of gene features, not of profiles. Give it to a training: `encoder.gene_embedding=FILE` "
    "(docs/gene_features.md)."
)

_SEPARATORS: Final = ("\t", ";", ",", None)
_SMILES: Final = re.compile(r"(?=.*[Cc])(?=.*[=()\[\]#123])[A-Za-z0-9@+\-\[\]()=#$/\\.%*:~]{5,}")
_NUMBERED: Final = re.compile(r"(?:f|feat|features?|dim|d|pc|emb|embedding|z|latent|component|v)[_.-]?\d+")
_LINE_IDS: Final = re.compile(r"ACH-\d{6}|SIDM\d{5}|COSMIC_?\d+|\w+_(LARGE_INTESTINE|LUNG|BREAST|SKIN|OVARY)")
_DRUG_IDS: Final = re.compile(r"GDSC[12]?:\d+|BRD-[AK]\d{8}\S*|DB\d{5}|CHEMBL\d+")
_SMILES_WORDS: Final = frozenset({"smiles", "canonical_smiles", "isomeric_smiles", "x_smiles", "structure"})
_PROFILE_WORDS: Final = frozenset(
    {"cell_iname", "cell_line", "cell_id", "pert_dose", "pert_time", "pert_type", "sig_id", "inst_id"}
)
"""Columns of wells or cells, which no other table has."""
_DRUG_WORDS: Final = frozenset(
    {
        *("pert_id", "pert_iname", "cmap_name", "drug", "drug_id", "drug_name", "compound", "compound_id"),
        *("compound_name", "broad_id", "pubchem", "pubchem_id", "target_pathway", "moa"),
    }
)
_LINE_WORDS: Final = frozenset(
    {"depmap_id", "depmapid", "ccle_id", "cosmic_id", "model_id", "sanger_model_id"}
)
_ANSWERS: Final = frozenset({"ln_ic50", "ic50", "auc", "aac", "ec50"})
_FITTED: Final = frozenset({"ln_ic50", "ic50", "log_ic50"})
_LINE_NAMES: Final = frozenset({*_LINE_WORDS, "cell_line_name", "cell_line", "cell_iname"})
_MOST_FITTED: Final = 40
_READ_LINES: Final = 64


def other_kind(path: Path, *, is_annotations: bool = False) -> str | None:
    """Return what a file without profiles is, and what to do with it, as the rest of a sentence.

    Parameters
    ----------
    path
        A file; its first lines (or its schema) are looked at.
    is_annotations
        Whether it is known to hold no matrix: only then are tables of drugs, genes and cell lines told by
        their columns, as profiles have such columns too.

    Returns
    -------
    str or None
        "is a network of genes...": None where it is none of what other commands read.
    """
    if not path.is_file():
        return None
    try:
        if ArrowFile.detects(path):
            return _of_header([str(name) for name in ArrowFile(path).schema.names], is_annotations)
        if is_structure_file(path):
            return _LIBRARY
        content_start(path)
        lines = [line for line in head_lines(path)[:_READ_LINES] if line.strip()]
        return _of_text(path, lines, is_annotations) if lines else None
    except (PertcastError, OSError):
        # What it is cannot be told: the reader's own words stand.
        return None


def misread_kind(path: Path) -> str | None:
    """Return what a table is that has numbers, and that a reader would take for profiles.

    Features of genes ("f0", "f1", ...), edges between numbered genes, and fitted IC50s are told by their
    header; None for everything else.
    """
    try:
        is_arrow = ArrowFile.detects(path)
        names = ArrowFile(path).schema.names if is_arrow else _header(head_lines(path))
    except (PertcastError, OSError):
        return None
    folded = {fold(name) for name in names}
    ends = known_ends([*names])
    if ends is not None and folded <= {*map(fold, ends), *SCORE_WORDS, *EVIDENCE_WORDS}:
        return _NETWORK
    if folded & _FITTED and folded & _DRUG_WORDS and folded & _LINE_NAMES and len(names) <= _MOST_FITTED:
        return _SENSITIVITY
    numbered = [name for name in names if _NUMBERED.fullmatch(name.lower())]
    others = [name for name in names if name not in numbered]
    is_table = len(numbered) >= 8 and bool(others) and all(map(is_gene_note, others))
    return _FEATURES if is_table else None


def _header(lines: Sequence[str]) -> list[str]:
    line = next((line for line in lines if line.strip() and not line.startswith(("#", "!"))), "")
    return fields_of(line, next((mark for mark in _SEPARATORS if mark is not None and mark in line), None))


def _of_text(path: Path, lines: Sequence[str], is_annotations: bool) -> str | None:
    if lines[0].lower().startswith("!gaf"):
        return _NETWORK
    if not lines[0].startswith("!") and _is_gmt(path, lines):
        return _GMT
    separator = next((mark for mark in _SEPARATORS if mark is not None and mark in lines[0]), None)
    rows = [fields_of(line, separator) for line in lines if not line.startswith("#")]
    comments = [fields_of(line.lstrip("#"), separator) for line in lines if line.startswith("#")]
    if any(known_ends(names) is not None for names in comments):
        return _NETWORK
    if not rows:
        return None
    return _of_header(rows[0], is_annotations) or _of_matrix(rows) or _of_headless(rows)


def _is_gmt(path: Path, lines: Sequence[str]) -> bool:
    """Return whether lines are sets: so called, or of different lengths and without any number."""
    if group_kind(path) != "gmt":
        return False
    rows = [line.rstrip("\t").split("\t") for line in lines]
    is_named = ".gmt" in [suffix.lower() for suffix in path.suffixes[-2:]]
    has_numbers = any(_is_number(field) for row in rows for field in row[2:])
    return is_named or (not has_numbers and len({len(row) for row in rows}) > 1)


def _of_header(names: Sequence[str], is_annotations: bool) -> str | None:
    """Return what the names of columns tell."""
    folded = {fold(name) for name in names}
    if known_ends(list(names)) is not None or any(word.startswith("subunits_") for word in folded):
        return _NETWORK
    if not is_annotations or folded & _PROFILE_WORDS:
        return _SENSITIVITY if is_annotations and folded & _ANSWERS else None
    if folded & _ANSWERS:
        return _SENSITIVITY
    if folded & _SMILES_WORDS or folded & _DRUG_WORDS:
        return _DRUGS
    if folded & _LINE_WORDS:
        return _LINES
    n_genes = sum(is_gene_note(name) for name in names)
    return _GENES if n_genes >= 2 and 2 * n_genes >= len(names) else None


def _of_matrix(rows: Sequence[Sequence[str]]) -> str | None:
    """Return whether drugs stand down and cell lines across, or the other way round."""
    across = [name for name in rows[0][1:] if name]
    down = [row[0] for row in rows[1:] if row]
    for lines, drugs in ((across, down), (down, across)):
        if lines and drugs and _most(lines, _LINE_IDS) and (_most(drugs, _DRUG_IDS) or len(lines) > 20):
            return _SENSITIVITY
    return None


def _most(names: Sequence[str], pattern: re.Pattern[str]) -> bool:
    return 2 * sum(pattern.fullmatch(name) is not None for name in names) > len(names)


def _of_headless(rows: Sequence[Sequence[str]]) -> str | None:
    """Return what two or three columns without names hold, where nearly all lines agree."""
    width = len(rows[0])
    if width not in (2, 3) or any(len(row) < width for row in rows[:2]):
        return None
    whole = [row for row in rows if len(row) == width]
    have_smiles = 2 * sum(_SMILES.fullmatch(row[1]) is not None for row in whole) > len(whole)
    have_numbers = width == 3 and all(_is_number(row[2]) for row in whole)
    if have_smiles:
        return _SENSITIVITY if have_numbers else _HEADLESS_DRUGS if width == 2 else None
    if width == 3 and not have_numbers:
        return None
    ends = [name for row in whole for name in row[:2]]
    if any(_is_number(name) for name in ends) and not all(name.isdigit() for name in ends):
        return None
    return _NETWORK if sum(map(looks_like_gene, ends)) >= 0.6 * len(ends) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

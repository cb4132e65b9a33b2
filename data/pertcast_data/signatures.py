"""Signatures from files: lists of genes that rise and fall, or a value a gene.

The content decides: one gene a line (also GRP), a table with a column of genes, GMT, a ranked list (rnk).
Names are kept as they are; what they mean is for those who know the genes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.gene_sets.gmt import GeneSets, read_gmt
from pertcast_data.ingest.rows.missing import MISSING_WORDS
from pertcast_data.tables.content import ARROW, PARQUET, content_start, head_lines, open_content
from pertcast_data.tables.table import open_table
from pertcast_data.text import counted, fold, listed

GENE_WORDS: Final = (
    *("gene_symbol", "symbol", "hgnc_symbol", "gene", "genes", "gene_name", "pr_gene_symbol"),
    *(
        "feature_name",
        "external_gene_name",
        "name",
        "names",
        "feature",
        "id",
        "gene_id",
        "ensembl",
        "ensembl_id",
    ),
)
"""Folded names of the column of genes, the most telling first."""

VALUE_WORDS: Final = (
    *("value", "values", "weight", "weights", "score", "scores", "z", "zscore", "z_score", "modz"),
    *("logfc", "log_fc", "log2fc", "log2_fc", "lfc", "log2foldchange", "log2_fold_change", "log_fold_change"),
    *("avg_log2fc", "avg_logfc", "logfoldchanges", "fold_change", "stat", "statistic", "t", "rank_metric"),
)
"""Folded names of the column of values, the most telling first."""


@dataclass(frozen=True, slots=True)
class GeneList:
    """Names of genes as a file has them.

    Attributes
    ----------
    genes
        Names, in the file's order; repeats are kept.
    values
        One a gene, or None.
    source
        Name of the file, without its folder; of a GMT file with the set.
    remarks
        What was left out, in words.
    """

    genes: tuple[str, ...]
    values: tuple[float, ...] | None
    source: str
    remarks: tuple[str, ...] = ()


def read_gene_list(path: Path | str, side: str) -> GeneList:
    """Read the genes that rise, or those that fall.

    Parameters
    ----------
    path
        Text with one gene a line ("#" begins a comment), GRP, a csv, tsv or Parquet with a column of genes,
        or GMT: its set of the name "up" or "down" (also at the end: "drug_UP"), or its only set.
    side
        "up" or "down".

    Raises
    ------
    FormatError
        The file is absent, empty or none of these.
    SchemaError
        A table has no column of genes, or a GMT file several sets and none of this side.
    """
    path = Path(path)
    start = content_start(path)
    if start.startswith((PARQUET, ARROW)):
        return _genes_of_table(path)
    lines = [line for line in head_lines(path) if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise FormatError(f"{path}: holds no gene. Write one gene a line.")
    if _is_gmt(path, lines):
        return _of_set(path, read_gmt(path), side)
    if any(mark in lines[0] for mark in "\t,;|"):
        return _genes_of_table(path)
    return _plain_list(path)


def read_weighted_genes(path: Path | str) -> GeneList:
    """Read a value a gene.

    Parameters
    ----------
    path
        csv, tsv or Parquet with a column of genes (`GENE_WORDS`) and one of values (`VALUE_WORDS`, or the
        only column of numbers); rnk: two columns, with or without a header.
        Rows without a value are left out.

    Raises
    ------
    FormatError
        The file is absent or cannot be read.
    SchemaError
        It has no such columns, or a value is no number (its row is named).
    """
    path = Path(path)
    table = open_table(path, "Name a table with a column of genes and one of values.")
    frame = table.read()
    headless = table.layout is not None and len(table.columns) == 2 and _is_number(table.columns[1])
    if headless:
        first = pl.DataFrame(
            [list(table.columns)], schema=dict.fromkeys(frame.columns, pl.String), orient="row"
        )
        frame = pl.concat([first, frame])
        gene_column, value_column = frame.columns
    else:
        gene_column = _gene_column(path, frame)
        value_column = _value_column(path, frame, gene_column)
    genes, values, missing = _numbers(path, frame, gene_column, value_column, 1 if headless else 2)
    remarks = [] if headless else [f"values are column {value_column!r} of {path.name}"]
    if missing:
        remarks.append(f"{counted(missing, 'row')} of {path.name} without a gene or value left out")
    return GeneList(genes, values, path.name, tuple(remarks))


def _is_gmt(path: Path, lines: list[str]) -> bool:
    """Whether lines are name, description, genes: by the file's name, or where no column is one of genes."""
    if ".gmt" in [suffix.lower() for suffix in path.suffixes]:
        return True
    fields = lines[0].split("\t")
    return len(fields) > 3 and not any(fold(field) in GENE_WORDS for field in fields)


def _of_set(path: Path, sets: GeneSets, side: str) -> GeneList:
    named = [name for name in sets.members if fold(name) == side or fold(name).endswith(f"_{side}")]
    found = named or list(sets.members)
    if len(found) != 1:
        raise SchemaError(
            f"{path} holds {counted(len(sets), 'set')} ({listed(sets.members, 3)}), "
            f"{len(named) or 'none'} of them named {side!r}. Name one set {side!r}, or bring a file with one."
        )
    return GeneList(tuple(sets.members[found[0]]), None, f"{path.name} ({found[0]})")


def _plain_list(path: Path) -> GeneList:
    from_text = _content_lines(path)
    if from_text and fold(from_text[0]) in GENE_WORDS:
        from_text = from_text[1:]
    for number, name in enumerate(from_text, 1):
        if len(name.split()) > 1:
            raise FormatError(
                f"{path}: gene {number} is {name[:40]!r}. Write one gene a line, or a table with a column "
                "'gene'."
            )
    if not from_text:
        raise FormatError(f"{path}: holds no gene below its header. Write one gene a line.")
    return GeneList(tuple(from_text), None, path.name)


def _content_lines(path: Path) -> list[str]:
    """Return the lines of a text, stripped, without empty ones and comments ("#")."""
    with open_content(path) as file:
        text = file.read().decode("utf-8-sig", errors="replace")
    lines = (line.strip().strip('"') for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _genes_of_table(path: Path) -> GeneList:
    frame = open_table(path).read()
    column = _gene_column(path, frame)
    names = frame[column].cast(pl.String).str.strip_chars()
    kept = [name for name in names if name is not None and name.lower() not in MISSING_WORDS]
    left_out = len(names) - len(kept)
    remarks = (f"{counted(left_out, 'row')} of {path.name} without a gene left out",) if left_out else ()
    if not kept:
        raise FormatError(f"{path}: column {column!r} holds no gene.")
    return GeneList(tuple(kept), None, path.name, remarks)


def _gene_column(path: Path, frame: pl.DataFrame) -> str:
    by_fold = {fold(name): name for name in reversed(frame.columns)}
    found = next((by_fold[word] for word in GENE_WORDS if word in by_fold), None)
    if found is None:
        raise SchemaError(
            f"{path}: no column names genes; it has {listed(map(repr, frame.columns))}. Name one of them "
            "'gene'."
        )
    return found


def _value_column(path: Path, frame: pl.DataFrame, gene_column: str) -> str:
    others = [name for name in frame.columns if name != gene_column]
    by_fold = {fold(name): name for name in reversed(others)}
    found = next((by_fold[word] for word in VALUE_WORDS if word in by_fold), None)
    if found is None:
        numbers = [name for name in others if frame[name].cast(pl.Float64, strict=False).null_count() == 0]
        found = numbers[0] if len(numbers) == 1 else None
    if found is None:
        raise SchemaError(
            f"{path}: no column holds the values of the signature; beside {gene_column!r} it has "
            f"{listed(map(repr, others)) or 'none'}. Name one of them 'value'."
        )
    return found


def _numbers(
    path: Path, frame: pl.DataFrame, gene_column: str, value_column: str, first_line: int
) -> tuple[tuple[str, ...], tuple[float, ...], int]:
    """Return genes, values and the number of rows that lack either."""
    names = frame[gene_column].cast(pl.String).str.strip_chars()
    text = frame[value_column].cast(pl.String).str.strip_chars()
    is_missing = (
        text.is_null() | text.str.to_lowercase().is_in(MISSING_WORDS) | names.is_null() | (names == "")
    )
    numbers = text.cast(pl.Float64, strict=False)
    wrong = (~is_missing & ~numbers.is_finite().fill_null(False)).arg_true()
    if len(wrong):
        raise SchemaError(
            f"{path}, row {wrong[0] + first_line} ({names[wrong[0]]}): {value_column} is {text[wrong[0]]!r}, "
            f"which is no finite number ({len(wrong):,} such rows). Correct it or leave the row out."
        )
    kept = np.flatnonzero(~is_missing.to_numpy())
    if not len(kept):
        raise SchemaError(f"{path}: no row has a gene and a value.")
    values = numbers.to_numpy()[kept]
    return tuple(names.gather(kept)), tuple(map(float, values)), len(names) - len(kept)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""The gene table: identifiers and symbols, and the genes that several files share.

`gene_id` is the file's own row name (a probe, Ensembl or Entrez id), `gene_symbol` what people call the gene.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import SchemaError
from pertcast_data.ingest.columns import as_text, is_one_of
from pertcast_data.ingest.findings import Findings, listed
from pertcast_data.ingest.mapping import GeneRule
from pertcast_data.ingest.missing import clear_missing
from pertcast_data.ingest.side_table import join_side_table
from pertcast_data.ingest.words import SYMBOL_WORDS
from pertcast_data.text import fold
from pertcast_data.readers.source import SOURCE_ID

GeneKey = Literal["gene_id", "gene_symbol"]
_NOT_SYMBOL: Final = re.compile(r"^(ENS[A-Z]*G\d+(\.\d+)?|\d+|.+_at|AFFX.*|ILMN_\d+)$")
_ID_NUMBERS: Final = ("pr_gene_id", "entrez_id", "entrez", "entrez_gene_id")


def gene_table(raw: pl.DataFrame, path: Path, rule: GeneRule, findings: Findings) -> pl.DataFrame:
    """Bring a file's gene table into canonical form.

    Parameters
    ----------
    raw
        `source_id` and the file's columns, in the matrix's order.
    path
        The file, for messages.
    rule
        Columns that the mapping file names.
    findings
        Told what was chosen and changed.

    Returns
    -------
    DataFrame
        gene_id (unique), gene_symbol (null where unknown), then the file's other columns.

    Raises
    ------
    SchemaError
        A named column is absent, or there is no gene.
    """
    if raw.is_empty():
        raise SchemaError(f"{path}: has no genes.")
    table = clear_missing(raw, Findings())
    ids = _unique_ids(_named(table, rule.gene_id or SOURCE_ID, path), findings)
    findings.decide("gene_id", rule.gene_id or "row id", "given" if rule.gene_id else "guessed")
    symbols = _symbols(table, ids, path, rule, findings)
    whole_numbers = [
        pl.col(name).cast(pl.Int64)
        for name in table.columns
        if fold(name) in _ID_NUMBERS and table.schema[name].is_float() and _whole(table[name])
    ]
    others = table.with_columns(whole_numbers).drop(SOURCE_ID, "gene_id", "gene_symbol", strict=False)
    return pl.concat([pl.DataFrame({"gene_id": ids, "gene_symbol": symbols}), others], how="horizontal")


def with_gene_table(raw: pl.DataFrame, rule: GeneRule, findings: Findings) -> pl.DataFrame:
    """Return a file's gene table with the mapping file's own gene table joined, where it names one."""
    if rule.table is None:
        return raw
    joined = join_side_table(raw, rule.table, "mapping file, genes.table")
    findings.converted.append(joined.told.replace(" rows ", " genes "))
    return joined.frame


def kept_genes(
    table: pl.DataFrame, path: Path, rule: GeneRule, findings: Findings
) -> npt.NDArray[np.int64] | None:
    """Return the places of the genes that the mapping file keeps; None for all.

    Raises
    ------
    SchemaError
        A column is absent, or no gene is left.
    """
    if not rule.keep:
        return None
    keep = pl.Series([True]).new_from_index(0, table.height)
    for column, values in rule.keep.items():
        keep = keep & is_one_of(_named(table, column, path), values)
    findings.dropped.append(
        f"{int((~keep).sum()):,} of {table.height:,} genes by {listed(rule.keep)} (mapping file, genes.keep)"
    )
    if not keep.any():
        held = listed(_named(table, next(iter(rule.keep)), path).unique(maintain_order=True))
        raise SchemaError(
            f"{path}: no gene is left ({next(iter(rule.keep))} holds {held}). Check `genes: keep` in the "
            "mapping file."
        )
    return keep.arg_true().to_numpy().astype(np.int64)


def _named(table: pl.DataFrame, column: str, path: Path) -> pl.Series:
    if column not in table.columns:
        raise SchemaError(
            f"{path}: the gene table has no column {column!r} (mapping file, genes). "
            f"It has {listed(table.columns, 20)}."
        )
    return as_text(table[column])


def _symbols(
    table: pl.DataFrame, ids: pl.Series, path: Path, rule: GeneRule, findings: Findings
) -> pl.Series:
    if rule.gene_symbol is not None:
        findings.decide("gene_symbol", rule.gene_symbol, "given")
        return _named(table, rule.gene_symbol, path)
    by_fold = {fold(name): name for name in reversed(table.columns)}
    column = next((by_fold[word] for word in SYMBOL_WORDS if word in by_fold), None)
    if column is not None:
        findings.decide("gene_symbol", column, "guessed")
        return as_text(table[column])
    looks_like_ids = sum(1 for name in ids if _NOT_SYMBOL.match(name)) > len(ids) / 2
    if looks_like_ids:
        findings.decide("gene_symbol", "", "absent")
        return pl.Series([None] * len(ids), dtype=pl.String)
    findings.decide("gene_symbol", "row id", "guessed")
    return ids


def _unique_ids(ids: pl.Series, findings: Findings) -> pl.Series:
    filled = ids.fill_null("unnamed")
    repeated = filled.is_duplicated()
    if not repeated.any():
        return filled
    findings.warnings.append(
        f"{int(repeated.sum()):,} genes share their id with another "
        f"({listed(filled.filter(repeated).unique())}): repeats got a number"
    )
    frame = pl.DataFrame({"id": filled}).with_columns(number=pl.int_range(pl.len()).over("id"))
    numbered = pl.format("{}-{}", "id", "number")
    unique = frame.select(pl.when(pl.col("number") > 0).then(numbered).otherwise("id")).to_series()
    if unique.n_unique() < len(unique):
        raise SchemaError(
            f"Gene ids are repeated: {listed(filled.filter(repeated).unique())}. Make them unique."
        )
    return unique


def _whole(values: pl.Series) -> bool:
    filled = values.drop_nulls()
    return bool((filled == filled.floor()).all())


def join_genes(
    tables: Sequence[pl.DataFrame], paths: Sequence[Path], on: GeneKey | None, findings: Findings
) -> tuple[pl.DataFrame, list[npt.NDArray[np.int64]]]:
    """Find the genes that all files share, in the first file's order.

    Parameters
    ----------
    tables
        Canonical gene tables.
    paths
        Their files.
    on
        Column to join on; None takes the one that more genes share.
    findings
        Told the join and what it left out.

    Returns
    -------
    tuple
        The first file's gene table restricted to shared genes, and for each file the columns of its matrix in
        that order.

    Raises
    ------
    SchemaError
        No gene is shared.
    """
    shared = {key: _shared(tables, key) for key in _keys(on)}
    key = max(shared, key=lambda name: len(shared[name]))
    names = shared[key]
    if not names:
        raise SchemaError(
            f"{listed(path.name for path in paths)} share no gene by {' or '.join(shared)}. "
            "Name the columns of the gene table in the mapping file (genes, join)."
        )
    for table, path in zip(tables, paths, strict=True):
        if table.height > len(names):
            findings.dropped.append(
                f"{table.height - len(names):,} genes of {path.name} that not all files have"
            )
    findings.converted.append(f"{len(tables)} files joined on {len(names):,} shared genes by {key}")
    columns = [
        np.array([position[name] for name in names], np.int64)
        for position in ({name: row for row, name in enumerate(table[key].to_list())} for table in tables)
    ]
    return tables[0][columns[0].tolist()], columns


def _keys(on: GeneKey | None) -> tuple[GeneKey, ...]:
    return ("gene_id", "gene_symbol") if on is None else (on,)


def _shared(tables: Sequence[pl.DataFrame], key: GeneKey) -> list[str]:
    once = [table[key].filter(~table[key].is_duplicated()).drop_nulls() for table in tables]
    common = set(once[0].to_list()).intersection(*(names.to_list() for names in once[1:]))
    return [name for name in once[0].to_list() if name in common]

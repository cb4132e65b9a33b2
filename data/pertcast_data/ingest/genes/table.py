"""The gene table of a file: identifiers and symbols, and the genes of it that are kept.

`gene_id` is the file's own row name (a probe, Ensembl or Entrez id), `gene_symbol` what people call the gene.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.identifiers import ENSEMBL_VERSION
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.alignment import check_alignment, columns_to_check
from pertcast_data.ingest.genes.namespace import ID_NAMESPACES, gene_namespace, require_namespace
from pertcast_data.ingest.genes.records import GeneRecord, Namespace
from pertcast_data.ingest.genes.resolution import (
    names_of_rule,
    require_resolved,
    resolve_genes,
    tell_dates,
    unresolved_rows,
)
from pertcast_data.ingest.mapping.rules import GeneRule
from pertcast_data.ingest.rows.columns import as_text, is_one_of
from pertcast_data.ingest.rows.missing import clear_missing
from pertcast_data.ingest.side_tables.joining import join_side_table
from pertcast_data.ingest.storable import storable_names
from pertcast_data.readers.source import SOURCE_ID
from pertcast_data.text import fold, listed
from pertcast_data.words import SYMBOL_WORDS

_LAST_EXACT_FLOAT32: Final = 1 << 24
_OWN_COLUMNS: Final = ("source_gene_symbol", "gene_id_version")
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
        Columns that the mapping file names, and the user's table of gene names.
    findings
        Told what was chosen and changed; `findings.genes` gets the namespace and every resolution.

    Returns
    -------
    DataFrame
        gene_id (unique), gene_symbol (null where unknown), then the file's other columns. With a table of
        names the symbols are approved ones, `source_gene_symbol` is what the file has, and versions of
        Ensembl ids stand apart in `gene_id_version`.

    Raises
    ------
    FormatError
        The table of names cannot be read.
    SchemaError
        A named column is absent, there is no gene, ids are not of the declared namespace, ids and symbols
        are misaligned, or the table of names does not know what it must.
    """
    if raw.is_empty():
        raise SchemaError(f"{path}: has no genes.")
    table = clear_missing(raw, Findings())
    ids = _unique_ids(_named(table, rule.gene_id or SOURCE_ID, path), path, findings)
    findings.decide("gene_id", rule.gene_id or "row id", "given" if rule.gene_id else "guessed")
    namespace = gene_namespace(ids)
    require_namespace(namespace, rule.namespace, path, ids)
    symbols = _symbols(table, namespace, ids, path, rule, findings)
    others = _whole_numbers(table, findings)
    is_kept = "gene_id" in others.columns and "source_gene_id" not in others.columns
    if is_kept and not as_text(others["gene_id"]).eq_missing(ids).all():
        others = others.rename({"gene_id": "source_gene_id"})
    others = others.drop(SOURCE_ID, "gene_id", "gene_symbol", strict=False)
    others = others.rename(
        storable_names(others.columns, ("gene_id", "gene_symbol", *_OWN_COLUMNS), findings)
    )
    canonical = pl.concat([pl.DataFrame({"gene_id": ids, "gene_symbol": symbols}), others], how="horizontal")
    return _resolved(canonical, namespace, path, rule, findings)


def _resolved(
    table: pl.DataFrame, namespace: Namespace, path: Path, rule: GeneRule, findings: Findings
) -> pl.DataFrame:
    """Check ids and symbols against each other, and bring symbols to the user's table of names."""
    if len(namespace.counts) > 1:
        findings.warnings.append(f"gene ids are mixed: {namespace}")
    names = names_of_rule(rule)
    check_alignment([columns_to_check(table, rule)], [path], findings, names)
    findings.genes = GeneRecord(namespace=namespace)
    if rule.namespace == "ensembl" or (names is not None and namespace.name == "ensembl"):
        table = _without_versions(table, findings)
    if names is None:
        tell_dates(table, findings)
        return table
    resolved = resolve_genes(table, names, namespace, findings)
    require_resolved(resolved, path, rule, namespace)
    return resolved


def _without_versions(table: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """Put versions of Ensembl ids into a column of their own; an id that would be repeated keeps its own."""
    found = table["gene_id"].str.extract_groups(ENSEMBL_VERSION).struct.unnest()
    bare = found["1"].fill_null(table["gene_id"])
    is_split = found["1"].is_not_null() & ~bare.is_duplicated()
    if not is_split.any():
        return table
    frame = table.with_columns(_bare=bare, _version=found["2"].cast(pl.Int64), _split=is_split)
    findings.converted.append(f"versions of {int(is_split.sum()):,} Ensembl ids moved to gene_id_version")
    return frame.with_columns(
        gene_id=pl.when("_split").then("_bare").otherwise("gene_id"),
        gene_id_version=pl.when("_split").then("_version"),
    ).drop("_bare", "_version", "_split")


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
    keep = _known_genes(table, rule, findings)
    if not rule.keep:
        return None if keep.all() else keep.arg_true().to_numpy().astype(np.int64)
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


def _known_genes(table: pl.DataFrame, rule: GeneRule, findings: Findings) -> pl.Series:
    """Return which genes stay: all, or those that the table of names resolves where the rest is dropped."""
    if rule.unresolved != "drop" or rule.names is None:
        return pl.Series([True]).new_from_index(0, table.height)
    unknown = unresolved_rows(table, rule)
    if unknown.any():
        lost = table.filter(unknown).select(pl.coalesce("gene_symbol", "gene_id")).to_series()
        findings.dropped.append(
            f"{len(lost):,} of {table.height:,} genes that {rule.names.name} does not resolve: "
            f"{listed(lost)} (mapping file, genes: unresolved: drop)"
        )
    return ~unknown


def _named(table: pl.DataFrame, column: str, path: Path) -> pl.Series:
    if column not in table.columns:
        raise SchemaError(
            f"{path}: the gene table has no column {column!r} (mapping file, genes). "
            f"It has {listed(table.columns, 20)}."
        )
    return as_text(table[column])


def _symbols(
    table: pl.DataFrame,
    namespace: Namespace,
    ids: pl.Series,
    path: Path,
    rule: GeneRule,
    findings: Findings,
) -> pl.Series:
    if rule.gene_symbol is not None:
        findings.decide("gene_symbol", rule.gene_symbol, "given")
        return _named(table, rule.gene_symbol, path)
    by_fold = {fold(name): name for name in reversed(table.columns)}
    column = next((by_fold[word] for word in SYMBOL_WORDS if word in by_fold), None)
    if column is not None:
        findings.decide("gene_symbol", column, "guessed")
        return as_text(table[column])
    if sum(namespace.counts.get(name, 0) for name in ID_NAMESPACES) > len(ids) / 2:
        findings.decide("gene_symbol", "", "absent")
        return pl.Series([None] * len(ids), dtype=pl.String)
    findings.decide("gene_symbol", "row id", "guessed")
    return ids


def _unique_ids(ids: pl.Series, path: Path, findings: Findings) -> pl.Series:
    named = ids.str.strip_chars() != ""
    filled = pl.select(pl.when(named).then(ids)).to_series().fill_null("unnamed").alias(ids.name)
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
            f"{path}: gene ids are repeated: {listed(filled.filter(repeated).unique())}. Make them unique."
        )
    return unique


def _whole_numbers(table: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """Return the table with Entrez ids that a file has as floats as whole numbers.

    Above 2^24 a float of 32 bits holds only every second number and fewer: such an id may be a neighbour's,
    and becomes null.
    """
    columns = []
    for name in table.columns:
        values = table[name]
        if fold(name) not in _ID_NUMBERS or not values.dtype.is_float() or not _whole(values):
            continue
        if values.dtype == pl.Float32:
            rounded = (values >= _LAST_EXACT_FLOAT32).fill_null(False)
            if rounded.any():
                values = pl.select(pl.when(~rounded).then(values).alias(name)).to_series()
                findings.warnings.append(
                    f"{int(rounded.sum()):,} Entrez ids of {name} above {_LAST_EXACT_FLOAT32:,} are rounded "
                    "in the file (floats of 32 bits) and set to null"
                )
        columns.append(values.cast(pl.Int64))
    return table.with_columns(columns)


def _whole(values: pl.Series) -> bool:
    filled = values.drop_nulls()
    return bool((filled == filled.floor()).all())

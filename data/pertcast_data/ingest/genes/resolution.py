"""Each gene of a matrix under its approved symbol, by a user's table of names; what became of each is listed.

An approved symbol is never taken for an alias of another gene, and a name of several genes stands for none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

import polars as pl

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.gene_tables.gene_names import IDENTIFIER_WORDS, GeneNames, read_gene_names
from pertcast_data.gene_tables.identifiers import identifier_kind
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.dates import date_candidates, renamed_since
from pertcast_data.ingest.genes.records import (
    UNRESOLVED,
    GeneRecord,
    GeneResolution,
    Namespace,
    Unresolved,
    counts_of,
    listed_ones,
)
from pertcast_data.ingest.mapping.rules import GeneRule
from pertcast_data.ingest.rows.columns import as_text
from pertcast_data.text import counted, fold, listed

SOURCE_SYMBOL: Final = "source_gene_symbol"
"""Symbol as the file has it, where a table of names changed some."""

_OPEN_WORDS: Final[dict[Unresolved, str]] = {
    "ambiguous": "means several genes by",
    "withdrawn": "was withdrawn, by",
    "unknown": "is unknown to",
}

ID_COLUMNS: Final = frozenset({*IDENTIFIER_WORDS, "pr_gene_id", "gene_ids", "source_gene_id"})
"""Folded names of columns of a gene table that hold ids."""


def names_of_rule(rule: GeneRule) -> GeneNames | None:
    """Return the table of gene names that a mapping file gives, None where it gives none.

    The table is read once for all files of an ingest.

    Raises
    ------
    FormatError, SchemaError
        As `read_gene_names`.
    """
    if rule.names is None:
        return None
    try:
        state = rule.names.stat()
    except OSError:
        raise FormatError(
            f"{rule.names}: no such table of gene names. Check `genes: names` in the mapping file."
        ) from None
    return _read_once(rule.names, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _read_once(path: Path, changed: int, size: int) -> GeneNames:
    """Read a table; time and size are asked for only so that a changed file is read anew."""
    return read_gene_names(path)


def resolve_name(name: str, names: GeneNames) -> GeneResolution:
    """Return what a name stands for in a table: an approved symbol, an id, an older or other symbol, a date.

    Resolving what was resolved changes nothing.
    """
    level, symbols = names.meaning(name)
    if len(symbols) > 1:
        return GeneResolution(name=name, resolved=None, how="ambiguous", candidates=symbols)
    if symbols:
        same = "identical" if symbols[0] == name else "spelling"
        how = {"approved": same, "id": "id", "alias": "renamed"}[level]
        return GeneResolution.model_validate({"name": name, "resolved": symbols[0], "how": how})
    spoilt = date_candidates(name)
    since = renamed_since(name)
    meant = _meant(spoilt or ((since,) if since else ()), names)
    if len(meant) > 1:
        return GeneResolution(name=name, resolved=None, how="ambiguous", candidates=meant)
    if meant:
        return GeneResolution(name=name, resolved=meant[0], how="date" if spoilt else "renamed")
    return GeneResolution(name=name, resolved=None, how="withdrawn" if level == "withdrawn" else "unknown")


def _meant(candidates: Iterable[str], names: GeneNames) -> tuple[str, ...]:
    """Return the distinct symbols that any of the candidates stands for."""
    return tuple(dict.fromkeys(symbol for each in candidates for symbol in names.meaning(each)[1]))


def resolve_genes(
    table: pl.DataFrame, names: GeneNames, namespace: Namespace, findings: Findings
) -> pl.DataFrame:
    """Bring a canonical gene table under approved symbols.

    Parameters
    ----------
    table
        gene_id, gene_symbol, then other columns; in the matrix's order.
    names
        The user's table.
    namespace
        Of the gene ids.
    findings
        Told what was resolved how; `findings.genes` gets every resolution.

    Returns
    -------
    DataFrame
        The same rows: gene_symbol approved where it could be resolved, else as it was. Where any changed,
        `source_gene_symbol` holds what the file has.
    """
    resolutions = gene_resolutions(table, names, namespace)
    own = table["gene_symbol"].to_list()
    symbols = pl.Series(
        "gene_symbol",
        [each.resolved or symbol for each, symbol in zip(resolutions, own, strict=True)],
        dtype=pl.String,
    )
    findings.genes = GeneRecord(
        namespace=namespace,
        table=names.file,
        gene_counts=counts_of(resolutions),
        genes=listed_ones(resolutions),
    )
    if table["gene_symbol"].null_count() == table.height and symbols.null_count() < table.height:
        findings.decide("gene_symbol", f"ids by {names.file}", "derived")
    _tell(resolutions, names.file, findings)
    _tell_shared(table, symbols, findings)
    if symbols.eq_missing(table["gene_symbol"]).all():
        return table
    resolved = table.with_columns(symbols)
    if SOURCE_SYMBOL in table.columns:
        return resolved
    return resolved.with_columns(table["gene_symbol"].alias(SOURCE_SYMBOL))


def gene_resolutions(table: pl.DataFrame, names: GeneNames, namespace: Namespace) -> list[GeneResolution]:
    """Return what each gene's name stands for: its symbol (its id without one), else one of its ids."""
    asked = table.select(pl.coalesce("gene_symbol", "gene_id")).to_series()
    if namespace.name == "row_number":
        asked = table["gene_symbol"].fill_null("")
    known = {name: resolve_name(name, names) for name in asked.unique()}
    identifiers = [as_text(table[name]).to_list() for name in _id_columns(table, namespace)]
    resolutions = []
    for row, name in enumerate(asked):
        found = known[name]
        if found.resolved is None:
            found = _by_id(found, (column[row] for column in identifiers), names)
        resolutions.append(found)
    return resolutions


def _id_columns(table: pl.DataFrame, namespace: Namespace) -> list[str]:
    own = ["gene_id"] if namespace.name not in ("row_number", "symbol") else []
    return own + [name for name in table.columns if fold(name) in ID_COLUMNS and name != "gene_id"]


def _by_id(found: GeneResolution, identifiers: Iterable[str | None], names: GeneNames) -> GeneResolution:
    """Return the resolution by the first id that means one gene; as it was where there is none."""
    for identifier in identifiers:
        if identifier is not None and identifier_kind(identifier) != "symbols":
            level, symbols = names.meaning(identifier)
            if level == "id" and len(symbols) == 1:
                return GeneResolution(name=found.name, resolved=symbols[0], how="id")
    return found


def _tell(resolutions: list[GeneResolution], file: str, findings: Findings) -> None:
    changed = [each for each in resolutions if each.resolved not in (None, each.name)]
    if changed:
        findings.converted.append(f"{counted(len(changed), 'gene')} renamed by {file}: {listed(changed)}")
    for how in UNRESOLVED:
        open_ones = [each for each in resolutions if each.how == how]
        if open_ones:
            findings.warnings.append(
                f"{counted(len(open_ones), 'gene')} whose name {_OPEN_WORDS[how]} {file}: {listed(open_ones)}"
            )


def _tell_shared(table: pl.DataFrame, symbols: pl.Series, findings: Findings) -> None:
    """Tell genes that share a symbol now and did not before: they stay apart by gene_id."""
    before, after = Counter(table["gene_symbol"].to_list()), Counter(symbols.drop_nulls().to_list())
    shared = {name for name, number in after.items() if number > max(1, before[name])}
    if not shared:
        return
    rows = pl.DataFrame({"symbol": symbols, "id": table["gene_id"]}).filter(pl.col("symbol").is_in([*shared]))
    grouped = rows.group_by("symbol", maintain_order=True).agg(pl.col("id"))
    told = [f"{symbol} ({', '.join(ids)})" for symbol, ids in grouped.iter_rows()]
    findings.warnings.append(
        f"{counted(len(shared), 'symbol')} of several genes, kept apart by gene_id: {listed(told)}"
    )


def unresolved_rows(table: pl.DataFrame, rule: GeneRule) -> pl.Series:
    """Return which genes of a canonical table the user's table of names does not resolve (boolean)."""
    names = names_of_rule(rule)
    if names is None:
        return pl.Series([False]).new_from_index(0, table.height)
    symbols = table["gene_symbol"].drop_nulls().unique()
    known = {name: names.meaning(name) == ("approved", (name,)) for name in symbols}
    return pl.Series([not known.get(name, False) for name in table["gene_symbol"]], dtype=pl.Boolean)


def require_resolved(table: pl.DataFrame, path: Path, rule: GeneRule, namespace: Namespace) -> None:
    """Require that a table of names knows the genes of a resolved gene table.

    Raises
    ------
    SchemaError
        It knows none of them, or not all and the mapping file refuses that.
    """
    if rule.names is None:
        return
    open_ones = table.filter(unresolved_rows(table, rule))
    shown = listed(open_ones.select(pl.coalesce("gene_symbol", "gene_id")).to_series(), 10)
    if open_ones.height == table.height:
        raise SchemaError(
            f"{path}: {rule.names.name} knows none of its {table.height:,} genes ({shown}; the ids are "
            f"{namespace}). Bring a table with these (mapping file, genes: names), or name the columns of "
            "ids and symbols (genes: gene_id, gene_symbol)."
        )
    if open_ones.height and rule.unresolved == "refuse":
        raise SchemaError(
            f"{path}: {rule.names.name} does not resolve {open_ones.height:,} of {table.height:,} genes: "
            f"{shown} (mapping file, genes: unresolved: refuse). Bring a newer table, name the column of ids "
            "(genes: gene_id), or say unresolved: keep or drop."
        )


def tell_dates(table: pl.DataFrame, findings: Findings) -> None:
    """Warn of symbols that a spreadsheet spoilt or that were renamed for it, where no table resolves them."""
    symbols = table["gene_symbol"].drop_nulls().to_list()
    spoilt = [name for name in symbols if date_candidates(name)]
    if spoilt:
        could = ", ".join(f"{name} ({' or '.join(date_candidates(name))})" for name in spoilt[:3])
        findings.warnings.append(
            f"{counted(len(spoilt), 'gene symbol')} changed to a date by a spreadsheet: {could}. Name a "
            "table of genes with ids (mapping file, genes: names), or export the file anew"
        )
    older = [f"{name} ({renamed_since(name)} today)" for name in symbols if renamed_since(name)]
    if older:
        findings.warnings.append(
            f"{counted(len(older), 'gene symbol')} that spreadsheets take for dates and that have new names: "
            f"{listed(older)}. A table of genes resolves them (mapping file, genes: names)"
        )

"""A side table: the rows' annotations in a file of their own, as LINCS has them beside GCTX.

Only the lines about rows that the matrix has are kept, so a table of all of LINCS costs little memory; of a
library of compounds, only those compounds are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from pertcast_data.compounds.library import (
    ID,
    STRUCTURE_COLUMNS,
    InvalidRecord,
    is_structure_file,
    library_blocks,
)
from pertcast_data.errors import FormatError, SchemaError, nearest_known
from pertcast_data.ingest.mapping.rules import TableRule
from pertcast_data.ingest.rows.columns import as_text
from pertcast_data.ingest.rows.missing import null_words
from pertcast_data.readers.source import SOURCE_ID
from pertcast_data.tables.table import Table, open_table
from pertcast_data.text import fold, listed

LISTED_WORDS: Final = (
    *("target", "targets", "target_genes", "moa", "mechanism_of_action", "mechanism"),
    *("compound_aliases", "aliases", "alias", "synonyms"),
)
"""Folded names of columns that `repeats: join` joins; of all others the first value counts."""

# No column of a file bears it: the character is of no alphabet.
_KEY: Final = "\ue000key"
_REMEDY: Final = "Check --obs-table, or `tables` in the mapping file."


@dataclass(frozen=True, slots=True)
class Joined:
    """A table with a side table joined to it.

    Attributes
    ----------
    frame
        The rows; the side table's columns win over columns of the same name.
    n_found
        Rows that the side table knows.
    told
        A sentence that says so, and what else was found in the table.
    """

    frame: pl.DataFrame
    n_found: int
    told: str


def join_side_table(rows: pl.DataFrame, rule: TableRule, said_by: str) -> Joined:
    """Join a side table to the rows of a matrix, or to its genes.

    Parameters
    ----------
    rows
        A table of the matrix, with `source_id`.
    rule
        Which table, and by which columns.
    said_by
        Where the key was named, for messages.

    Raises
    ------
    FormatError, SchemaError
        The table cannot be read, has no such column, names a row twice, or (joined by row ids) knows none of
        the rows; the rows have no column `matches`.
    """
    own = rule.matches or SOURCE_ID
    if own not in rows.columns:
        nearest = nearest_known(own, rows.columns) or rows.columns[:10]
        raise SchemaError(f"{rule.name}: no column {own!r} to join on. The rows have {', '.join(nearest)}.")
    keys = as_text(rows[own]).str.strip_chars().alias(_KEY)
    notes: list[str] = []
    lines = _lines(rule, keys.drop_nulls().unique(), said_by, notes)
    if lines.is_empty() and rule.matches is None:
        raise SchemaError(
            f"{rule.file[0]}: column {rule.key!r} knows none of the matrix's rows ({listed(rows[own], 2)}). "
            f"Name another column by {said_by}."
        )
    others = [name for name in lines.columns if name not in (_KEY, SOURCE_ID, own)]
    kept = rows.select(name for name in rows.columns if name not in others).with_columns(keys)
    joined = kept.join(lines.select(_KEY, *others), on=_KEY, how="left", maintain_order="left").drop(_KEY)
    n_found = int(keys.is_in(lines[_KEY].implode()).sum())
    told = f"{rule.name} tells {n_found:,} of {rows.height:,} rows (by {rule.key})"
    return Joined(joined, n_found, "; ".join((told, *notes)))


def _lines(rule: TableRule, wanted: pl.Series, said_by: str, notes: list[str]) -> pl.DataFrame:
    """Return the lines about the wanted keys, one a key, the key as `_KEY`."""
    parts = [_read_lines(path, rule, wanted, said_by, notes) for path in rule.file]
    lines = pl.concat(parts, how="diagonal_relaxed")
    if not lines[_KEY].is_duplicated().any():
        return lines
    if rule.repeats != "error":
        return _one_a_key(null_words(lines), joins=rule.repeats == "join")
    lines = lines.unique(maintain_order=True)
    repeated = lines[_KEY].is_duplicated()
    if repeated.any():
        names = lines[_KEY].filter(repeated).unique().sort()
        raise SchemaError(
            f"{rule.file[0]}: {len(names):,} ids stand in several different rows ({listed(names)}). Keep one "
            "row an id, or say `repeats: first` in the mapping file (`join` keeps every target)."
        )
    return lines


def _one_a_key(lines: pl.DataFrame, joins: bool) -> pl.DataFrame:
    """Return one line a key: the first value of each column, of lists all distinct ones as "A|B"."""
    is_listed = [name for name in lines.columns if joins and fold(name) in LISTED_WORDS and name != _KEY]
    others = [name for name in lines.columns if name not in (_KEY, *is_listed)]
    all_values = (
        pl.when(pl.col(name).is_not_null().any())
        .then(pl.col(name).cast(pl.String).drop_nulls().unique(maintain_order=True).str.join("|"))
        .alias(name)
        for name in is_listed
    )
    found = lines.group_by(_KEY, maintain_order=True).agg(pl.col(others).drop_nulls().first(), *all_values)
    return found.select(lines.columns)


def _read_lines(
    path: Path, rule: TableRule, wanted: pl.Series, said_by: str, notes: list[str]
) -> pl.DataFrame:
    """Return the lines of one file about the wanted keys."""
    if _is_library(path):
        return _library_lines(path, rule, wanted, notes)
    table = open_table(path, _REMEDY)
    _require_columns(table, rule, said_by)
    # A column without a name says nothing, and Polars would give it one of its own.
    chosen = [name for name in rule.columns or table.columns if name and name != rule.key]
    parts = []
    for block in table.blocks([rule.key, *chosen]):
        keys = as_text(block[rule.key]).str.strip_chars().alias(_KEY)
        lines = pl.DataFrame([keys, *block.select(chosen)])
        parts.append(_detached(lines.filter(keys.is_in(wanted.implode()))))
    notes += table.notes
    return pl.concat(parts) if parts else pl.DataFrame(schema=dict.fromkeys([_KEY, *chosen], pl.String))


def _is_library(path: Path) -> bool:
    try:
        return is_structure_file(path)
    except (OSError, ValueError) as error:
        # A name that is too long, or a folder that may not be looked into.
        said = error.strerror if isinstance(error, OSError) else error
        raise FormatError(f"{path}: cannot be looked at ({said}). {_REMEDY}") from error


def _detached(lines: pl.DataFrame) -> pl.DataFrame:
    """Return a frame that holds its own text: Polars' views would keep that of the whole block alive."""
    # Arrow's names are C strings: a null character in one makes Polars panic.
    lines.columns = [name.replace("\0", " ") for name in lines.columns]
    return pl.DataFrame(lines.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _require_columns(table: Table, rule: TableRule, said_by: str) -> None:
    for name in (rule.key, *(rule.columns or ())):
        if name and name in table.columns:
            continue
        if table.looks_headless:
            raise SchemaError(
                f"{table.path}: has no column {name!r} ({said_by}), and its first line looks like a row "
                f"({listed(table.columns, 3)}). Write a line of names above it."
            )
        nearest = nearest_known(name, table.columns) or table.columns[:10]
        raise SchemaError(f"{table.path}: has no column {name!r} ({said_by}). It has {', '.join(nearest)}.")


def _library_lines(path: Path, rule: TableRule, wanted: pl.Series, notes: list[str]) -> pl.DataFrame:
    """Return the wanted compounds of an SDF or SMI file; `key` is "id", or the property with the ids."""
    chosen = [name for name in rule.columns or STRUCTURE_COLUMNS if name != rule.key]
    id_property = None if rule.key == ID else rule.key
    parts: list[pl.DataFrame] = []
    invalid: list[InvalidRecord] = []
    for block in library_blocks(path, id_property=id_property, wanted=frozenset(wanted.to_list())):
        invalid += block.invalid
        parts.append(_named(path, block.compounds, chosen))
    if invalid:
        shown = listed(invalid, 3)
        notes.append(f"{path.name}: {len(invalid):,} of the compounds have no valid structure: {shown}")
    empty = pl.DataFrame(schema=dict.fromkeys([_KEY, *chosen], pl.String))
    return pl.concat([empty, *parts], how="diagonal_relaxed")


def _named(path: Path, compounds: pl.DataFrame, chosen: list[str]) -> pl.DataFrame:
    # A record may lack a property that others have.
    absent = [pl.lit(None, pl.String).alias(name) for name in chosen if name not in compounds.columns]
    return compounds.with_columns(absent).select(pl.col(ID).alias(_KEY), *chosen)

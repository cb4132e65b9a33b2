"""A side table: the rows' annotations in a file of their own, as LINCS has them beside GCTX.

Only the rows that the matrix has are read, so a table of all of LINCS costs little memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from pertcast_data.errors import FormatError, SchemaError, nearest_known
from pertcast_data.ingest.columns import as_text
from pertcast_data.ingest.findings import listed
from pertcast_data.ingest.mapping import TableRule
from pertcast_data.ingest.missing import null_words
from pertcast_data.readers.source import SOURCE_ID

_KEY: Final = "__key"


def scan_side_table(path: Path) -> pl.LazyFrame:
    """Open a csv, tsv or Parquet table by its content; text tables are read as text.

    Raises
    ------
    FormatError
        The file is absent or no table.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such table. Check --obs-table, or `tables` in the mapping file.")
    with path.open("rb") as file:
        start = file.read(65536)
    if start.startswith(b"PAR1"):
        return pl.scan_parquet(path)
    if start.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise FormatError(f"{path}: is packed. Unpack it first: gunzip -k FILE.")
    header = start.split(b"\n", 1)[0]
    if b"\0" in start or not header.strip():
        raise FormatError(f"{path}: is neither csv, tsv nor Parquet. Convert it to one of these.")
    separator = max(("\t", ",", ";"), key=lambda mark: header.count(mark.encode()))
    quote = None if separator == "\t" else '"'
    return pl.scan_csv(path, separator=separator, infer_schema=False, quote_char=quote, encoding="utf8-lossy")


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
        A sentence that says so.
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
    lines = _lines(rule, keys.drop_nulls().unique(), said_by)
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
    return Joined(joined, n_found, told)


def _lines(rule: TableRule, wanted: pl.Series, said_by: str) -> pl.DataFrame:
    """Return the lines about the wanted keys, one a key, the key as `_KEY`."""
    parts = [_read_lines(path, rule, wanted, said_by) for path in rule.file]
    lines = pl.concat(parts, how="diagonal_relaxed")
    repeated = lines[_KEY].is_duplicated()
    if not repeated.any():
        return lines
    if rule.repeats == "first":
        cleared = null_words(lines)
        return cleared.group_by(_KEY, maintain_order=True).agg(pl.all().drop_nulls().first())
    lines = lines.unique(maintain_order=True)
    repeated = lines[_KEY].is_duplicated()
    if repeated.any():
        names = lines[_KEY].filter(repeated).unique().sort()
        raise SchemaError(
            f"{rule.file[0]}: {len(names):,} ids stand in several different rows ({listed(names)}). Keep one "
            "row an id, or say `repeats: first` in the mapping file."
        )
    return lines


def _read_lines(path: Path, rule: TableRule, wanted: pl.Series, said_by: str) -> pl.DataFrame:
    try:
        scan = scan_side_table(path)
        columns = scan.collect_schema().names()
        for name in (rule.key, *(rule.columns or ())):
            if name not in columns:
                nearest = nearest_known(name, columns) or columns[:10]
                raise SchemaError(f"{path}: has no column {name!r} ({said_by}). It has {', '.join(nearest)}.")
        chosen = [name for name in rule.columns or columns if name != rule.key]
        key = pl.col(rule.key).cast(pl.String).str.strip_chars().alias(_KEY)
        lines = scan.select(key, *(pl.col(name) for name in chosen))
        return lines.filter(pl.col(_KEY).is_in(wanted.implode())).collect()
    except pl.exceptions.PolarsError as error:
        raise FormatError(f"{path}: cannot be read as a table ({error}). Correct or convert it.") from error

"""A side table: the rows' annotations in a file of their own, as LINCS has them beside GCTX.

Only the rows that the matrix has are read, so a table of all of LINCS costs little memory.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pertcast_data.errors import FormatError, SchemaError, nearest_known
from pertcast_data.ingest.findings import listed
from pertcast_data.readers.source import SOURCE_ID


def scan_side_table(path: Path) -> pl.LazyFrame:
    """Open a csv, tsv or Parquet table by its content; text tables are read as text.

    Raises
    ------
    FormatError
        The file is absent or no table.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such table. Check --obs-table.")
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


def join_side_table(obs: pl.DataFrame, path: Path, key: str) -> tuple[pl.DataFrame, str]:
    """Join a side table to the rows of a matrix.

    Parameters
    ----------
    obs
        The matrix's row table, with `source_id`.
    path
        The side table.
    key
        Its column that holds the ids of the matrix's rows.

    Returns
    -------
    tuple
        The row table with the side table's columns (which win over columns of the same name), and a sentence
        that says how many rows were found.

    Raises
    ------
    FormatError, SchemaError
        The table cannot be read, has no such column, names a row twice, or knows none of the rows.
    """
    try:
        scan = scan_side_table(path)
        columns = scan.collect_schema().names()
        if key not in columns:
            nearest = nearest_known(key, columns) or columns[:10]
            raise SchemaError(f"{path}: has no column {key!r} (--key). It has {', '.join(nearest)}.")
        ids = obs[SOURCE_ID].implode()
        table = scan.with_columns(pl.col(key).cast(pl.String).str.strip_chars())
        table_rows = table.filter(pl.col(key).is_in(ids)).unique(maintain_order=True).collect()
    except pl.exceptions.PolarsError as error:
        raise FormatError(f"{path}: cannot be read as a table ({error}). Correct or convert it.") from error
    repeated = table_rows.filter(pl.col(key).is_duplicated())[key]
    if len(repeated):
        raise SchemaError(
            f"{path}: {repeated.n_unique():,} ids stand in several different rows "
            f"({listed(repeated.unique().sort())}). Keep one row an id."
        )
    if table_rows.is_empty():
        raise SchemaError(
            f"{path}: column {key!r} knows none of the matrix's rows ({listed(obs[SOURCE_ID], 2)}). "
            "Name another column by --key."
        )
    kept = obs.select(name for name in obs.columns if name == SOURCE_ID or name not in columns)
    joined = kept.join(table_rows, left_on=SOURCE_ID, right_on=key, how="left", maintain_order="left")
    told = f"{path.name} tells {table_rows.height:,} of {obs.height:,} rows (by {key})"
    return joined, told

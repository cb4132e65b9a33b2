"""Missing values: -666, "nan", "NA" and empty text become null, once, before anything looks at a column."""

from __future__ import annotations

from typing import Final

import polars as pl

from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.storable import plain_columns
from pertcast_data.readers.source import SOURCE_ID
from pertcast_data.text import listed

MISSING_WORDS: Final = ("", "nan", "na", "n/a", "<na>", "null", "-666", "-666.0", "-666.00", "-666.000000")
_MISSING_NUMBER: Final = -666


def clear_missing(frame: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """Set every word and number for "missing" to null and drop columns in which nothing is left.

    Parameters
    ----------
    frame
        A row table as its file has it; `source_id` is left alone.
    findings
        Told which columns changed and which were dropped.
    """
    frame = plain_columns(frame, findings)
    names = [name for name in frame.columns if name != SOURCE_ID]
    cleared = null_words(frame)
    changed = {name: cleared[name].null_count() - frame[name].null_count() for name in names}
    empty = [name for name in names if cleared[name].null_count() == frame.height]
    set_null = [f"{name} ({count:,})" for name, count in changed.items() if count and name not in empty]
    if set_null:
        findings.converted.append(f"-666, nan and empty values set to null: {listed(set_null)}")
    if empty and frame.height:
        findings.dropped.append(f"columns without any value: {listed(empty)}")
        cleared = cleared.drop(empty)
    return cleared


def null_words(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with every word and number for "missing" set to null; `source_id` is left alone."""
    names = [name for name in frame.columns if name != SOURCE_ID]
    return frame.with_columns(_cleared(pl.col(name), frame.schema[name]) for name in names)


def _cleared(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String:
        text = column.str.strip_chars()
        return pl.when(~text.str.to_lowercase().is_in(MISSING_WORDS)).then(text).name.keep()
    if dtype.is_float():
        return pl.when(column.is_not_nan() & (column != _MISSING_NUMBER)).then(column).name.keep()
    if dtype.is_signed_integer() and dtype != pl.Int8:
        return pl.when(column != _MISSING_NUMBER).then(column).name.keep()
    return column

"""Arrow columns become numbers (float32, NaN for what is missing) and tables of annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

_MISSING_NUMBER: Final = -666


def numbers_of(column: Any) -> npt.NDArray[np.float32]:
    """Return an array of numbers as float32; nulls and -666 are NaN."""
    if pa.types.is_decimal(column.type) or pa.types.is_float16(column.type):
        column = column.cast(pa.float64() if pa.types.is_decimal(column.type) else pa.float32())
    with np.errstate(over="ignore"):
        values = np.array(column.to_numpy(zero_copy_only=False), dtype=np.float32)
    values[values == _MISSING_NUMBER] = np.nan
    return values


def matrix_of(batch: Any) -> npt.NDArray[np.float32]:
    """Return a record batch of numeric columns as rows, (n_rows, n_columns)."""
    by_column = np.empty((batch.num_columns, len(batch)), np.float32)
    for place, column in enumerate(batch.columns):
        by_column[place] = numbers_of(column)
    return np.ascontiguousarray(by_column.T)


def note_frame(batch: Any, names: Sequence[str]) -> pl.DataFrame:
    """Return annotation columns as a table: words as text, dates as text, numbers as they are."""
    # Column by column: names and metadata of a damaged schema stay out of it.
    frame = pl.DataFrame([pl.Series(pl.from_arrow(batch.column(name))).alias(name) for name in names])
    # Polars gives a column without a name one of its own.
    frame.columns = [*names]
    as_text = [
        pl.col(name).cast(pl.String)
        for name, kind in frame.schema.items()
        if kind.is_temporal() or kind == pl.Null or kind in (pl.Categorical, pl.Enum)
    ]
    as_number = [pl.col(name).cast(pl.Float64) for name, kind in frame.schema.items() if kind.is_decimal()]
    return frame.with_columns(*as_text, *as_number)

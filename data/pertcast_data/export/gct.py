"""A GCT 1.3 text file: genes as lines, profiles as columns.

Profiles come in rows and leave in columns, so values are turned through a temporary file, and every line is
written in pieces: memory does not grow with the number of profiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError
from pertcast_data.export.content import ROW_NAME, BlockTable, ExportContent, dense, store_content
from pertcast_data.export.gctx import MISSING
from pertcast_data.export.rows import ExportRows
from pertcast_data.progress import ProgressCallback
from pertcast_data.readers.spill import scratch_array
from pertcast_data.store import ExpressionStore

MOST_VALUES: Final = 100_000_000
"""Values of the largest GCT file that is written: about 1 GB of text."""

_PIECE: Final = 1 << 16
_SEPARATORS: Final = "[\t\r\n]"


def write_gct(
    store: ExpressionStore, rows: ExportRows, file: Path, name: str, progress: ProgressCallback
) -> None:
    """Write a store as GCT 1.3; counts become dense. See `write_gct_content`."""
    write_gct_content(store_content(store, rows), file, name, progress)


def write_gct_content(content: ExportContent, file: Path, name: str, progress: ProgressCallback) -> None:
    """Write profiles as GCT 1.3.

    Numbers have the fewest digits that read back as the same number. Missing metadata is -666, a missing
    value NaN, true and false are 1 and 0. A tab or a line's end in a text becomes a space.

    Raises
    ------
    ConfigError
        More than `MOST_VALUES` values.
    StorageError
        The disk has no room for the temporary file.
    """
    n_rows, n_genes = content.shape
    if n_rows * n_genes > MOST_VALUES:
        raise ConfigError(
            f"{name}: {n_rows:,} profiles x {n_genes:,} genes are {n_rows * n_genes / 1e6:,.0f} million "
            f"numbers, and a gct file (text) holds at most {MOST_VALUES / 1e6:,.0f} million. Write gctx, "
            "which is the same in binary form, or choose fewer profiles."
        )
    turned = _turned(content, progress)
    with file.open("w", encoding="utf-8", newline="\n") as text:
        gene_fields = content.var.columns[1:]
        profile_fields = content.obs.columns[1:]
        text.write(f"#1.3\n{n_genes}\t{n_rows}\t{len(gene_fields)}\t{len(profile_fields)}\n")
        _write_line(text, [ROW_NAME, *gene_fields], _texts(content.obs, ROW_NAME))
        for field in profile_fields:
            _write_line(text, [field, *(["na"] * len(gene_fields))], _texts(content.obs, field))
        genes = zip(*(_whole_column(content.var, name) for name in content.var.columns), strict=True)
        for described, values in zip(genes, turned, strict=True):
            _write_line(text, list(described), _numbers(values))


def _turned(content: ExportContent, progress: ProgressCallback) -> NDArray[np.floating]:
    """Return (genes, profiles) in a temporary file without a name."""
    turned = scratch_array((content.shape[1], content.shape[0]), content.dtype)
    for start, values in content.values(progress):
        turned[:, start : start + values.shape[0]] = dense(values).T
    return turned


def _write_line(text: TextIO, first: list[str], pieces: Iterator[str]) -> None:
    text.write("\t".join(first))
    for piece in pieces:
        text.write("\t")
        text.write(piece)
    text.write("\n")


def _texts(table: BlockTable, name: str) -> Iterator[str]:
    return (_joined(_as_text(series)) for series in table.column(name) if len(series))


def _whole_column(table: BlockTable, name: str) -> list[str]:
    return [text for series in table.column(name) for text in _as_text(series).to_list()]


def _numbers(values: NDArray[np.floating]) -> Iterator[str]:
    for start in range(0, len(values), _PIECE):
        yield _joined(pl.Series(np.asarray(values[start : start + _PIECE])).cast(pl.String))


def _as_text(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Boolean:
        series = series.cast(pl.Int8)
    return series.cast(pl.String).fill_null(str(MISSING)).str.replace_all(_SEPARATORS, " ")


def _joined(texts: pl.Series) -> str:
    return str(texts.str.join("\t").item())

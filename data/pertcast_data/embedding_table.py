"""A user's table of embeddings of compounds (MoLFormer, any) or genes: one row each, keys and numbers.

csv, tsv, Parquet and npz are told apart by content. What cannot be used is an error with its row and column.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.ingest.rows.missing import MISSING_WORDS
from pertcast_data.tables.content import sha256_of
from pertcast_data.tables.table import open_table
from pertcast_data.text import fold, listed
from pertcast_data.words import COLUMN_WORDS

KEY_WORDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "pert_id": COLUMN_WORDS["pert_id"],
        "cmap_name": (
            *("cmap_name", "pert_iname", "drug_name", "compound_name", "product_name"),
            *("drug", "compound", "name"),
        ),
        "canonical_smiles": COLUMN_WORDS["canonical_smiles"],
        "inchi_key": COLUMN_WORDS["inchi_key"],
    }
)
"""Key -> columns that are taken for it (folded names)."""

_ROW_NUMBERS: Final = ("", "unnamed_0", "index", "index_level_0")


@dataclass(frozen=True, slots=True)
class TableKind:
    """What the rows of a table are.

    Attributes
    ----------
    noun
        One of them, for messages.
    option
        The key of a run's configuration that names the table.
    key_words
        Key -> columns that are taken for it (folded names).
    """

    noun: str
    option: str
    key_words: Mapping[str, tuple[str, ...]]


COMPOUNDS: Final = TableKind("compound", "encoder.compound_embedding", KEY_WORDS)
GENES: Final = TableKind(
    "gene",
    "encoder.gene_embedding",
    MappingProxyType(
        {
            "gene_symbol": (
                *("gene_symbol", "symbol", "hgnc_symbol", "gene_name", "gene", "genes", "feature_name"),
                *("feature", "name", "node", "gene_id", "id", *_ROW_NUMBERS),
            )
        }
    ),
)
"""Keyed by symbol; a saved index without a name holds the symbols where it does not number the rows."""


@dataclass(frozen=True)
class EmbeddingTable:
    """R compounds, or genes, with D numbers each.

    Attributes
    ----------
    file
        Name of the file, without its folder.
    sha256
        Of the file's bytes.
    keys
        R rows of text, null where the table says nothing: pert_id, cmap_name, canonical_smiles, inchi_key of
        compounds; gene_symbol of genes.
    columns
        Names of the D columns.
    values
        (R, D) float32, all finite.
    """

    file: str
    sha256: str
    keys: pl.DataFrame
    columns: tuple[str, ...]
    values: NDArray[np.float32]

    def row_name(self, row: int) -> str:
        """Return how a row is called in messages: its number from 1 and its first key."""
        return _row_name(self.keys, row)


def read_embedding_table(path: Path, kind: TableKind = COMPOUNDS) -> EmbeddingTable:
    """Read a table of embeddings.

    Parameters
    ----------
    path
        csv, tsv, Parquet: one row a compound or gene, a key column (pert_id, cmap_name, canonical_smiles or
        inchi_key; gene_symbol; also under the other names in `kind.key_words`) and D columns of numbers, or
        in Parquet one column of lists.
        npz: one (R,) array of text a key, and the numbers as one (R, D) array or D arrays (R,).
    kind
        What the rows are: `COMPOUNDS` or `GENES`.

    Raises
    ------
    FormatError
        The file is absent or cannot be read as any of these.
    SchemaError
        No key column, no numbers, a row without a key, ragged rows, text or values that are not finite.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such embedding table. Check {kind.option}.")
    frame = _read_npz(path, kind) if zipfile.is_zipfile(path) else open_table(path).read()
    if frame.is_empty():
        raise SchemaError(f"{path}: holds no row. Bring one row a {kind.noun}.")
    keys = _keys(frame, path, kind)
    chosen = [name for name in frame.columns if name not in keys.values() and not _counts_rows(frame[name])]
    named = pl.DataFrame(
        {key: _text(frame[keys[key]] if key in keys else None, frame) for key in kind.key_words}
    )
    _require_keys(named, path, kind)
    columns, values = _numbers(frame.select(chosen), named, path)
    return EmbeddingTable(path.name, sha256_of(path), named, columns, values)


def _read_npz(path: Path, kind: TableKind) -> pl.DataFrame:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: _series(name, arrays[name]) for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path}: cannot be read as npz ({error}). Save names as text and values as numbers "
            f"(np.savez(file, {next(iter(kind.key_words))}=np.array(ids, dtype=str), embedding=values))."
        ) from error
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = listed(f"{name}: {length:,}" for name, length in lengths.items())
        raise SchemaError(f"{path}: arrays have different lengths ({told}). Save one row a {kind.noun}.")
    return pl.DataFrame(list(columns.values()))


def _series(name: str, array: NDArray[Any]) -> pl.Series:
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is no array of NumPy")
    if array.ndim == 2:
        return pl.Series(name, array, dtype=pl.Array(pl.Float64, array.shape[1]))
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions, 1 or 2 are known")
    return pl.Series(name, array.astype(str).tolist() if array.dtype.kind in "US" else array)


def _keys(frame: pl.DataFrame, path: Path, kind: TableKind) -> dict[str, str]:
    """Return key -> column of the table."""
    by_fold: dict[str, str] = {}
    for name in frame.columns:
        by_fold.setdefault(fold(name), name)
    found = {}
    for key, words in kind.key_words.items():
        named = (by_fold[word] for word in words if word in by_fold)
        column = next((name for name in named if not _counts_rows(frame[name])), None)
        if column is not None:
            found[key] = column
    if not found:
        raise SchemaError(
            f"{path}: no column names the {kind.noun}s; it begins {listed(map(repr, frame.columns), 3)}. "
            f"Write a header line with one of {', '.join(kind.key_words)}."
        )
    return found


def _counts_rows(values: pl.Series) -> bool:
    """Whether a column without a name of its own only numbers the rows, as a saved index does."""
    if fold(values.name) not in _ROW_NUMBERS:
        return False
    numbers = values.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False)
    return bool(numbers.eq_missing(pl.int_range(len(values), eager=True)).all())


def _text(values: pl.Series | None, frame: pl.DataFrame) -> pl.Series:
    if values is None:
        return pl.Series([None] * frame.height, dtype=pl.String)
    text = values.cast(pl.String).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(MISSING_WORDS), None)


def _require_keys(keys: pl.DataFrame, path: Path, kind: TableKind) -> None:
    empty = keys.select(pl.all_horizontal(pl.all().is_null())).to_series().arg_true()
    if len(empty):
        held = [name for name in keys.columns if keys[name].null_count() < keys.height]
        raise SchemaError(
            f"{path}: row {empty[0] + 1} names no {kind.noun} ({len(empty):,} such rows). Fill in "
            f"{' or '.join(held) or 'a key'}, or leave the rows out."
        )


def _numbers(
    frame: pl.DataFrame, keys: pl.DataFrame, path: Path
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    lists = [name for name in frame.columns if isinstance(frame[name].dtype, pl.List | pl.Array)]
    if lists:
        frame = _unnested(frame, lists, keys, path)
    if not frame.width:
        raise SchemaError(f"{path}: has no column of numbers beside its keys. Bring the embedding's values.")
    numbers = frame.select(_as_numbers(frame[name], keys, path) for name in frame.columns)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(numbers.to_numpy(), dtype=np.float32)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = (int(place) for place in wrong[0])
        raise SchemaError(
            f"{path}, {_row_name(keys, row)}: {frame.columns[column]} is {numbers[row, column]}, which is no "
            f"finite number ({len(wrong):,} such values). Correct them or leave the rows out."
        )
    return tuple(frame.columns), values


def _unnested(frame: pl.DataFrame, lists: list[str], keys: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return the one column of lists as columns."""
    if len(lists) > 1 or frame.width > 1:
        raise SchemaError(
            f"{path}: holds {listed(frame.columns)} beside its keys. Bring one column of lists, or only "
            "numbers."
        )
    column = frame[lists[0]]
    nested = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    lengths = nested.list.len().fill_null(0)
    width = int(lengths.mode().sort()[-1])
    ragged = (lengths != width).arg_true()
    if len(ragged) or not width:
        row = ragged[0] if len(ragged) else 0
        raise SchemaError(
            f"{path}, {_row_name(keys, row)}: {column.name} holds {lengths[row]} values, most rows hold "
            f"{width}. Every row needs the same number."
        )
    names = [f"{column.name}_{place}" for place in range(width)]
    return nested.list.to_struct(fields=names).struct.unnest()


def _as_numbers(values: pl.Series, keys: pl.DataFrame, path: Path) -> pl.Series:
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        numbers = text.cast(pl.Float64, strict=False)
    elif values.dtype.is_numeric():
        text, numbers = values, values.cast(pl.Float64)
    else:
        raise SchemaError(
            f"{path}: column {values.name!r} holds {values.dtype}, not numbers. Leave it out, or "
            f"name it as one of the keys ({', '.join(keys.columns)})."
        )
    wrong = numbers.is_null().arg_true()
    if len(wrong):
        held = text[wrong[0]]
        what = f"is {held!r}, which is no number" if held else "is empty"
        raise SchemaError(
            f"{path}, {_row_name(keys, wrong[0])}: {values.name} {what} ({len(wrong):,} such rows). Leave "
            f"the column out, or fill it in; keys are called {', '.join(keys.columns)}."
        )
    return numbers.alias(values.name)


def _row_name(keys: pl.DataFrame, row: int) -> str:
    first = next((name for name in keys.columns if keys[name][row] is not None), None)
    return f"row {row + 1}" + ("" if first is None else f" ({keys[first][row]})")

"""The file of a list, read with the columns that a screen knows; whatever could be misread is refused.

A column that is passed over in silence would let a default stand where the user had stated something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl
from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.tables.table import Table, open_table
from pertcast_data.text import fold

TEXTS: Final = ("pert_id", "pert_type", "cmap_name", "canonical_smiles", "targets", "cell_iname")
AMOUNTS: Final = ("pert_dose", "pert_dose_unit", "pert_time", "pert_time_unit")

_OTHER_NAMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "pert_id": ("gene", "gene_symbol", "symbol", "compound", "drug"),
        "canonical_smiles": ("smiles", "SMILES"),
        "cmap_name": ("pert_iname", "name"),
        "cell_iname": ("cell_id", "cell_line"),
    }
)
_ONE_OF: Final = ("pert_id", "canonical_smiles", "cell_iname")
"""Columns that decide what is predicted: two that could be one of these are not chosen between."""
_ALIKE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "pert_dose": ("dose", "doses", "dose_um", "concentration", "conc", "pert_idose"),
        "pert_time": ("time", "times", "time_h", "timepoint", "hours", "pert_itime"),
        "cell_iname": ("cell", "cells", "cell_type", "cellline"),
        "pert_dose_unit": ("dose_unit", "dose_units", "pert_dose_units"),
        "pert_time_unit": ("time_unit", "time_units", "pert_time_units"),
    }
)
"""Folded names that are not read, but surely mean a column that is."""
_UNITS: Final = MappingProxyType(
    {"pert_dose": " (in uM, or with pert_dose_unit)", "pert_time": " (in h, or with pert_time_unit)"}
)
_MISSING: Final = ("", "-666", "-666.0", "nan", "NaN", "NA", "null", "None")


def read_list(path: Path) -> pl.DataFrame:
    """Read a list: its columns under CMap's names, texts stripped, missing values null.

    Parameters
    ----------
    path
        csv, tsv, text with semicolons or bars, Parquet or Arrow, packed with gzip or not.

    Raises
    ------
    FormatError
        The file is absent, empty, no table, or neither UTF-8 nor UTF-16.
    SchemaError
        A line has too few or too many values; a column stands there twice, could be one of two, or is not
        read though it seems to state a dose, time or cell line.
    """
    if not path.is_file():
        raise FormatError(f"{path} does not exist. Name a csv or parquet file with a column pert_id.")
    table = open_table(path)
    _refuse_repeated(table)
    frame = table.read()
    if table.notes:
        raise FormatError(f"{table.notes[0]}. Save {path} in UTF-8, so that names are read as meant.")
    named = frame.rename(_chosen_names(path, table.columns))
    _refuse_alike(path, named.columns)
    return _with_texts(named, path)


def _refuse_repeated(table: Table) -> None:
    """Raise where a column that matters has its name twice: the later one was given a number."""
    known = {*TEXTS, *AMOUNTS, *(name for names in _OTHER_NAMES.values() for name in names)}
    for place, name in enumerate(table.columns, 1):
        stem = name.removesuffix(f"_{place}")
        if stem != name and stem in known and stem in table.columns[: place - 1]:
            raise SchemaError(f"{table.path} has two columns {stem}. Keep the one that is meant.")


def _chosen_names(path: Path, columns: Sequence[str]) -> dict[str, str]:
    renamed = {}
    for name, others in _OTHER_NAMES.items():
        found = [other for other in others if other in columns]
        if name in columns or not found:
            continue
        if len(found) > 1 and name in _ONE_OF:
            raise SchemaError(
                f"{path}: the columns {' and '.join(found)} could both be {name}. Rename the one that is "
                f"meant {name}."
            )
        renamed[found[0]] = name
    return renamed


def _refuse_alike(path: Path, columns: Sequence[str]) -> None:
    for name in (*TEXTS, *AMOUNTS):
        alike = {fold(name), *_ALIKE.get(name, ())}
        found = next((column for column in columns if fold(column) in alike), None)
        if name in columns or found is None:
            continue
        raise SchemaError(
            f"{path}: the column {found!r} is not read, and looks like {name}. Rename it "
            f"{name}{_UNITS.get(name, '')}, or take it out."
        )
    for name in ("pert_dose", "pert_time"):
        if f"{name}_unit" in columns and name not in columns:
            raise SchemaError(f"{path} has a column {name}_unit and no {name}. Add {name}, or take it out.")


def _with_texts(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    present = [name for name in (*TEXTS, *AMOUNTS) if name in table.columns]
    nested = next((name for name in present if table[name].dtype.is_nested()), None)
    if nested is not None:
        raise SchemaError(f"{path}: {nested} holds lists. Write one value a row, combinations as A+B.")
    text = [name for name in present if name in TEXTS or table[name].dtype not in (pl.Float64, pl.Float32)]
    stripped = table.with_columns(pl.col(name).cast(pl.String).str.strip_chars() for name in text)
    return stripped.with_columns(
        pl.when(pl.col(name).is_in(_MISSING)).then(None).otherwise(pl.col(name)).alias(name) for name in text
    )

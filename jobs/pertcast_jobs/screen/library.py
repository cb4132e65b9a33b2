"""What a screen is asked to predict: a list of perturbations from a csv or parquet file, or the bundle's own.

Every fault of a list is found before anything is predicted, and named with its row and a remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import polars as pl
from pertcast_data.compounds import Compound, canonicalise
from pertcast_data.errors import SchemaError, nearest_sentence
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.text import counted
from pertcast_data.vocabulary import (
    GENETIC_TYPES,
    PAIR_SEPARATOR,
    split_perturbation,
)

from pertcast_jobs.screen.amounts import in_unit
from pertcast_jobs.screen.list_file import read_list

ScreenKind = Literal["compounds", "genes", "pairs", "table"]

TYPES_OF_KIND: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "compounds": ("trt_cp",),
        "genes": GENETIC_TYPES,
        "pairs": (*GENETIC_TYPES, "trt_cp"),
        "table": (*GENETIC_TYPES, "trt_cp"),
    }
)
"""Perturbation types that each kind of screen takes."""

LIBRARY_SCHEMA: Final = MappingProxyType(
    {
        "row": pl.Int64,
        "pert_id": pl.String,
        "pert_type": pl.String,
        "cmap_name": pl.String,
        "canonical_smiles": pl.String,
        "inchi_key": pl.String,
        "targets": pl.String,
        "cell_iname": pl.String,
        "pert_dose": pl.Float64,
        "pert_time": pl.Float64,
    }
)
"""Columns of a library; `row` is the line in the user's table, from 1. Dose in uM, time in h."""

_STRUCTURES_A_NOTE: Final = 100
_MOST_SHOWN: Final = 60
"""Letters of a name that a message shows."""
_SPACED: Final = r"\s+\+\s*|\s*\+\s+"
"""A plus with blanks: "A + B" is "A+B"."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that cannot be predicted: where, what, why, and what it may have meant."""

    row: int
    pert_id: str
    field: str
    message: str
    suggestions: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in one line."""
        nearest = nearest_sentence(self.suggestions)
        return f"row {self.row} ({_shown(self.pert_id)}): {_shown(self.message, 400)}{nearest}"


def _shown(text: str, most: int = _MOST_SHOWN) -> str:
    """Return a text as a message shows it: in one line, without control characters, not endless."""
    plain = text if text.isprintable() else repr(text)[1:-1]
    return plain if len(plain) <= most else f"{plain[: most - 20]}... ({len(plain):,} letters)"


@dataclass(frozen=True, slots=True)
class Library:
    """Perturbations to screen.

    Attributes
    ----------
    frame
        `LIBRARY_SCHEMA`. Null cell lines, doses and times are crossed with the screen's; given ones stay.
    source
        File name, or what the bundle supplied.
    refused
        Rows already known to be unpredictable (structures that are none).
    n_repeated
        Rows left out because an earlier one says the same.
    """

    frame: pl.DataFrame
    source: str
    refused: tuple[Refusal, ...] = field(default=())
    n_repeated: int = 0


def read_library(path: Path | str, kind: ScreenKind, progress: ProgressCallback = no_progress) -> Library:
    """Read a list with sig_info columns.

    pert_id, and where known pert_type, cmap_name, canonical_smiles, targets, cell_iname, pert_dose with
    pert_dose_unit, pert_time with pert_time_unit; other columns are ignored, but for those that
    `pertcast_jobs.screen.list_file` refuses. Rows count from 1 below the header; blank lines do not count.

    Parameters
    ----------
    path
        csv, tsv, semicolons or parquet; the content decides.
    kind
        What the list holds.
    progress
        Called as structures are made canonical.

    Raises
    ------
    FormatError
        The file is no table that can be read.
    SchemaError
        It has no rows or no pert_id (or structure), a column is unclear, or a row's type or number is wrong.
    UnitError
        A unit is not known.
    """
    path = Path(path)
    table = read_list(path)
    if table.is_empty():
        raise SchemaError(f"{path} has no rows. List at least one perturbation.")
    if not {"pert_id", "canonical_smiles"} & set(table.columns):
        raise SchemaError(
            f"{path} has no column pert_id (it has {', '.join(table.columns)}). Name the column of gene "
            "symbols or compound ids pert_id."
        )
    table = table.with_row_index("row", offset=1).with_columns(pl.col("row").cast(pl.Int64))
    table = _with_types(table, kind, path)
    table = in_unit(table, "pert_dose", path, of_genes=kind == "genes")
    table = in_unit(table, "pert_time", path)
    table, refused = _with_structures(table, progress)
    frame = _fit(_with_ids(table, path))
    unclear = () if kind == "pairs" else _named_twice(frame)
    unclear = (*unclear, *_other_structures(frame))
    frame = frame.filter(~pl.col("row").is_in([item.row for item in unclear]))
    refused = tuple(sorted((*refused, *unclear), key=lambda item: item.row))
    distinct = frame.unique(subset=[name for name in frame.columns if name != "row"], keep="first")
    return Library(distinct.sort("row"), path.name, refused, frame.height - distinct.height)


def library_of(perturbations: pl.DataFrame, source: str) -> Library:
    """Make a library of perturbations that a bundle knows: pert_id, pert_type and whatever else it tells."""
    table = perturbations.with_row_index("row", offset=1)
    return Library(_fit(table), source)


def _with_types(table: pl.DataFrame, kind: ScreenKind, path: Path) -> pl.DataFrame:
    allowed = TYPES_OF_KIND[kind]
    if "pert_type" not in table.columns:
        table = table.with_columns(pert_type=pl.lit(None, dtype=pl.String))
    wrong = table.filter(~pl.col("pert_type").is_in(allowed))
    if wrong.height:
        row, value = wrong.row(0, named=True)["row"], wrong["pert_type"][0]
        raise SchemaError(
            f"{path}, row {row}: pert_type is {value!r}; a screen of {kind} takes {', '.join(allowed)} "
            f"({counted(wrong.height, 'such row')}). Take them out, or screen them as another kind."
        )
    if kind == "compounds":
        table = table.with_columns(pl.col("pert_type").fill_null("trt_cp"))
    return table


def _with_structures(
    table: pl.DataFrame, progress: ProgressCallback
) -> tuple[pl.DataFrame, tuple[Refusal, ...]]:
    """Canonicalise the structures; rows whose structure is none are refused."""
    if "canonical_smiles" not in table.columns:
        return table, ()
    distinct = table["canonical_smiles"].drop_nulls().unique(maintain_order=True).to_list()
    known: dict[str, Compound | None] = {}
    for number, smiles in enumerate(distinct):
        if number % _STRUCTURES_A_NOTE == 0:
            progress(number, len(distinct), "structures")
        known[smiles] = canonicalise(smiles)
    names = table["pert_id"].to_list() if "pert_id" in table.columns else [None] * table.height
    refused = tuple(
        Refusal(row, name or smiles, "canonical_smiles", f"{smiles!r} is no valid SMILES.")
        for row, name, smiles in zip(table["row"], names, table["canonical_smiles"], strict=True)
        if smiles is not None and known[smiles] is None
    )
    keys = {smiles: found.inchi_key for smiles, found in known.items() if found is not None}
    written = {smiles: found.canonical_smiles for smiles, found in known.items() if found is not None}
    bad = {refusal.row for refusal in refused}
    table = table.filter(~pl.col("row").is_in(bad)).with_columns(
        inchi_key=pl.col("canonical_smiles").replace_strict(keys, default=None, return_dtype=pl.String),
        canonical_smiles=pl.col("canonical_smiles").replace_strict(
            written, default=None, return_dtype=pl.String
        ),
    )
    return table, refused


def _named_twice(frame: pl.DataFrame) -> tuple[Refusal, ...]:
    """Refuse combinations of a perturbation with itself: what that is, no training data say."""
    joined = frame.filter(pl.col("pert_id").str.contains(PAIR_SEPARATOR, literal=True))
    return tuple(
        Refusal(row, name, "pert_id", "names one perturbation twice. Name each once.")
        for row, name in joined.select("row", "pert_id").iter_rows()
        if len(set(split_perturbation(name))) < len(split_perturbation(name))
    )


def _other_structures(frame: pl.DataFrame) -> tuple[Refusal, ...]:
    """Refuse rows whose compound has another structure in an earlier row: one name cannot stand for both."""
    stated = frame.filter(pl.col("inchi_key").is_not_null())
    first = stated.group_by("pert_id", maintain_order=True).agg(
        pl.col("row").first().alias("earlier"), pl.col("inchi_key").first().alias("known")
    )
    other = stated.join(first, on="pert_id", maintain_order="left").filter(
        pl.col("inchi_key") != pl.col("known")
    )
    return tuple(
        Refusal(
            row,
            name,
            "canonical_smiles",
            f"row {earlier} gives {name!r} another structure. Give each structure a pert_id of its own.",
        )
        for row, name, earlier in other.select("row", "pert_id", "earlier").iter_rows()
    )


def _with_ids(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Fill a missing pert_id with the name, else with the structure's key."""
    for name in ("pert_id", "cmap_name", "inchi_key"):
        if name not in table.columns:
            table = table.with_columns(pl.lit(None, dtype=pl.String).alias(name))
    joined = [pl.col(name).str.replace_all(_SPACED, PAIR_SEPARATOR) for name in ("pert_id", "targets")]
    if "targets" not in table.columns:
        joined = joined[:1]
    table = table.with_columns(joined).with_columns(pl.coalesce("pert_id", "cmap_name", "inchi_key"))
    nameless = table.filter(pl.col("pert_id").is_null())
    if nameless.height:
        raise SchemaError(
            f"{path}, row {nameless['row'][0]}: no pert_id, cmap_name or structure "
            f"({counted(nameless.height, 'such row')}). Give each row one of them."
        )
    return table


def _fit(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(
        (pl.col(name) if name in table.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in LIBRARY_SCHEMA.items()
    )

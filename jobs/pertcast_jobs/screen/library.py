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
from pertcast_data.errors import FormatError, SchemaError, UnitError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.vocabulary import GENETIC_TYPES, dose_in_micromolar, time_in_hours

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

_OTHER_NAMES: Final = MappingProxyType(
    {
        "pert_id": ("gene", "gene_symbol", "symbol", "compound", "drug"),
        "canonical_smiles": ("smiles", "SMILES"),
        "cmap_name": ("pert_iname", "name"),
        "cell_iname": ("cell_id", "cell_line"),
    }
)
_STRUCTURES_A_NOTE: Final = 100
_MISSING: Final = ("", "-666", "-666.0", "nan", "NaN", "NA", "null", "None")


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
        nearest = f" Nearest known: {', '.join(self.suggestions)}." if self.suggestions else ""
        return f"row {self.row} ({self.pert_id}): {self.message}{nearest}"


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
    pert_dose_unit, pert_time with pert_time_unit; other columns are ignored. Rows count from 1 below the
    header.

    Parameters
    ----------
    path
        csv, tsv or parquet; the content decides.
    kind
        What the list holds.
    progress
        Called as structures are made canonical.

    Raises
    ------
    FormatError
        The file is neither csv nor parquet.
    SchemaError
        It has no rows or no pert_id (or structure), or a row's type, number or unit is wrong.
    """
    path = Path(path)
    table = _with_known_names(_read_table(path))
    if table.is_empty():
        raise SchemaError(f"{path} has no rows. List at least one perturbation.")
    if not {"pert_id", "canonical_smiles"} & set(table.columns):
        raise SchemaError(
            f"{path} has no column pert_id (it has {', '.join(table.columns)}). Name the column of gene "
            "symbols or compound ids pert_id."
        )
    table = table.with_row_index("row", offset=1).with_columns(pl.col("row").cast(pl.Int64))
    table = _with_types(table, kind, path)
    table = _in_unit(table, "pert_dose", path)
    table = _in_unit(table, "pert_time", path)
    table, refused = _with_structures(table, progress)
    table = _with_ids(table, path)
    frame = _fit(table)
    distinct = frame.unique(subset=[name for name in frame.columns if name != "row"], keep="first")
    return Library(distinct.sort("row"), path.name, refused, frame.height - distinct.height)


def library_of(perturbations: pl.DataFrame, source: str) -> Library:
    """Make a library of perturbations that a bundle knows: pert_id, pert_type and whatever else it tells."""
    table = perturbations.with_row_index("row", offset=1)
    return Library(_fit(table), source)


def _read_table(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise FormatError(f"{path} does not exist. Name a csv or parquet file with a column pert_id.")
    with path.open("rb") as stream:
        is_parquet = stream.read(4) == b"PAR1"
    try:
        if is_parquet:
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False, separator=_separator(path))
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is neither a csv nor a parquet table: {error}") from error


def _separator(path: Path) -> str:
    with path.open("rb") as stream:
        header = stream.readline(1 << 16).decode("utf-8")
    return "\t" if header.count("\t") > header.count(",") else ","


def _with_known_names(table: pl.DataFrame) -> pl.DataFrame:
    table = table.rename({name: name.strip() for name in table.columns})
    for name, others in _OTHER_NAMES.items():
        found = next((other for other in others if other in table.columns), None)
        if name not in table.columns and found is not None:
            table = table.rename({found: name})
    text = [name for name, dtype in table.schema.items() if dtype == pl.String]
    stripped = [pl.col(name).str.strip_chars() for name in text]
    table = table.with_columns(stripped)
    return table.with_columns(
        pl.when(pl.col(name).is_in(_MISSING)).then(None).otherwise(pl.col(name)).alias(name) for name in text
    )


def _with_types(table: pl.DataFrame, kind: ScreenKind, path: Path) -> pl.DataFrame:
    allowed = TYPES_OF_KIND[kind]
    if "pert_type" not in table.columns:
        table = table.with_columns(pert_type=pl.lit(None, dtype=pl.String))
    wrong = table.filter(~pl.col("pert_type").is_in(allowed))
    if wrong.height:
        row, value = wrong.row(0, named=True)["row"], wrong["pert_type"][0]
        raise SchemaError(
            f"{path}, row {row}: pert_type is {value!r}; a screen of {kind} takes {', '.join(allowed)} "
            f"({wrong.height} such rows). Take them out, or screen them as another kind."
        )
    if kind == "compounds":
        table = table.with_columns(pl.col("pert_type").fill_null("trt_cp"))
    return table


def _in_unit(table: pl.DataFrame, name: str, path: Path) -> pl.DataFrame:
    """Turn a dose or time with its unit column into uM or h."""
    if name not in table.columns:
        return table
    convert, default = (dose_in_micromolar, "uM") if name == "pert_dose" else (time_in_hours, "h")
    unit = f"{name}_unit"
    units = table[unit].to_list() if unit in table.columns else [None] * table.height
    values: list[float | None] = []
    for row, (value, word) in enumerate(zip(table[name].to_list(), units, strict=True), start=1):
        if value is None or float_or_none(value) == -666:
            values.append(None)
            continue
        number = float_or_none(value)
        if number is None or number < 0:
            raise SchemaError(
                f"{path}, row {row}: {name} is {value!r}. Write a number, with its unit in {unit}."
            )
        try:
            values.append(convert(number, word or default))
        except UnitError as error:
            raise UnitError(f"{path}, row {row}: {error}") from error
    return table.with_columns(pl.Series(name, values, dtype=pl.Float64))


def float_or_none(value: object) -> float | None:
    """Return a finite number, or None where `value` is none."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


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


def _with_ids(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Fill a missing pert_id with the name, else with the structure's key."""
    for name in ("pert_id", "cmap_name", "inchi_key"):
        if name not in table.columns:
            table = table.with_columns(pl.lit(None, dtype=pl.String).alias(name))
    table = table.with_columns(pl.coalesce("pert_id", "cmap_name", "inchi_key"))
    nameless = table.filter(pl.col("pert_id").is_null())
    if nameless.height:
        raise SchemaError(
            f"{path}, row {nameless['row'][0]}: no pert_id, cmap_name or structure "
            f"({nameless.height} such rows). Give each row one of them."
        )
    return table


def _fit(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(
        (pl.col(name) if name in table.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in LIBRARY_SCHEMA.items()
    )

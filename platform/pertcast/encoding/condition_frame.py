"""A user's or a store's table of conditions as one typed frame: units converted, every column there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl
from pertcast_data.errors import SchemaError, nearest_known
from pertcast_data.vocabulary import (
    CONTROL_TYPES,
    DOSE_UNITS_IN_UM,
    PERTURBATION_KINDS,
    TIME_UNITS_IN_HOURS,
)

from pertcast.encoding.problems import Fault, missing_value, unknown_unit

TEXT_COLUMNS: Final = (
    "cell_iname",
    "pert_type",
    "pert_id",
    "cmap_name",
    "pert_dose_unit",
    "pert_time_unit",
    "canonical_smiles",
    "inchi_key",
    "targets",
    "batch_id",
)
NUMBER_COLUMNS: Final = ("pert_dose", "pert_time")
PERTURBATION_COLUMNS: Final = (
    "pert_type",
    "pert_id",
    "cmap_name",
    "targets",
    "canonical_smiles",
    "inchi_key",
)
COMPOUND_TYPE: Final = "trt_cp"
KNOWN_TYPES: Final = (*PERTURBATION_KINDS, *CONTROL_TYPES)


def condition_frame(table: pl.DataFrame, only_type: str | None = None) -> pl.DataFrame:
    """Return the table's CMap columns, typed; dose in uM, time in hours, "" as null.

    Parameters
    ----------
    table
        At least cell_iname and one of pert_id, cmap_name, targets. Units default to uM and hours.
    only_type
        pert_type of a table without that column; the column is required where None.

    Raises
    ------
    SchemaError
        A column is missing, or a number column holds text that is no number.
    """
    if "pert_type" not in table.columns and only_type is not None:
        table = table.with_columns(pert_type=pl.lit(only_type))
    for required in ("cell_iname", "pert_type"):
        _require(table, required)
    if not {"pert_id", "cmap_name", "targets", "canonical_smiles"} & set(table.columns):
        _require(table, "pert_id")
    frame = table.select(*_texts(table), *_numbers(table))
    for name in set(NUMBER_COLUMNS) & set(table.columns):
        if table[name].null_count() != frame[name].null_count():
            _refuse_no_number(table[name])
    return frame.with_columns(pl.col(NUMBER_COLUMNS).fill_nan(None))


def _require(table: pl.DataFrame, name: str) -> None:
    if name not in table.columns:
        nearest = nearest_known(name, table.columns)
        hint = f" Did you mean {nearest[0]!r}? Rename it." if nearest else " Add it."
        raise SchemaError(f"The table has no column {name!r} (it has {', '.join(table.columns)}).{hint}")


def _texts(table: pl.DataFrame) -> Iterator[pl.Expr]:
    for name in TEXT_COLUMNS:
        if name in table.columns:
            stripped = pl.col(name).cast(pl.String).str.strip_chars()
            yield pl.when(stripped != "").then(stripped).alias(name)
        else:
            yield pl.lit(None, dtype=pl.String).alias(name)


def _numbers(table: pl.DataFrame) -> Iterator[pl.Expr]:
    for name in NUMBER_COLUMNS:
        found = pl.col(name) if name in table.columns else pl.lit(None)
        yield found.cast(pl.Float64, strict=False).alias(name)


def _refuse_no_number(values: pl.Series) -> None:
    """Raise for a text that is no number; nothing is raised where there is none."""
    wrong = values.filter(values.is_not_null() & values.cast(pl.Float64, strict=False).is_null())
    if len(wrong):
        raise SchemaError(
            f"Column {values.name!r} holds {wrong[0]!r}, which is no number. Write numbers only."
        )


def convert_units(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, Fault]]:
    """Return the frame with doses in uM and times in hours, and the rows whose unit is not known.

    The dose unit of a genetic perturbation is not looked at: its dose is no concentration.
    """
    faults: dict[int, Fault] = {}
    has_dose = (frame["pert_type"] == COMPOUND_TYPE).fill_null(False) & frame["pert_dose"].is_not_null()
    dose = _converted(frame, "pert_dose", has_dose, DOSE_UNITS_IN_UM, faults)
    has_time = frame["pert_time"].is_not_null()
    time = _converted(frame, "pert_time", has_time, TIME_UNITS_IN_HOURS, faults)
    return frame.with_columns(dose, time), faults


def _converted(
    frame: pl.DataFrame, name: str, used: pl.Series, factors: Mapping[str, float], faults: dict[int, Fault]
) -> pl.Series:
    if frame[f"{name}_unit"].null_count() == frame.height or not used.any():
        return frame[name]
    unit = frame[f"{name}_unit"].str.to_lowercase()
    factor = unit.replace_strict(dict(factors), default=None, return_dtype=pl.Float64)
    for row in (used & unit.is_not_null() & factor.is_null()).arg_true().to_list():
        faults[row] = unknown_unit(f"{name}_unit", str(frame[f"{name}_unit"][row]), tuple(factors))
    return (
        frame[name] * pl.select(pl.when(used).then(factor.fill_null(1.0)).otherwise(1.0)).to_series()
    ).alias(name)


def row_faults(frame: pl.DataFrame, contexts: tuple[str, ...]) -> dict[int, Fault]:
    """Return rows without a cell line or with an unknown pert_type.

    A store may have profiles without a cell line: the nameless context "" is then known.
    """
    faults: dict[int, Fault] = {}
    if "" not in contexts:
        for row in frame["cell_iname"].is_null().arg_true().to_list():
            faults[row] = missing_value("cell_iname")
    for row in (~frame["pert_type"].is_in(KNOWN_TYPES)).fill_null(True).arg_true().to_list():
        value = frame["pert_type"][row]
        remedy = f"Use one of {', '.join(KNOWN_TYPES)}."
        faults[row] = (
            missing_value("pert_type")
            if value is None
            else Fault(SchemaError, "pert_type", value, remedy, KNOWN_TYPES)
        )
    return faults

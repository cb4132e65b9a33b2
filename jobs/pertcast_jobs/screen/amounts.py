"""Doses and times that a list or an option states: in uM and h, and only such as an experiment can have."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl
from pertcast_data.errors import SchemaError, UnitError
from pertcast_data.vocabulary import GENETIC_TYPES, dose_in_micromolar, time_in_hours

_UNIT: Final = MappingProxyType({"pert_dose": "uM", "pert_time": "h"})
_CONVERT: Final = MappingProxyType({"pert_dose": dose_in_micromolar, "pert_time": time_in_hours})
_LIMITS: Final = MappingProxyType({"pert_dose": (1e-9, 1e8), "pert_time": (1e-3, 1e5)})
"""From a femtomolar to 100 mol/l (water is 55); from four seconds to eleven years."""
_OF_ZERO: Final = MappingProxyType(
    {"pert_dose": "without a dose a compound is a control", "pert_time": "nothing has happened yet"}
)


def amount_problem(name: str, value: float) -> str | None:
    """Return why a dose in uM (`pert_dose`) or time in h (`pert_time`) cannot be screened; None if it can."""
    least, most = _LIMITS[name]
    if value == 0:
        return f"{_OF_ZERO[name]}. Write a number above 0, or leave it out."
    if not least <= value <= most:
        return f"no experiment has {value:g} {_UNIT[name]} ({least:g} to {most:,.0f}). Check number and unit."
    return None


def in_unit(table: pl.DataFrame, name: str, path: Path, *, of_genes: bool = False) -> pl.DataFrame:
    """Turn a dose or time with its unit column into uM or h; the dose of a gene is no concentration.

    `of_genes`: rows without a pert_type are genes. Raises SchemaError or UnitError that name file and row.
    """
    if name not in table.columns:
        return table
    unit = f"{name}_unit"
    units = table[unit].to_list() if unit in table.columns else [None] * table.height
    rows = zip(table["row"], table[name], units, table["pert_type"], strict=True)
    values: list[float | None] = []
    for row, value, word, kind in rows:
        if value is None or float_or_none(value) == -666:
            values.append(None)
            continue
        number = float_or_none(value)
        if number is None or number < 0:
            raise SchemaError(
                f"{path}, row {row}: {name} is {value!r}. Write a number, with its unit in {unit}."
            )
        if name == "pert_dose" and (of_genes or kind in GENETIC_TYPES):
            values.append(number)
            continue
        try:
            converted = _CONVERT[name](number, word or _UNIT[name])
        except UnitError as error:
            raise UnitError(f"{path}, row {row}: {error}") from error
        if (problem := amount_problem(name, converted)) is not None:
            raise SchemaError(f"{path}, row {row}: {name} is {value!r}: {problem}")
        values.append(converted)
    return table.with_columns(pl.Series(name, values, dtype=pl.Float64))


def float_or_none(value: object) -> float | None:
    """Return a finite number, or None where `value` is none."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None

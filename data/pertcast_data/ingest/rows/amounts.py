"""Doses and times: numbers, "10 uM", "24 h", "1+1" and unit columns become uM and hours.

A unit that is not known is an error with its row; a missing one is assumed and said.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl

from pertcast_data.errors import UnitError
from pertcast_data.ingest.rows.amount_text import (
    AmountText,
    different_amounts,
    parse_amount,
    plain_unit,
    refused_amount,
)
from pertcast_data.vocabulary import dose_in_micromolar, time_in_hours


@dataclass(frozen=True, slots=True)
class AmountKind:
    """What a column of amounts measures."""

    name: str
    unit: str
    convert: Callable[[float, str], float]
    name_units: tuple[tuple[str, str], ...]


DOSE: Final = AmountKind(
    "pert_dose", "uM", dose_in_micromolar, (("_um", "uM"), ("_nm", "nM"), ("_mm", "mM"), ("_pm", "pM"))
)
TIME: Final = AmountKind(
    "pert_time",
    "h",
    time_in_hours,
    (("hours", "h"), ("_h", "h"), ("_hr", "h"), ("_hrs", "h"), ("_min", "min"), ("days", "d"), ("_d", "d")),
)


@dataclass(frozen=True, slots=True)
class Amounts:
    """A column of amounts in one unit, and how many of them had no unit of their own."""

    values: pl.Series
    n_without_unit: int


def read_amounts(
    amounts: pl.Series,
    units: pl.Series | None,
    names: pl.Series,
    kind: AmountKind,
    source_column: str,
    where: str,
) -> Amounts:
    """Convert a column of amounts.

    Parameters
    ----------
    amounts
        Numbers or text (`amount_text.parse_amount` tells which are understood); null stays null.
    units
        A unit for each row, or None; a unit inside the text counts more.
    names
        The rows' names, for messages.
    kind
        DOSE or TIME.
    source_column
        Folded name of the column, whose ending may tell the unit ("dose_nm").
    where
        The file, for messages.

    Returns
    -------
    Amounts
        Float64 values in uM or hours, with nine significant digits.

    Raises
    ------
    UnitError
        A unit is unknown.
    SchemaError
        A text is no amount or tells none that is sure (a range, "1,000"), an amount is negative, or those of
        a combination differ.
    """
    from_name = next((unit for ending, unit in kind.name_units if source_column.endswith(ending)), None)
    unit_texts = pl.Series([None] * len(amounts)) if units is None else units
    # Text of a float32 is its shortest form: 11.1 stays 11.1 and does not become 11.100000381.
    pairs = pl.DataFrame(
        {"amount": amounts.cast(pl.String), "unit": unit_texts.cast(pl.String), "row": names}
    )
    distinct = pairs.unique(["amount", "unit"], keep="first", maintain_order=True)
    values: list[float | None] = []
    bare: list[bool] = []
    for text, own, row in distinct.iter_rows():
        parts = () if text is None else parse_amount(text, kind.name, f"{where}, row {row}")
        fallback = plain_unit(own) or from_name
        values.append(_in_one_unit(parts, fallback, kind, f"{where}, row {row}"))
        bare.append(bool(parts) and parts[0].unit is None and fallback is None)
    table = distinct.select("amount", "unit").with_columns(
        value=pl.Series(values, dtype=pl.Float64), bare=pl.Series(bare, dtype=pl.Boolean)
    )
    joined = pairs.join(table, on=["amount", "unit"], how="left", nulls_equal=True, maintain_order="left")
    return Amounts(joined["value"].alias(kind.name), int(joined["bare"].sum()))


def _in_one_unit(
    parts: tuple[AmountText, ...], fallback: str | None, kind: AmountKind, where: str
) -> float | None:
    """Return the one amount of all members of a combination, None where there is no amount."""
    values = {_converted(part, fallback, kind, where) for part in parts}
    if len(values) > 1:
        raise different_amounts(" + ".join(part.text for part in parts), kind.name, where)
    return values.pop() if values else None


def _converted(part: AmountText, fallback: str | None, kind: AmountKind, where: str) -> float:
    unit = part.unit or fallback or kind.unit
    try:
        value = float(f"{kind.convert(part.number, unit):.9g}")
    except UnitError as error:
        said = str(error).replace(unit, f"{unit[:60]}...") if len(unit) > 60 else str(error)
        raise UnitError(f"{where}, {kind.name}_unit: {said}") from None
    if math.isinf(value):
        raise refused_amount(part.text, "is too large", kind.name, where)
    return value

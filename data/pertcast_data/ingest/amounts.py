"""Doses and times: numbers, "10 uM", "24 h", "1+1" and unit columns become uM and hours.

A unit that is not known is an error with its row; a missing one is assumed and said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl

from pertcast_data.errors import SchemaError, UnitError
from pertcast_data.vocabulary import dose_in_micromolar, time_in_hours

_AMOUNT: Final = re.compile(r"^([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\D.*)?$")
_MICRO: Final = re.compile(r"<b5>|Âµ|µ|μ|\ufffd", re.IGNORECASE)
_SUM: Final = re.compile(r"^\d+(?:\.\d+)?(?:\+\d+(?:\.\d+)?)+$")


@dataclass(frozen=True, slots=True)
class AmountKind:
    """What a column of amounts measures."""

    name: str
    unit: str
    convert: Callable[[float, str], float]
    name_units: tuple[tuple[str, str], ...]


DOSE: Final = AmountKind("pert_dose", "uM", dose_in_micromolar, (("_um", "uM"), ("_nm", "nM"), ("_mm", "mM")))
TIME: Final = AmountKind(
    "pert_time",
    "h",
    time_in_hours,
    (("hours", "h"), ("_h", "h"), ("_hr", "h"), ("_min", "min"), ("days", "d")),
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
        Numbers or text; null stays null.
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
        Float64 values in uM or hours.

    Raises
    ------
    UnitError
        A unit is unknown.
    SchemaError
        A text is no amount, or the doses of a combination differ.
    """
    from_name = next((unit for ending, unit in kind.name_units if source_column.endswith(ending)), None)
    texts = _as_text(amounts)
    unit_column = pl.Series([None] * len(texts), dtype=pl.String) if units is None else units.cast(pl.String)
    pairs = pl.DataFrame({"amount": texts, "unit": unit_column, "row": names})
    distinct = pairs.unique(["amount", "unit"], keep="first", maintain_order=True)
    values: list[float | None] = []
    bare: list[bool] = []
    for text, unit, row in distinct.iter_rows():
        number, own_unit = _parse(text, kind, f"{where}, row {row}")
        unit = own_unit or _unit(unit) or from_name
        bare.append(number is not None and unit is None)
        values.append(_convert(number, unit, kind, f"{where}, row {row}"))
    table = distinct.select("amount", "unit").with_columns(
        value=pl.Series(values, dtype=pl.Float64), bare=pl.Series(bare, dtype=pl.Boolean)
    )
    joined = pairs.join(table, on=["amount", "unit"], how="left", nulls_equal=True, maintain_order="left")
    return Amounts(joined["value"].alias(kind.name), int(joined["bare"].sum()))


def _as_text(amounts: pl.Series) -> pl.Series:
    # Text of a float32 is its shortest form: 11.1 stays 11.1 and does not become 11.100000381.
    return amounts.cast(pl.String)


def _parse(text: str | None, kind: AmountKind, where: str) -> tuple[float | None, str | None]:
    if text is None:
        return None, None
    if _SUM.match(text):
        parts = {float(part) for part in text.split("+")}
        if len(parts) > 1:
            raise SchemaError(
                f"{where}: the parts of a combination have different amounts ({text!r} in {kind.name}); one "
                "amount a condition is supported. Exclude these rows or map the column to a constant."
            )
        return parts.pop(), None
    match = _AMOUNT.match(text.strip())
    if match is None:
        raise SchemaError(
            f"{where}: {text!r} is no {kind.name}. Map it in the mapping file, e.g. "
            f"`{kind.name}: {{column: NAME, values: {{{text!r}: null}}}}`."
        )
    return float(match[1]), _unit(match[2])


def _unit(text: str | None) -> str | None:
    # Exports break the micro sign in several ways; all of them mean micro.
    return _MICRO.sub("u", text.strip()) if text and text.strip() else None


def _convert(number: float | None, unit: str | None, kind: AmountKind, where: str) -> float | None:
    if number is None:
        return None
    try:
        return float(f"{kind.convert(number, unit or kind.unit):.9g}")
    except UnitError as error:
        raise UnitError(f"{where}, {kind.name}_unit: {error}") from None

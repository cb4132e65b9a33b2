"""What a table of drug sensitivity holds, whichever layout it came in: drugs, cell lines, measured pairs.

Checks that are the same for every layout live here: numbers that are none, values out of range, repeats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

import polars as pl
from pertcast_data.errors import SchemaError

Layout = Literal["long", "matrix", "triples"]
ValueName = Literal["ln_ic50", "auc"]

VALUE_NAMES: Final[tuple[ValueName, ...]] = ("ln_ic50", "auc")
RANGES: Final = MappingProxyType({"ln_ic50": (-25.0, 25.0), "auc": (-0.5, 5.0)})
"""What can be believed: natural logarithm of uM, and a mean viability (1: nothing dies)."""

DRUG_SCHEMA: Final = pl.Schema(
    {
        "drug": pl.String(),
        "pert_id": pl.String(),
        "names": pl.List(pl.String),
        "canonical_smiles": pl.String(),
    }
)
LINE_SCHEMA: Final = pl.Schema({"line": pl.String(), "names": pl.List(pl.String)})
PAIR_SCHEMA: Final = pl.Schema(
    {"drug": pl.String(), "line": pl.String(), "ln_ic50": pl.Float64(), "auc": pl.Float64()}
)

_MISSING: Final = ("", "-666", "-666.0", "nan", "NaN", "NA", "N/A", "null", "None")
_REMEDIES: Final = MappingProxyType(
    {
        "ln_ic50": "Write the natural logarithm of the IC50 in uM; -666 or an empty cell is a missing value",
        "auc": "Write the area under the dose-response curve as a mean viability, 0 to 1",
    }
)


@dataclass(frozen=True)
class SensitivityTable:
    """A table of drug sensitivity, read.

    Attributes
    ----------
    drugs
        One row a drug: drug (its key in the table), pert_id, names, canonical_smiles as far as given.
    lines
        One row a cell line: line (its key), names (the key among them).
    pairs
        One row a measured pair: drug, line, ln_ic50 (natural logarithm of uM), auc (0 to 1); null where the
        table holds none.
    source
        File name.
    layout
        "long" (a pair a row), "matrix" (drugs x lines), "triples" (line, SMILES, AUC without a header).
    remarks
        Sentences about what was dropped, averaged or not found.
    """

    drugs: pl.DataFrame
    lines: pl.DataFrame
    pairs: pl.DataFrame
    source: str
    layout: Layout
    remarks: tuple[str, ...] = field(default=())

    @property
    def values(self) -> tuple[ValueName, ...]:
        """Names of the measured values that the table holds, ln_ic50 first."""
        return tuple(name for name in VALUE_NAMES if self.pairs[name].count())

    def require_value(self, asked: str | None = None) -> ValueName:
        """Return the value to predict: the one asked for, else ln_ic50, else auc.

        Raises
        ------
        SchemaError
            The table does not hold it.
        """
        held = self.values
        if asked is None and held:
            return held[0]
        for name in held:
            if name == asked:
                return name
        raise SchemaError(
            f"{self.source} holds no {asked or 'ln_ic50 or auc'}; it holds {', '.join(held) or 'no values'}. "
            "Ask for what it holds, or use a table with that column."
        )


def text_or_null(column: str) -> pl.Expr:
    """Return a column as stripped text, null for every way of writing that there is none."""
    text = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(text.is_in(_MISSING)).then(None).otherwise(text).alias(column)


def numbers(column: pl.Series, name: str, source: str, first_row: int = 1) -> pl.Series:
    """Return a text column as float64; null where there is no value.

    Parameters
    ----------
    column
        Text, as `text_or_null` leaves it.
    name
        ln_ic50 or auc: says what is believed.
    source
        File, for errors.
    first_row
        Number of the column's first row in the file.

    Raises
    ------
    SchemaError
        A value is no finite number, or lies outside `RANGES`.
    """
    found = column.cast(pl.Float64, strict=False)
    low, high = RANGES[name]
    is_wrong = column.is_not_null() & ~(found.is_finite() & found.is_between(low, high)).fill_null(False)
    if not is_wrong.any():
        return found.alias(name)
    row = int(is_wrong.arg_max() or 0)
    value = found[row]
    is_number = value is not None and math.isfinite(value)
    problem = f"lies outside {low:g} to {high:g}" if is_number else "is no number"
    raise SchemaError(
        f"{source}, row {row + first_row}: {name} is {column[row]!r}, which {problem} "
        f"({int(is_wrong.sum())} such values). {_REMEDIES[name]}."
    )


def distinct_pairs(pairs: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return one row a (drug, line), repeats averaged, empty ones dropped, and what was done in words."""
    known = pairs.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in VALUE_NAMES))
    keys = ("drug", "line")
    averaged = known.group_by(keys, maintain_order=True).agg(pl.col(name).mean() for name in VALUE_NAMES)
    remarks = []
    if empty := pairs.height - known.height:
        remarks.append(f"{empty:,} of {pairs.height:,} rows or cells hold no value.")
    if repeated := known.height - averaged.height:
        remarks.append(f"{repeated:,} rows repeat a drug and cell line; repeats were averaged.")
    typed = averaged.select(pl.col(name).cast(dtype) for name, dtype in PAIR_SCHEMA.items())
    return typed, tuple(remarks)


def require_pairs(pairs: pl.DataFrame, source: str) -> None:
    """Raise SchemaError where a table holds no value at all."""
    if pairs.is_empty():
        raise SchemaError(
            f"{source} holds no sensitivity value: every ln_ic50 and auc is empty. Give a table with values."
        )

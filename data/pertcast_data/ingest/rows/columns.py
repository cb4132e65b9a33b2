"""Which column of a file becomes which canonical column: the mapping file first, then known words.

Nothing is taken silently: every choice is written down as given or guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pertcast_data.errors import SchemaError, nearest_known
from pertcast_data.ingest.findings import LONGEST_LIST, Findings
from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.mapping.rules import ColumnRule, Scalar
from pertcast_data.ingest.rows.amount_text import plain_micro
from pertcast_data.ingest.storable import is_plain, plain_text, short_name
from pertcast_data.readers.source import SOURCE_ID
from pertcast_data.text import fold, listed
from pertcast_data.vocabulary import PAIR_SEPARATOR
from pertcast_data.words import COLUMN_WORDS

SOURCE_ROW = "source_row"
"""Row number in the file, from 0."""


@dataclass(frozen=True, slots=True)
class RowTable:
    """A file's row table on its way into the store.

    Attributes
    ----------
    path
        The file.
    frame
        Its raw columns, but those without any value.
    mapping
        What the user says.
    findings
        What is found out.
    empty
        Columns without any value: a mapping file may name them, as one file of several may have no value.
    """

    path: Path
    frame: pl.DataFrame
    mapping: IngestMapping
    findings: Findings
    empty: frozenset[str] = frozenset()

    def find(self, words: Iterable[str]) -> str | None:
        """Return the first column whose folded name is one of `words` (in their order) and holds values."""
        by_fold: dict[str, str] = {}
        for name in self.frame.columns:
            by_fold.setdefault(fold(plain_micro(name)), name)
        found = (by_fold[word] for word in words if word in by_fold)
        return next((name for name in found if self.frame[name].null_count() < self.frame.height), None)

    def require(self, column: str, said_by: str) -> pl.Series:
        """Return a column that the mapping file names; raises SchemaError where there is none."""
        if column in self.empty:
            return pl.Series(column, [None] * self.frame.height, dtype=pl.String)
        if column not in self.frame.columns:
            nearest = nearest_known(column, self.frame.columns)
            known = listed(map(short_name, self.frame.columns), 30)
            hint = f"Nearest: {', '.join(nearest)}" if nearest else f"It has {known}"
            raise SchemaError(f"{self.path}: has no column {column!r} (mapping file, {said_by}). {hint}.")
        return self.frame[column]

    def take(self, canonical: str) -> Taken | None:
        """Return the values of a canonical column as the file (or a constant) has them, None if absent."""
        rule = self.mapping.rule(canonical)
        if rule is not None:
            return self._by_rule(canonical, rule)
        column = self.find(COLUMN_WORDS.get(canonical, ()))
        if column is None:
            return None
        self.findings.decide(canonical, column, "guessed")
        return Taken(self.frame[column], column)

    def _by_rule(self, canonical: str, rule: ColumnRule) -> Taken | None:
        if rule.column is None:
            self.findings.decide(canonical, f"= {rule.value}", "given")
            if rule.value is None:
                return None
            return Taken(pl.Series(canonical, [rule.value]).new_from_index(0, self.frame.height), "")
        values = self.require(rule.column, canonical)
        if rule.column in self.empty:
            self.findings.decide(canonical, f"{rule.column} (empty)", "given")
            return None
        if rule.pattern is not None:
            values = self._matched(values, rule.pattern, canonical)
        self.findings.decide(canonical, rule.column, "given")
        replaced = _replaced(values, rule.values)
        if rule.separator is not None:
            replaced = as_text(replaced).str.replace_all(rule.separator, PAIR_SEPARATOR, literal=True)
        return Taken(replaced, rule.column)

    def _matched(self, values: pl.Series, pattern: str, canonical: str) -> pl.Series:
        matched = as_text(values).str.extract(pattern)
        filled = values.drop_nulls()
        if len(filled) and matched.null_count() == len(matched):
            held = listed(map(repr, filled.unique(maintain_order=True).to_list()), 2)
            raise SchemaError(
                f"{self.path}: no value of {values.name!r} matches {pattern!r} (mapping file, {canonical}); "
                f"it holds {held}. Correct the pattern."
            )
        return matched


@dataclass(frozen=True, slots=True)
class Taken:
    """Raw values of a canonical column and the file's name for it ("" for a constant)."""

    values: pl.Series
    column: str

    def as_text(self) -> pl.Series:
        """Return the values as text; whole floats lose their ".0"."""
        return as_text(self.values)


def as_text(values: pl.Series) -> pl.Series:
    """Return a column as text; whole floats lose their ".0" (5720.0 -> "5720")."""
    if not is_plain(values.dtype):
        return pl.Series(values.name, map(plain_text, values), dtype=pl.String)
    text = values.cast(pl.String)
    return text.str.replace(r"^(-?\d+)\.0$", "$1") if values.dtype.is_float() else text


def is_one_of(values: pl.Series, wanted: Iterable[Scalar]) -> pl.Series:
    """Return which values are among `wanted`, compared as text without regard to case; null is not."""
    words = [str(word).lower() for word in wanted if word is not None]
    return as_text(values).str.to_lowercase().is_in(words).fill_null(False)


def _replaced(values: pl.Series, table: dict[str, Scalar]) -> pl.Series:
    if not table:
        return values
    replaced = {key: None if value is None else str(value) for key, value in table.items()}
    return as_text(values).replace(replaced)


def kept_rows(table: RowTable) -> pl.Series:
    """Return which rows the mapping file keeps (all, where it says nothing)."""
    keep = pl.Series([True]).new_from_index(0, table.frame.height)
    for column, values in table.mapping.keep.items():
        hit = is_one_of(table.require(column, "keep"), values)
        table.findings.dropped.append(
            f"{int((~hit).sum()):,} rows whose {column} is not among {listed(values)}"
        )
        tell_rows(table, f"rows not kept by {column}", ~hit)
        keep = keep & hit
    for column, values in table.mapping.exclude.items():
        hit = is_one_of(table.require(column, "exclude"), values)
        table.findings.dropped.append(f"{int(hit.sum()):,} rows excluded by {column}: {listed(values)}")
        tell_rows(table, f"rows excluded by {column}", hit)
        keep = keep & ~hit
    return keep


def tell_rows(table: RowTable, reason: str, concerned: pl.Series) -> None:
    """Write down the names of the rows that a reason concerns."""
    names = table.frame[SOURCE_ID].filter(concerned)
    table.findings.list_all(reason, names.head(LONGEST_LIST), len(names))


def missing_column_error(table: RowTable, canonical: str, example: str) -> SchemaError:
    """Return the error for a canonical column that is needed and cannot be found."""
    columns = [name for name in table.frame.columns if name not in (SOURCE_ID, SOURCE_ROW)]
    held = f"It holds {listed(map(short_name, columns), 30)}." if columns else "It holds only row ids."
    return SchemaError(
        f"{table.path}: no column tells {canonical}. {held} Say it in a mapping file (--map), e.g. "
        f"`{example}`, or bring the rows' table with --obs-table FILE --key COLUMN."
    )

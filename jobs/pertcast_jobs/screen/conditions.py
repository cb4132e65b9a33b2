"""The conditions of a screen: library x cell lines x types x doses x times, in order, a block at a time.

A genome in many contexts has a million conditions; they are made on demand and never held together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
from pertcast.encoding.condition_ids import condition_ids
from pertcast_data.vocabulary import PAIR_SEPARATOR, split_perturbation

IDENTITY_SCHEMA: Final = {
    "sig_id": pl.String,
    "pert_id": pl.String,
    "cmap_name": pl.String,
    "pert_type": pl.String,
    "cell_iname": pl.String,
    "pert_dose": pl.Float64,
    "pert_dose_unit": pl.String,
    "pert_idose": pl.String,
    "pert_time": pl.Float64,
    "pert_time_unit": pl.String,
    "pert_itime": pl.String,
    "canonical_smiles": pl.String,
    "inchi_key": pl.String,
    "targets": pl.String,
}
"""Columns of a condition; `sig_id` is its readable, stable name."""

BLOCK_ROWS: Final = 8_192
_ORDER: Final = ("row", "pert_dose", "pert_time")

Amounts = Mapping[str, tuple[float | None, ...]]
"""Perturbation type -> doses (uM) or times (h); (None,) for a type that has none."""


@dataclass(frozen=True)
class Grid:
    """What a library is crossed with where its rows leave something open.

    Attributes
    ----------
    cells
        Cell lines.
    types
        Perturbation types of rows that name none.
    doses, times
        Doses in uM and times in h of each type.
    """

    cells: tuple[str, ...]
    types: tuple[str, ...]
    doses: Amounts
    times: Amounts


@dataclass(frozen=True)
class Survey:
    """What a pass over all conditions finds.

    Attributes
    ----------
    n_profiles
        Conditions.
    groups
        (cell line, type) -> conditions, in the order of the output.
    n_doses, n_times
        Distinct doses and times; a missing one counts.
    digest
        SHA-256 of all conditions.
    """

    n_profiles: int
    groups: Mapping[tuple[str, str], int]
    n_doses: int
    n_times: int
    digest: str


@dataclass(frozen=True)
class Conditions:
    """A library crossed with a grid; what a row states itself stays as stated.

    Attributes
    ----------
    library
        `pertcast_jobs.screen.library.LIBRARY_SCHEMA`, sorted by row.
    grid
        What fills its gaps.
    """

    library: pl.DataFrame
    grid: Grid

    def blocks(self, block_rows: int = BLOCK_ROWS) -> Iterator[pl.DataFrame]:
        """Yield `IDENTITY_SCHEMA` and `row`, about `block_rows` conditions at a time.

        In the order of cell line, type, library row, dose and time. Rows that name the same condition count
        once.
        """
        for cell, of_cell in _groups(self.library, "cell_iname", self.grid.cells):
            for kind, rows in _groups(of_cell, "pert_type", self.grid.types):
                yield from self._group(rows, cell, kind, block_rows)

    def table(self) -> pl.DataFrame:
        """Return all conditions at once: for libraries known to be small."""
        empty = pl.DataFrame(schema={**IDENTITY_SCHEMA, "row": pl.Int64})
        return pl.concat([empty, *self.blocks()])

    def head(self, count: int) -> pl.DataFrame:
        """Return the first conditions."""
        taken: list[pl.DataFrame] = []
        for block in self.blocks(count):
            taken.append(block)
            if sum(part.height for part in taken) >= count:
                break
        return pl.concat(taken).head(count)

    def survey(self) -> Survey:
        """Count and hash all conditions in one pass."""
        digest = hashlib.sha256()
        groups: dict[tuple[str, str], int] = {}
        doses: set[float | None] = set()
        times: set[float | None] = set()
        for block in self.blocks():
            key = (block["cell_iname"][0], block["pert_type"][0])
            groups[key] = groups.get(key, 0) + block.height
            doses.update(block["pert_dose"].unique())
            times.update(block["pert_time"].unique())
            digest.update(block.drop("row").write_csv(include_header=False).encode())
        return Survey(sum(groups.values()), groups, len(doses), len(times), digest.hexdigest())

    def _group(self, rows: pl.DataFrame, cell: str, kind: str, block_rows: int) -> Iterator[pl.DataFrame]:
        """Cross the rows of one cell line and type; only rows of one name can name a condition twice."""
        doses, times = self.grid.doses[kind], self.grid.times[kind]
        rows = rows.with_columns(
            cell_iname=pl.lit(cell), pert_type=pl.lit(kind), is_repeated=_names(rows).is_duplicated()
        )
        seen: set[str] = set()
        step = max(1, block_rows // (len(doses) * len(times)))
        for start in range(0, rows.height, step):
            crossed = _crossed(_crossed(rows[start : start + step], "pert_dose", doses), "pert_time", times)
            block = _named(crossed.sort(_ORDER, nulls_last=False, maintain_order=True))
            suspects = block.filter("is_repeated")["sig_id"].to_list()
            known = [name for name in suspects if name in seen]
            seen.update(suspects)
            block = block.filter(~pl.col("sig_id").is_in(known)) if known else block
            block = block.drop("is_repeated").unique(subset="sig_id", keep="first", maintain_order=True)
            if block.height:
                yield block


def rebatched(blocks: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Join and cut frames of any height to frames of `rows` rows; the last may have fewer."""
    waiting: list[pl.DataFrame] = []
    height = 0
    for block in blocks:
        waiting.append(block)
        height += block.height
        if height < rows:
            continue
        joined = pl.concat(waiting)
        whole = height - height % rows
        for start in range(0, whole, rows):
            yield joined[start : start + rows]
        waiting, height = [joined[whole:]], height - whole
    if height:
        yield pl.concat(waiting)


def _groups(table: pl.DataFrame, column: str, options: Sequence[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield each value that rows state or, where they leave it open, may take, with its rows."""
    stated = table[column].drop_nulls().unique().to_list()
    open_to = set(options) if table[column].null_count() else set()
    for value in sorted({*stated, *open_to}):
        is_own = pl.col(column) == value
        yield value, table.filter(is_own | pl.col(column).is_null() if value in open_to else is_own)


def _crossed(table: pl.DataFrame, column: str, options: Sequence[float | None]) -> pl.DataFrame:
    """Repeat the rows that leave a column open, once for each option."""
    is_open = pl.col(column).is_null()
    choices = pl.DataFrame({"option": list(options)}, schema={"option": pl.Float64})
    opened = table.filter(is_open).join(choices, how="cross").with_columns(pl.col("option").alias(column))
    return pl.concat([table.filter(~is_open), opened.drop("option")])


def _names(rows: pl.DataFrame) -> pl.Series:
    """Return perturbations with their parts in one order, as `sig_id` writes them."""
    names = rows["pert_id"]
    joined = names.filter(names.str.contains(PAIR_SEPARATOR, literal=True)).unique()
    ordered = {name: PAIR_SEPARATOR.join(split_perturbation(name)) for name in joined}
    return names.replace(ordered) if ordered else names


def _named(table: pl.DataFrame) -> pl.DataFrame:
    """Add names and units."""
    named = table.with_columns(
        condition_ids(table),
        cmap_name=pl.coalesce("cmap_name", "pert_id"),
        pert_dose_unit=_unit_where("pert_dose", "uM"),
        pert_time_unit=_unit_where("pert_time", "h"),
        pert_idose=_amount(table, "pert_dose", "uM"),
        pert_itime=_amount(table, "pert_time", "h"),
    )
    columns = [pl.col(name).cast(dtype) for name, dtype in IDENTITY_SCHEMA.items()]
    return named.select(*columns, "row", "is_repeated")


def _unit_where(column: str, unit: str) -> pl.Expr:
    return pl.when(pl.col(column).is_not_null()).then(pl.lit(unit))


def _amount(table: pl.DataFrame, column: str, unit: str) -> pl.Expr:
    """Write "10 uM", null where there is none."""
    values = table[column]
    texts = {value: f"{value:.6g} {unit}" for value in values.unique().drop_nulls()}
    return pl.col(column).replace_strict(texts, default=None, return_dtype=pl.String)

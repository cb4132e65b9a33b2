"""Pages of the hits of a finished screen: sorted and filtered by a lazy scan, which reads what it needs.

A screen may hold a million conditions: only the columns that are filtered and sorted by are read whole, and
of the page's rows only the row groups that hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import polars as pl
from pertcast.evaluation.hit_calibration import FDR_LEVELS
from pertcast.screens.files import SIG_INFO
from pertcast.screens.sig_info import SigInfo
from pertcast_data.vocabulary import PAIR_SEPARATOR

from pertcast_serve.schemas.screens import HitRow

HitColumn = Literal[
    "rank",
    "sig_id",
    "cmap_name",
    "cell_iname",
    "pert_type",
    "pert_dose",
    "pert_time",
    "score",
    "effect_size",
    "p_value",
    "fdr",
    "flag",
]
"""Columns that a page can be sorted by."""

_SEARCHED: Final = ("sig_id", "cmap_name")
_ROW: Final = "row_in_file"
_SIG_PARTS: Final = 5
_SELECTED_ROWS: Final = 20_000
"""Pages up to here are selected; beyond, sorting everything is as fast."""


@dataclass(frozen=True, slots=True)
class HitFilter:
    """Which hits are asked for; all where everything is left as it is.

    Attributes
    ----------
    text
        Part of sig_id (which holds the pert_id) or cmap_name, in any case.
    cell_iname, pert_type
        Exact names.
    only_hits
        Only conditions that are called at a false-discovery rate of 10 %.
    max_fdr
        Only conditions with a false-discovery rate up to this.
    """

    text: str = ""
    cell_iname: str | None = None
    pert_type: str | None = None
    only_hits: bool = False
    max_fdr: float | None = None

    def expression(self, columns: list[str]) -> pl.Expr | None:
        """Return the condition on the rows of a table with these columns; None where all fit."""
        parts = []
        if self.text:
            searched = [name for name in _SEARCHED if name in columns]
            wanted = self.text.lower()
            parts.append(
                pl.any_horizontal(
                    pl.col(name).str.to_lowercase().str.contains(wanted, literal=True).fill_null(False)
                    for name in searched
                )
            )
        for name, value in (("cell_iname", self.cell_iname), ("pert_type", self.pert_type)):
            if value is not None:
                parts.append(pl.col(name) == value)
        levels = (self.max_fdr, FDR_LEVELS[-1] if self.only_hits else None)
        parts += [pl.col("fdr") <= level for level in levels if level is not None]
        return pl.all_horizontal(parts) if parts else None


def hit_page(
    path: Path, offset: int, limit: int, sort: HitColumn, descending: bool, filters: HitFilter
) -> tuple[int, list[HitRow]]:
    """Return how many hits fit, and a page of them.

    Parameters
    ----------
    path
        hits.parquet, in the order of rank; sig_info.parquet beside it.
    offset, limit
        Which of the fitting rows.
    sort, descending
        Order; rows without a value come last either way, equal ones by rank.
    filters
        Which rows fit.
    """
    schema = pl.read_parquet_schema(path)
    columns = list(schema)
    is_fitting = filters.expression(columns)
    is_in_order = sort == "rank" and not descending
    if is_fitting is None and is_in_order:
        count = SigInfo.open(path).n_rows
        rows = pl.Series(range(offset, min(offset + limit, count)), dtype=pl.Int64)
    else:
        scanned = pl.scan_parquet(path, row_index_name=_ROW)
        fitting = scanned if is_fitting is None else scanned.filter(is_fitting)
        if is_in_order:
            table = fitting.select(_ROW).collect()
            ordered = table.slice(offset, limit)
        else:
            table = fitting.select(_ROW, _sort_key(sort, schema[sort])).collect()
            ordered = _ordered(table, offset, limit, descending)
        count = table.height
        rows = ordered[_ROW].cast(pl.Int64)
    return count, _rows(path, rows, columns)


def _pert_ids(sig_info: Path, names: list[str]) -> dict[str, str]:
    """Return sig_id -> pert_id of some profiles, which the table of hits does not hold.

    A sig_id says it (`condition_id`), but for combinations, whose parts it sorts, and names with bars.
    """
    said = {}
    for name in names:
        parts = name.split("|")
        if len(parts) == _SIG_PARTS and PAIR_SEPARATOR not in parts[2]:
            said[name] = parts[2]
    others = [name for name in names if name not in said]
    if not others:
        return said
    scanned = pl.scan_parquet(sig_info).select("sig_id", "pert_id")
    found = scanned.filter(pl.col("sig_id").is_in(others)).collect()
    return said | dict(zip(found["sig_id"], found["pert_id"], strict=True))


def _ordered(table: pl.DataFrame, offset: int, limit: int, descending: bool) -> pl.DataFrame:
    """Return a page of rows by their key, then by rank."""
    if offset + limit > _SELECTED_ROWS:
        ordered = table.sort("key", descending=descending, nulls_last=True, maintain_order=True)
        return ordered.slice(offset, limit)
    # As one lazy step the first rows are selected, without sorting all the others.
    ordered_rows = table.lazy().sort("key", _ROW, descending=[descending, False], nulls_last=True)
    return ordered_rows.slice(offset, limit).collect()


def _sort_key(sort: HitColumn, dtype: pl.DataType) -> pl.Expr:
    key = pl.col(sort)
    return (key.fill_nan(None) if dtype.is_float() else key).alias("key")


def _rows(path: Path, rows: pl.Series, columns: list[str]) -> list[HitRow]:
    if rows.is_empty():
        return []
    wanted = [name for name in HitRow.model_fields if name in columns]
    # Ranks rise with the rows: their statistics tell which row groups are needed at all.
    page = pl.DataFrame({"rank": rows + 1})
    found = (
        pl.scan_parquet(path).filter(pl.col("rank").is_in(page["rank"].to_list())).select(wanted).collect()
    )
    table = page.join(found, on="rank", maintain_order="left")
    numbers = [name for name, dtype in table.schema.items() if dtype.is_float()]
    table = table.with_columns(pl.col(name).fill_nan(None) for name in numbers)
    pert_ids = _pert_ids(path.with_name(SIG_INFO), table["sig_id"].to_list())
    return [
        HitRow.model_validate({**row, "pert_id": pert_ids.get(row["sig_id"])})
        for row in table.iter_rows(named=True)
    ]

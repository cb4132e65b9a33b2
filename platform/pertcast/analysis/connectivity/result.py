"""What a query found, as tables, as text for a terminal and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl
from pertcast_data.text import counted

from pertcast.analysis.connectivity.consensus import MIMICS, REVERSES, consensus_table
from pertcast.analysis.connectivity.mapping import MappingReport
from pertcast.analysis.connectivity.scores import get_score
from pertcast.analysis.printing import MISSING, decimal, sentence_lines, table_lines

_SHOWN: Final = ("pert_type", "cell_iname", "pert_dose", "pert_time", "n_cells", "n_profiles")
_SCORES: Final = {"raw_cs": 3, "norm_cs": 2, "median_norm_cs": 2, "tau": 1, "fdr_q_nlog10": 1}
"""Column -> decimals in a terminal."""
_CONSENSUS: Final = (
    "One row a perturbation: norm_cs is the maximum quantile (67th or 33rd percentile, the one further from "
    "0) over its cell lines, doses and times."
)
_WIDEST_NAME: Final = 28


@dataclass(frozen=True)
class QueryResult:
    """A library, ranked by its connectivity with a signature.

    Attributes
    ----------
    score
        A name of `SCORES`.
    library
        What was searched, in words: predicted or measured, and where.
    table
        One row a reference, from the strongest mimic to the strongest reversal: the library's columns,
        library, raw_cs, norm_cs, tau (of reported rows), fdr_q_nlog10, word ("mimics" | "reverses" | null),
        rank (within its word, from 1).
    per_tail
        References that are reported of each tail.
    n_strata
        Cell lines x types.
    mapping
        How the signature's genes were mapped, or None.
    significance
        What fdr_q_nlog10 is, or why it is null.
    remarks
        What limits the result.
    """

    score: str
    library: str
    table: pl.DataFrame
    per_tail: int
    n_strata: int
    mapping: MappingReport | None
    significance: str
    remarks: tuple[str, ...]

    def tail(self, word: str) -> pl.DataFrame:
        """Return the reported references that mimic, or that reverse, strongest first."""
        is_reported = (pl.col("word") == word) & (pl.col("rank") <= self.per_tail)
        return self.table.filter(is_reported).sort("rank")

    def summary(self) -> QueryResult:
        """Return one row a perturbation instead of one a reference; see `consensus_table`."""
        return replace(
            self, table=consensus_table(self.table), significance="", remarks=(*self.remarks, _CONSENSUS)
        )

    def lines(self) -> list[str]:
        """Return headline, mapping report, both tails and remarks, for a terminal."""
        found = sentence_lines(self.headline())
        if self.mapping is not None:
            found += [line for each in self.mapping.lines() for line in sentence_lines(each, bullet=True)]
        for word, title in ((MIMICS, "Mimickers"), (REVERSES, "Reversers")):
            tail = self.tail(word)
            n_all = self.table.filter(pl.col("word") == word).height
            found += ["", f"{title}: {tail.height:,} of {n_all:,}", ""]
            found += _tail_lines(tail) if tail.height else ["  none"]
        return [*found, "", *(line for each in self._told() for line in sentence_lines(each, bullet=True))]

    def _told(self) -> tuple[str, ...]:
        return (*self.remarks, *((self.significance,) if self.significance else ()))

    def headline(self) -> str:
        """Return what was compared with what, in a sentence."""
        noun = "perturbation" if "n_profiles" in self.table.columns else "profile"
        return (
            f"{counted(self.table.height, noun)} of the library {self.library}, by "
            f"{get_score(self.score).title}, in {self.n_strata:,} cell lines x types."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the reported rows and everything beside the table as plain JSON."""
        return {
            "score": self.score,
            "library": self.library,
            "n_rows": self.table.height,
            "mapping": None if self.mapping is None else self.mapping.to_json(),
            MIMICS: self.tail(MIMICS).to_dicts(),
            REVERSES: self.tail(REVERSES).to_dicts(),
            "remarks": list(self._told()),
        }


def _tail_lines(tail: pl.DataFrame) -> list[str]:
    columns = [name for name in _SHOWN if name in tail.columns and tail[name].null_count() < tail.height]
    scores = {name: decimals for name, decimals in _SCORES.items() if name in tail.columns}
    rows = [
        [
            _name(row),
            *(_cell(row[name]) for name in columns),
            *(_number(row[name], decimals) for name, decimals in scores.items()),
        ]
        for row in tail.iter_rows(named=True)
    ]
    return table_lines(["perturbation", *columns, *scores], rows)


def _name(row: dict[str, Any]) -> str:
    found = next((row[name] for name in ("cmap_name", "pert_id", "sig_id") if row.get(name)), MISSING)
    name = f"{row['rank']:>3}  {found}"
    return name if len(name) <= _WIDEST_NAME else f"{name[: _WIDEST_NAME - 1]}…"


def _cell(value: Any) -> str:
    if value is None:
        return MISSING
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: float | None, decimals: int) -> str:
    return MISSING if value is None else decimal(value, decimals)

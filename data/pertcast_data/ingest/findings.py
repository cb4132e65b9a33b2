"""What an ingest finds out, gathered while it runs: columns mapped, values converted, rows dropped, warnings.

Every step writes down what it changed, so that nothing happens silently.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from pertcast_data.ingest.genes.records import GeneRecord

How = Literal["given", "guessed", "derived", "absent"]

LONGEST_LIST: Final = 1000
"""Values of one reason that are kept; a note behind them tells how many there are in all."""


@dataclass(frozen=True, slots=True)
class ColumnDecision:
    """Where a canonical column came from.

    Attributes
    ----------
    canonical
        Column of the store.
    source
        Column of the file, "= value" for a constant, or what it was derived from.
    how
        "given" by the mapping file, "guessed", "derived" from other columns, or "absent".
    """

    canonical: str
    source: str
    how: How


@dataclass(slots=True)
class Findings:
    """Notes of one source, in the order in which they were made.

    Attributes
    ----------
    columns
        Where each canonical column came from.
    converted, dropped, warnings
        Sentences for the report.
    genes
        What genes are called, and what became of each name.
    counts
        Reason -> how many rows or values it concerns.
    listed
        Reason -> the values themselves, of which sentences show a few (`list_all`).
    """

    columns: list[ColumnDecision] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    genes: GeneRecord | None = None
    counts: dict[str, int] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)

    def decide(self, canonical: str, source: str, how: How) -> None:
        """Write down where a canonical column came from; a later decision replaces an earlier one."""
        self.columns = [kept for kept in self.columns if kept.canonical != canonical]
        self.columns.append(ColumnDecision(canonical, source, how))

    def count(self, reason: str, number: int) -> None:
        """Add to the rows or values that a reason concerns; nothing is written for none."""
        if number:
            self.counts[reason] = self.counts.get(reason, 0) + number

    def list_all(self, reason: str, values: Iterable[object], number: int | None = None) -> None:
        """Write down the values that a reason concerns, up to `LONGEST_LIST`; a note tells how many more.

        Of very many values the first are enough, with their `number`.
        """
        texts = [str(value) for value in values]
        if not texts:
            return
        already = self.listed.get(reason, [])
        self.count(reason, len(texts) if number is None else number)
        whole = [*already[:LONGEST_LIST], *texts]
        total = self.counts[reason]
        note = [f"and {total - LONGEST_LIST:,} more ({total:,} in all)"] if total > LONGEST_LIST else []
        self.listed[reason] = [*whole[:LONGEST_LIST], *note]

    def warn_once(self, warning: str) -> None:
        """Write down a warning unless it stands there already."""
        if warning not in self.warnings:
            self.warnings.append(warning)

"""What an ingest finds out, gathered while it runs: columns mapped, values converted, rows dropped, warnings.

Every step writes down what it changed, so that nothing happens silently.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pertcast_data.ingest.gene_records import GeneRecord

How = Literal["given", "guessed", "derived", "absent"]


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
    """Notes of one source, in the order in which they were made; `genes` tells what genes are called."""

    columns: list[ColumnDecision] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    genes: GeneRecord | None = None

    def decide(self, canonical: str, source: str, how: How) -> None:
        """Write down where a canonical column came from; a later decision replaces an earlier one."""
        self.columns = [kept for kept in self.columns if kept.canonical != canonical]
        self.columns.append(ColumnDecision(canonical, source, how))

"""What is asked of a match of drugs and genes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pertcast.analysis.drug_targets import MatchOptions


@dataclass(frozen=True)
class TargetRequest:
    """A match of drugs and genes.

    Attributes
    ----------
    library
        A finished screen of genes, or a store of measure "response".
    drugs
        A store (responses, or levels with controls), or a finished screen of compounds.
    known
        Table of known targets: csv, tsv or parquet; None for rankings only.
    measured
        A store or screen of measured gene profiles to show beside the library.
    types
        CMap codes of the library's perturbations; all genetic ones where None.
    cells
        Cell lines; all where None.
    options
        How they are compared.
    """

    library: Path
    drugs: Path
    known: Path | None = None
    measured: Path | None = None
    types: tuple[str, ...] | None = None
    cells: tuple[str, ...] | None = None
    options: MatchOptions = field(default_factory=MatchOptions)

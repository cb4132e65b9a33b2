"""What an ingest found out about the names of genes: their namespace, and what became of each name.

Names that a table knows as they are are counted only; every other one is listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from pertcast_data.ingest.mapping.rules import DeclaredNamespace

Resolved = Literal["identical", "spelling", "renamed", "id", "date"]
Unresolved = Literal["ambiguous", "withdrawn", "unknown"]
Resolution = Literal[Resolved, Unresolved]

UNRESOLVED: Final[tuple[Unresolved, ...]] = ("ambiguous", "withdrawn", "unknown")

NamespaceName = Literal[DeclaredNamespace, "ensembl_protein", "date", "row_number", "unrecognised"]
"""Kinds of names: those that a mapping file can declare, and what else is found."""

NAMESPACE_WORDS: Final[dict[NamespaceName, str]] = {
    "symbol": "symbols",
    "ensembl": "Ensembl gene ids",
    "entrez": "Entrez ids",
    "probe": "probe ids",
    "uniprot": "UniProt accessions",
    "ensembl_protein": "Ensembl protein ids",
    "date": "dates",
    "row_number": "row numbers",
    "unrecognised": "names of no known kind",
}


class GeneResolution(BaseModel):
    """What became of one name.

    Attributes
    ----------
    name
        As the file has it.
    resolved
        The approved symbol; None where there is none or more than one.
    how
        "identical", "spelling" (case, hyphens, dots), "renamed" (an older or other symbol), "id", "date" (a
        spreadsheet made a date of it), "ambiguous" (a name of several genes), "withdrawn" or "unknown".
    candidates
        Symbols of the genes that an ambiguous name may mean.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    resolved: str | None
    how: Resolution
    candidates: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.candidates:
            return f"{self.name} ({' or '.join(self.candidates)})"
        return self.name if self.resolved is None else f"{self.name} -> {self.resolved}"


class Namespace(BaseModel):
    """What kind of names the genes of a file have.

    Attributes
    ----------
    name
        The kind of most of them.
    share
        Share of the names that are of this kind.
    counts
        Kind -> names, the most frequent first.
    """

    model_config = ConfigDict(frozen=True)

    name: NamespaceName
    share: float
    counts: dict[NamespaceName, int]

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {NAMESPACE_WORDS[name]}" for name, number in self.counts.items())


class GeneRecord(BaseModel):
    """Genes and targets of one file.

    Attributes
    ----------
    namespace
        Of the genes' ids.
    table
        Name of the user's table of gene names; None without one.
    gene_counts, target_counts
        How -> names of the matrix's genes, and of targets of genetic perturbations.
    genes, targets
        Every name that is not identical to its symbol.
    """

    model_config = ConfigDict(frozen=True)

    namespace: Namespace
    table: str | None = None
    gene_counts: dict[Resolution, int] = {}
    target_counts: dict[Resolution, int] = {}
    genes: tuple[GeneResolution, ...] = ()
    targets: tuple[GeneResolution, ...] = ()

    def lines(self) -> list[str]:
        """Return the counts for a terminal."""
        told = [f"gene ids: {self.namespace}"]
        for what, counts in (("genes", self.gene_counts), ("targets", self.target_counts)):
            if counts:
                source = f" by {self.table}" if self.table else ""
                told.append(
                    f"{what}{source}: {', '.join(f'{number:,} {how}' for how, number in counts.items())}"
                )
        return told


def counts_of(resolutions: Iterable[GeneResolution]) -> dict[Resolution, int]:
    """Return how many names were resolved how, the most frequent first."""
    return dict(Counter(each.how for each in resolutions).most_common())


def listed_ones(resolutions: Iterable[GeneResolution]) -> tuple[GeneResolution, ...]:
    """Return the resolutions that a report lists: all but identical names."""
    return tuple(each for each in resolutions if each.how != "identical")

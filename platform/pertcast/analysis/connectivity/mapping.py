"""From the genes that a signature names to the genes of a library: what is used, what is not, and why.

Names are compared folded (`fold_gene`); a table of genes translates ids and older symbols.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pertcast_data.errors import SchemaError, nearest_known
from pertcast_data.gene_tables.gene_names import GeneNames
from pertcast_data.gene_tables.identifiers import fold_gene, identifier_kind
from pertcast_data.ingest.genes.dates import date_candidates
from pertcast_data.text import counted, listed

FEWEST_GENES: Final = 5
"""Genes of a set, or of a weighted signature, that must be found in the library."""
_SYMBOL: Final = re.compile(r"[A-Z][A-Z0-9]*(?:[-._/@][A-Z0-9]+)*", re.IGNORECASE)
_LONGEST_SYMBOL: Final = 30
_LIKE_SYMBOLS: Final = frozenset({"symbols", "UniProt accessions"})
"""Kinds of names that may be symbols: H2AC11 looks like an accession."""


class TooFewGenes(SchemaError):
    """A signature of which the library measures too few genes.

    Parameters
    ----------
    message
        What happened.
    report
        How its genes were mapped.
    """

    def __init__(self, message: str, report: MappingReport) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes with the report."""
        return type(self), (str(self), self.report)


@dataclass(frozen=True, slots=True)
class MappedGenes:
    """How the genes of one list were mapped; positions are places in the list.

    Attributes
    ----------
    label
        "up", "down" or "signature".
    n_named
        Names in the list.
    column
        For each used place of the list, the gene of the library.
    place
        The used places; the first of a gene that stands there several times.
    repeated
        (place, column) of further places of the same gene.
    translated
        (name, gene) of names that are not the library's own spelling.
    not_measured
        Genes that exist, but that the library does not measure.
    invalid
        Names that are no gene.
    """

    label: str
    n_named: int
    column: tuple[int, ...]
    place: tuple[int, ...]
    repeated: tuple[tuple[int, int], ...]
    translated: tuple[tuple[str, str], ...]
    not_measured: tuple[str, ...]
    invalid: tuple[str, ...]


@dataclass(frozen=True)
class MappingReport:
    """How the genes of a signature were mapped.

    Attributes
    ----------
    source
        Where the signature comes from.
    lists
        One a list: up and down, or the signature.
    judged_by
        What tells a gene that exists from a name that is none.
    n_genes
        Genes of the library.
    remarks
        What the reader of the files left out.
    """

    source: str
    lists: tuple[MappedGenes, ...]
    judged_by: str
    n_genes: int
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the report for a terminal."""
        found = []
        for each in self.lists:
            parts = [f"{len(each.column):,} of {counted(each.n_named, 'gene')} used"]
            for names, words in (
                (each.not_measured, "not measured by the library"),
                (each.invalid, "no gene"),
            ):
                if names:
                    parts.append(f"{len(names):,} {words} ({listed(names, 3)})")
            if each.repeated:
                parts.append(f"{len(each.repeated):,} repeated, counted once")
            if each.translated:
                told = listed((f"{name} = {gene}" for name, gene in each.translated), 2)
                parts.append(f"{len(each.translated):,} spelled otherwise ({told})")
            found.append(f"{each.label}: {', '.join(parts)}")
        if any(each.invalid or each.not_measured for each in self.lists):
            found.append(f"what is a gene is judged by {self.judged_by}")
        return [*found, *self.remarks]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON."""
        return {
            "source": self.source,
            "judged_by": self.judged_by,
            "n_library_genes": self.n_genes,
            "remarks": list(self.remarks),
            "lists": [
                {
                    "list": each.label,
                    "named": each.n_named,
                    "used": len(each.column),
                    "not_measured": list(each.not_measured),
                    "invalid": list(each.invalid),
                    "repeated": len(each.repeated),
                    "translated": dict(each.translated),
                }
                for each in self.lists
            ],
        }


class GeneMapper:
    """Finds the genes of a library by name.

    Parameters
    ----------
    genes
        Names of the library's genes.
    names
        A table of genes, or None.
    """

    def __init__(self, genes: Sequence[str], names: GeneNames | None = None) -> None:
        self.genes = tuple(genes)
        self._names = names
        self._exact = {gene: column for column, gene in enumerate(self.genes)}
        self._folded: dict[str, int | None] = {}
        for column, gene in enumerate(self.genes):
            key = fold_gene(gene)
            # A folded name that two genes share names neither.
            self._folded[key] = None if key in self._folded else column

    @property
    def judged_by(self) -> str:
        """What tells a gene that exists from a name that is none."""
        if self._names is not None:
            return f"the library's genes and {self._names.file}"
        return "the library's genes and, beyond them, how a symbol looks (no table of genes was given)"

    def map(self, label: str, named: Sequence[str]) -> MappedGenes:
        """Map one list of names."""
        taken: dict[int, int] = {}
        repeated, translated = [], {}
        not_measured: dict[str, None] = {}
        invalid: dict[str, None] = {}
        for place, name in enumerate(named):
            column, is_gene = self._find(name.strip())
            if column is None:
                (not_measured if is_gene else invalid)[name.strip()] = None
                continue
            if column in taken:
                repeated.append((place, column))
                continue
            taken[column] = place
            if self.genes[column] != name.strip():
                translated[name.strip()] = self.genes[column]
        return MappedGenes(
            label,
            len(named),
            tuple(taken),
            tuple(taken.values()),
            tuple(repeated),
            tuple(translated.items()),
            tuple(not_measured),
            tuple(invalid),
        )

    def nearest(self, mapped: MappedGenes, most: int = 3) -> str:
        """Return names that were not found with the nearest ones of the library, in words."""
        told = []
        for name in (*mapped.invalid, *mapped.not_measured)[:most]:
            near = nearest_known(name, self.genes)
            told.append(f"{name} (nearest: {', '.join(near)})" if near else name)
        return "; ".join(told)

    def _find(self, name: str) -> tuple[int | None, bool]:
        """Return the gene of the library, or None and whether the name is a gene's."""
        if name in self._exact:
            return self._exact[name], True
        key = fold_gene(name)
        if key in self._folded:
            return self._folded[key], True
        if self._names is None:
            return None, _looks_like_a_symbol(name)
        level, symbols = self._names.meaning(name)
        columns = {self._folded.get(fold_gene(symbol)) for symbol in symbols} - {None}
        return (columns.pop() if len(columns) == 1 else None), level in ("approved", "id", "alias")


def _looks_like_a_symbol(name: str) -> bool:
    """Whether a name may be a symbol: letters and digits, no number, no date, no id of a database."""
    is_short = len(name) <= _LONGEST_SYMBOL
    return bool(
        is_short
        and _SYMBOL.fullmatch(name)
        and identifier_kind(name) in _LIKE_SYMBOLS
        and not date_candidates(name)
    )


def require_enough(mapper: GeneMapper, mapped: MappedGenes, report: MappingReport) -> None:
    """Raise TooFewGenes, with the nearest known names, where fewer than `FEWEST_GENES` are found."""
    if len(mapped.column) >= FEWEST_GENES:
        return
    near = mapper.nearest(mapped)
    unknown = f" Not among them: {near}." if near else ""
    raise TooFewGenes(
        f"{report.source}, {mapped.label}: {len(mapped.column)} of its {counted(mapped.n_named, 'gene')} are "
        f"among the library's {len(mapper.genes):,} genes ({listed(mapper.genes, 3)}); {FEWEST_GENES} are "
        f"needed.{unknown} Name genes by the library's symbols, or bring a table of genes.",
        report,
    )

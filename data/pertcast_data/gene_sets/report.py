"""What a file of gene sets holds, and how much of it a store can see, before anything is tested with it.

A set of which a store measures two genes tells nothing; a set of probe ids overlaps no store of symbols.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from pertcast_data.gene_sets.gmt import gmt_lines, nothing_in, numbered
from pertcast_data.gene_tables.identifiers import fold_gene, identifier_kind
from pertcast_data.tables.content import sha256_of

MIN_SIZES: Final = (5, 15)
"""Least sizes that are counted; 15 is what enrichment usually asks for (GSEA's default)."""

_PROBE: Final = re.compile(r"(?:\d+|AFFX\S*?)(?:_[a-z]+)*_at|ILMN_\d+", re.IGNORECASE)
_N_SHOWN: Final = 5


@dataclass(frozen=True)
class GeneSetReport:
    """What a file of gene sets holds.

    Attributes
    ----------
    file, sha256
        Name (without folder) and content of the file.
    sizes
        Set -> number of its distinct genes, in the file's order.
    n_genes
        Distinct genes of all sets.
    namespaces
        Kind of name -> how many genes are so called, the most frequent first.
    renamed
        Sets whose name stood there before, as they are called now.
    repeating
        Sets that list a gene twice.
    empty
        Sets without a gene.
    n_space
        Genes of the gene space; None where none is given.
    overlaps
        Set -> how many of its genes the space has; empty where none is given.
    """

    file: str
    sha256: str
    sizes: dict[str, int]
    n_genes: int
    namespaces: dict[str, int]
    renamed: tuple[str, ...] = ()
    repeating: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    n_space: int | None = None
    overlaps: dict[str, int] | None = None

    @property
    def namespace(self) -> str:
        """Kind of name that most genes are called by."""
        return next(iter(self.namespaces), "symbols")

    def n_surviving(self, min_size: int) -> int:
        """Return how many sets have `min_size` genes or more in the space (in themselves without one)."""
        counted = self.sizes if self.overlaps is None else self.overlaps
        return sum(size >= min_size for size in counted.values())

    def lines(self) -> list[str]:
        """Return sizes, names, overlap and everything odd, as lines of text."""
        sizes = sorted(self.sizes.values())
        first = (
            f"{self.file}: {len(sizes):,} sets of {sizes[0]:,} to {sizes[-1]:,} genes (median "
            f"{median(sizes):g}), {self.n_genes:,} genes, {self._names()}"
        )
        return [first, *self._space_lines(), *self._odd_lines()]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "n_sets": len(self.sizes),
            "n_genes": self.n_genes,
            "namespaces": self.namespaces,
            "renamed": list(self.renamed),
            "repeating": list(self.repeating),
            "empty": list(self.empty),
            "n_genes_of_store": self.n_space,
            "surviving": {str(size): self.n_surviving(size) for size in MIN_SIZES},
            "sets": [
                {"name": name, "size": size}
                | ({} if self.overlaps is None else {"in_store": self.overlaps[name]})
                for name, size in self.sizes.items()
            ],
        }

    def _names(self) -> str:
        others = [f"{count:,} {kind}" for kind, count in [*self.namespaces.items()][1:]]
        return f"called by {self.namespace}" + (f" ({', '.join(others)})" if others else "")

    def _space_lines(self) -> list[str]:
        if self.overlaps is None or self.n_space is None:
            return []
        shared = self.overlaps.values()
        survivors = ", ".join(f"{self.n_surviving(size):,} have {size} or more" for size in MIN_SIZES)
        lines = [
            f"in the store: {min(shared):,} to {max(shared):,} of its {self.n_space:,} genes; {survivors}"
        ]
        if not any(shared) and self.namespace != "symbols":
            lines.append(
                f"warning: no gene is in the store, and the sets call theirs by {self.namespace}. Bring sets "
                "of symbols (MSigDB: *.symbols.gmt)."
            )
        elif not any(shared):
            lines.append("warning: no gene is in the store. Bring sets of its organism, by its genes' names.")
        return lines

    def _odd_lines(self) -> list[str]:
        odd = (
            ("named as a set before, renamed", self.renamed),
            ("list a gene twice, counted once", self.repeating),
            ("without a gene", self.empty),
        )
        return [f"warning: {len(names):,} sets {what}: {_shown(names)}" for what, names in odd if names]


def read_gene_set_report(path: Path | str, genes: Sequence[str] | None = None) -> GeneSetReport:
    """Read a GMT file and compare it with a gene space.

    Parameters
    ----------
    path
        The file; sets of one name are kept, the later ones renamed and told.
    genes
        Genes of a store; found however they are spelled (`fold_gene`).

    Raises
    ------
    FormatError
        The file is absent or no GMT (`read_gmt`).
    """
    path = Path(path)
    members: dict[str, tuple[str, ...]] = {}
    renamed, repeating = [], []
    for line in gmt_lines(path):
        name = numbered(line.name, members)
        members[name] = tuple(dict.fromkeys(line.genes))
        if name != line.name:
            renamed.append(name)
        if len(members[name]) < len(line.genes):
            repeating.append(name)
    if not members:
        raise nothing_in(path)
    distinct = dict.fromkeys(gene for listed in members.values() for gene in listed)
    return GeneSetReport(
        file=path.name,
        sha256=sha256_of(path),
        sizes={name: len(listed) for name, listed in members.items()},
        n_genes=len(distinct),
        namespaces=namespaces(distinct),
        renamed=tuple(renamed),
        repeating=tuple(repeating),
        empty=tuple(name for name, listed in members.items() if not listed),
        n_space=None if genes is None else len(genes),
        overlaps=None if genes is None else _overlaps(members, genes),
    )


def namespaces(names: Iterable[str]) -> dict[str, int]:
    """Return what kinds of names these are, and how many of each, the most frequent first.

    Probe ids (204748_at, ILMN_1), and the kinds of `identifier_kind`; what looks like an accession of
    UniProt among symbols is a symbol (C8ORF4).
    """
    kinds = Counter("probe ids" if _PROBE.fullmatch(name) else str(identifier_kind(name)) for name in names)
    if kinds["symbols"] > kinds["UniProt accessions"]:
        kinds["symbols"] += kinds.pop("UniProt accessions", 0)
    return {kind: count for kind, count in kinds.most_common() if count}


def _overlaps(members: dict[str, tuple[str, ...]], genes: Sequence[str]) -> dict[str, int]:
    space = {fold_gene(gene) for gene in genes}
    return {name: len({fold_gene(gene) for gene in listed} & space) for name, listed in members.items()}


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _N_SHOWN:,} more" if len(names) > _N_SHOWN else ""
    return ", ".join(names[:_N_SHOWN]) + more

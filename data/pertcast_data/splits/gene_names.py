"""One name for a gene, however a table spells it: ids, older symbols, case, hyphens, guides.

Nothing is guessed from likeness: a suffix is a guide's number only where what is left is a known gene or
where no gene symbol could look so, and a hyphen between two digits (KRTAP1-11) is never dropped. A dot is a
hyphen: R writes NKX2-1 as NKX2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.words import control_code

_SEPARATORS: Final = re.compile(r"\s*(?:\|\||\||;|(?<=[^(\[+])\+(?=[^)\]+]))\s*")
_GUIDE_PREFIX: Final = re.compile(r"^(?:sgRNA|gRNA|shRNA|siRNA|sg|sh|si)[-_ ]?(?P<gene>[A-Z].*)$")
_GUIDE_CERTAIN: Final = (
    re.compile(r"^(?P<gene>.+?)[-_. #](?:sgRNA|gRNA|guide|sg|sh|g)[-_ ]?\d{1,3}$"),
    re.compile(r"^(?P<gene>[^_]+)_[+-]_\d+(?:\.\d+)?-\S+$"),
    re.compile(r"^(?P<gene>.+?)[_#]\d{1,3}$"),
    re.compile(
        r"^(?P<gene>.+?)[-_. ](?:KO|KD|OE|knock[-_ ]?(?:out|down)|CRISPR[ai]?|sgRNA|shRNA|siRNA)$",
        re.IGNORECASE,
    ),
)
_GUIDE_POSSIBLE: Final = re.compile(r"^(?P<gene>.+?)[-.]\d{1,3}$")
_NAMING_COLUMNS: Final = re.compile(
    r"^(?!.*(title|description|biotype|length|type)).*(symbol|alias|synonym|prev|ensembl|entrez|hgnc"
    r"|gene_id|gene_name|feature_name)"
)
_LISTED: Final = re.compile(r"\s*[|,;]\s*")
_LONGEST_NAME: Final = 40


def perturbation_parts(text: str) -> tuple[str, ...]:
    """Split "B+A", "B|A" or "B;A" into its parts as written, sorted; controls beside a gene are left out."""
    parts = [part for part in _SEPARATORS.split(text.strip()) if part]
    targeting = [part for part in parts if control_code(part) is None]
    return tuple(sorted(targeting or parts))


@dataclass(frozen=True)
class GeneNames:
    """What names of genes mean in one store.

    Attributes
    ----------
    symbols
        Folded symbols of the measured genes.
    synonyms
        Folded other names (ids, older symbols) -> folded symbol.
    declared
        The user's aliases, folded -> folded name.
    perturbed
        Folded names of the store's perturbations, as written.
    """

    symbols: frozenset[str]
    synonyms: Mapping[str, str]
    declared: Mapping[str, str]
    perturbed: frozenset[str]

    @classmethod
    def of(
        cls, var: pl.DataFrame, perturbations: Iterable[str], declared: Iterable[tuple[str, str]]
    ) -> GeneNames:
        """Gather the names of a store: its gene table, its perturbations, the user's (alias, name) pairs."""
        symbols, synonyms = _named_genes(var)
        return cls(
            symbols=frozenset(symbols),
            synonyms=synonyms,
            declared={fold_gene(alias): fold_gene(name) for alias, name in declared},
            perturbed=frozenset(
                fold_gene(part) for text in perturbations for part in perturbation_parts(text)
            ),
        )

    def canonical(self, text: str) -> str:
        """Return the name of a gene, folded: its symbol where any of its names is known."""
        gene = guided_gene(text, self._is_known)
        return self._meant(fold_gene(text if gene is None else gene))

    def is_guide(self, text: str) -> bool:
        """Whether a name is a guide's: a gene's with a prefix, a number, or what was done to it."""
        return guided_gene(text, self._is_known) is not None

    def _meant(self, folded: str) -> str:
        declared = self.declared.get(folded, folded)
        return declared if declared in self.symbols else self.synonyms.get(declared, declared)

    def _is_known(self, text: str, *, alone: bool) -> bool:
        folded = fold_gene(text)
        known = folded in self.symbols or folded in self.synonyms or folded in self.declared
        return known or (alone and folded in self.perturbed)


def guided_gene(text: str, is_known: Any) -> str | None:
    """Return the gene that a guide's name targets, None where the name is no guide's.

    `is_known(name, alone=...)` tells whether a gene has that name; `alone` also counts genes known only
    because they are perturbed.
    """
    if is_known(text, alone=False):
        return None
    for pattern in (_GUIDE_PREFIX, *_GUIDE_CERTAIN):
        if match := pattern.match(text.strip()):
            stem = match["gene"]
            return guided_gene(stem, is_known) or stem
    possible = _GUIDE_POSSIBLE.match(text.strip())
    return possible["gene"] if possible and is_known(possible["gene"], alone=True) else None


def _named_genes(var: pl.DataFrame) -> tuple[set[str], dict[str, str]]:
    """Return the folded symbols, and every other unambiguous name of each gene."""
    own = [name for name in ("gene_symbol", "gene_id") if name in var.columns]
    if not own:
        return set(), {}
    symbols = [
        fold_gene(str(text)) for text in var.select(pl.coalesce(pl.col(own).cast(pl.String))).to_series()
    ]
    known = set(symbols)
    meant: dict[str, set[str]] = {}
    for column in var.columns:
        if column != "gene_symbol" and _NAMING_COLUMNS.match(column.lower()):
            for symbol, name in _names_in(symbols, var[column]):
                meant.setdefault(name, set()).add(symbol)
    return known, {
        name: next(iter(genes)) for name, genes in meant.items() if len(genes) == 1 and name not in known
    }


def _names_in(symbols: list[str], column: pl.Series) -> Iterator[tuple[str, str]]:
    if column.dtype.is_float() or column.dtype == pl.Boolean:
        return
    for symbol, text in zip(symbols, column.cast(pl.String), strict=True):
        for name in _LISTED.split(text or ""):
            if name and len(name) <= _LONGEST_NAME:
                yield symbol, fold_gene(name)

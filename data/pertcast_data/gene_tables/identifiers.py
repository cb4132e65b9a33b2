"""What kind of identifier a gene is called by, told by how it looks: Entrez, Ensembl, UniProt, or a symbol.

The kinds look so different that one table of names serves them all, also where a file mixes them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

IdentifierKind = Literal[
    "Entrez ids", "Ensembl gene ids", "Ensembl protein ids", "UniProt accessions", "symbols"
]

FOREIGN_KINDS: Final[tuple[IdentifierKind, ...]] = (
    "Entrez ids",
    "Ensembl protein ids",
    "UniProt accessions",
)
"""Kinds by which no expression store calls its genes (some call them by Ensembl gene ids)."""

HUMAN: Final = "9606"
"""NCBI's number of the human taxon."""

ENSEMBL_VERSION: Final = r"^(ENS[A-Z]*G\d{11})\.(\d+)$"
"""An Ensembl gene id with its version, in two groups."""

_ENTREZ: Final = re.compile(r"(?P<id>[1-9]\d*)(?:\.0)?")
_ENSEMBL: Final = re.compile(r"(?:\d+\.)?(?P<id>ENS[A-Z]*(?P<kind>[GP])\d{11})(?:\.\d+)?")
_UNIPROT: Final = re.compile(r"(?P<id>[OPQ]\d[A-Z0-9]{3}\d|[A-NR-Z]\d(?:[A-Z][A-Z0-9]{2}\d){1,2})(?:-\d+)?")

_LOOSE_HYPHEN: Final = re.compile(r"(?<!\d)[-\s]|[-\s](?!\d)")
_HYPHENS: Final = re.compile(r"[.\u2010-\u2015\u2212]")
_VERSION: Final = re.compile(ENSEMBL_VERSION)


def fold_gene(text: str) -> str:
    """Return a symbol in capitals, without spaces, loose hyphens or dots and an Ensembl id's version.

    A dot is a hyphen (R writes NKX2-1 as NKX2.1); one between two digits (KRTAP1-11) is never dropped.
    """
    upper = text.strip().upper()
    if upper.isalnum():
        return upper
    versioned = _VERSION.match(upper)
    return versioned[1] if versioned else _LOOSE_HYPHEN.sub("", _HYPHENS.sub("-", upper))


def identifier_kind(name: str) -> IdentifierKind:
    """Return the kind of a name: "604", "5720.0", "9606.ENSP00000000233.2", "P04637-2", else a symbol."""
    return _kind_and_key(name)[0]


def identifier_key(name: str) -> str:
    """Return what names of one thing have in common.

    Ids lose organism prefix ("9606."), version, isoform and a trailing ".0"; symbols are folded
    (`fold_gene`).
    """
    return _kind_and_key(name)[1]


def main_kind(names: Iterable[str]) -> IdentifierKind:
    """Return the kind that most of the names are of; symbols where there is none."""
    found = Counter(identifier_kind(name) for name in names).most_common(1)
    return found[0][0] if found else "symbols"


def _kind_and_key(name: str) -> tuple[IdentifierKind, str]:
    upper = name.strip().upper()
    # Tables have hundreds of thousands of names: a glance spares most of them the patterns.
    if upper[:1].isdigit() and (found := _ENTREZ.fullmatch(upper)):
        return "Entrez ids", found["id"]
    if "ENS" in upper and (found := _ENSEMBL.fullmatch(upper)):
        return ("Ensembl gene ids" if found["kind"] == "G" else "Ensembl protein ids"), found["id"]
    if upper[1:2].isdigit() and (found := _UNIPROT.fullmatch(upper)):
        return "UniProt accessions", found["id"]
    return "symbols", fold_gene(upper)

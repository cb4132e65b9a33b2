"""Which namespace names of genes come from, told from how they look: symbols, Ensembl, Entrez, probes, ...

Numbers that only count the rows are no Entrez ids, and dates are what a spreadsheet made of symbols.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final

from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.identifiers import IdentifierKind, identifier_kind
from pertcast_data.ingest.genes.dates import date_candidates
from pertcast_data.ingest.genes.records import NAMESPACE_WORDS, Namespace, NamespaceName
from pertcast_data.text import listed

_PROBE: Final = re.compile(r"AFFX[-_].+|\S+_(?:at|st)|ILMN_\d+|A_\d+_P\d+|cg\d{8}", re.IGNORECASE)
_SYMBOL: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9._@/:|*'-]{0,39}")
_LONGEST_SYMBOL: Final = 40
_PAR: Final = re.compile(r"(ENS[A-Z]*G\d{11}\.\d+)_PAR_Y")
_BY_KIND: Final[dict[IdentifierKind, NamespaceName]] = {
    "Entrez ids": "entrez",
    "Ensembl gene ids": "ensembl",
    "Ensembl protein ids": "ensembl_protein",
    "UniProt accessions": "uniprot",
}
ID_NAMESPACES: Final[tuple[NamespaceName, ...]] = (
    *("ensembl", "entrez", "probe", "uniprot", "ensembl_protein", "row_number"),
)
"""Namespaces whose names are no symbols."""

LEAST_DECLARED_SHARE: Final = 0.5


def gene_namespace(ids: Iterable[object]) -> Namespace:
    """Tell the namespace of names of genes.

    Parameters
    ----------
    ids
        Names as a file has them: text, or whole numbers as int or float (5720.0); None counts as
        unrecognised.

    Returns
    -------
    Namespace
        The kind of most names, the share of names that are of it, and all counts. A symbol that looks like
        a UniProt accession (C8ORF4) is a symbol among symbols.
    """
    texts = ["" if each is None else _text(each) for each in ids]
    counts = Counter(map(_name_of, texts))
    if counts["entrez"] + counts["unrecognised"] == len(texts) and _are_row_numbers(texts):
        counts = Counter({"row_number": len(texts)})
    if counts["symbol"] > counts["uniprot"]:
        counts["symbol"] += counts.pop("uniprot", 0)
    ranked: dict[NamespaceName, int] = {name: number for name, number in counts.most_common() if number}
    if not ranked:
        return Namespace(name="unrecognised", share=0.0, counts={})
    main = next(iter(ranked))
    return Namespace(name=main, share=ranked[main] / len(texts), counts=ranked)


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _name_of(text: str) -> NamespaceName:
    if text.isalnum() and text[:1].isalpha() and not text[1:2].isdigit() and "ENS" not in text.upper():
        return "symbol" if len(text) <= _LONGEST_SYMBOL else "unrecognised"
    if _PROBE.fullmatch(text):
        return "probe"
    if _PAR.fullmatch(text):
        return "ensembl"
    kind = identifier_kind(text)
    if kind != "symbols":
        return _BY_KIND[kind]
    if date_candidates(text):
        return "date"
    return "symbol" if _SYMBOL.fullmatch(text) else "unrecognised"


def _are_row_numbers(texts: list[str]) -> bool:
    """Return whether names are 0, 1, 2, ... or 1, 2, 3, ...: the rows counted, at least three of them."""
    if len(texts) < 3 or texts[0] not in ("0", "1") or not all(map(str.isdecimal, texts)):
        return False
    return all(int(after) == int(before) + 1 for before, after in pairwise(texts))


def require_namespace(
    found: Namespace, declared: NamespaceName | None, path: Path, ids: Iterable[str]
) -> None:
    """Raise SchemaError where fewer than half of the genes' ids are of the namespace that was declared."""
    if declared is None or found.counts.get(declared, 0) >= LEAST_DECLARED_SHARE * sum(found.counts.values()):
        return
    raise SchemaError(
        f"{path}: `genes: namespace: {declared}` (mapping file), but the gene ids are {found} "
        f"(e.g. {listed(ids, 3)}). Name the column that holds {NAMESPACE_WORDS[declared]} (genes: gene_id: "
        f"COLUMN), or say namespace: {found.name}."
    )

"""Names of guides: which gene "sgTP53-2", "TP53_+_7571720.23-P1P2" or "TP53_ACGT..." is about.

Some endings can be nothing but a guide's; a number is one only where most names of a column have one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from pertcast_data.words import GUIDE_COLUMNS, HYPHENATED_SYMBOLS, control_code

_PARTS: Final = re.compile(r"\s*(?:\|\||\||(?<!_)\+|\+(?!_(?:[0-9]|[ACGT]{17}))|;)\s*")
"""Between the members of a combination. The strand of "GENE_+_12345.23-P1P2" stands between underscores."""

_SURE: Final = re.compile(
    r"(?P<gene>.*\S)"
    r"(?:_[+-]_(?:[0-9]+(?:\.[0-9]+)?(?:-\S+)?|[ACGT]{17,24})|[-_.: ][ACGT]{17,24}(?:[-_.][0-9]{1,3})?)",
    re.DOTALL,
)
_NUMBERED: Final = re.compile(
    r"(?P<gene>.*?\S)[-_. ]+(?:sg|g|sgRNA|gRNA|sgrna|grna|guide|Guide)?[-_]?[0-9]{1,3}", re.DOTALL
)
_PREFIXED: Final = re.compile(r"sg[-_]?(?P<gene>(?!RNA)[A-Z][A-Za-z0-9].*)", re.DOTALL)
_EDGES: Final = re.compile(r"\A[\s_]+|[\s_]+\Z")
_SHARE_OF_GUIDES: Final = 0.9
_SHARE_IN_GUIDE_COLUMNS: Final = 0.5


def members(text: str) -> list[str]:
    """Return the members of a combination: of "A+B", "A|B", "A || B", "A;B" or "A_+_B"."""
    parts = _PARTS.split(text.strip())
    if len(parts) == 1:
        return [part for part in parts if part]
    # An underscore left beside a "+" would make a strand of it.
    return [member for part in parts for member in members(_EDGES.sub("", part))]


def sure_gene(part: str) -> str:
    """Return what a guide is about that carries its spacer or its place in the genome; other names as is."""
    while (match := _SURE.fullmatch(part)) is not None:
        part = _EDGES.sub("", match["gene"]) or match["gene"]
    return part


def names_guide(text: str) -> bool:
    """Return whether a member of a name carries its spacer or its place in the genome."""
    return any(sure_gene(part) != part for part in members(text))


def numbered_gene(part: str, known_genes: frozenset[str] = frozenset()) -> str:
    """Return the gene of a guide with a number or "sg" before it; other names, and genes, as they are."""
    if part in known_genes or HYPHENATED_SYMBOLS.fullmatch(part):
        return part
    match = _NUMBERED.fullmatch(part)
    gene = part if match is None else match["gene"]
    prefixed = None if gene in known_genes else _PREFIXED.fullmatch(gene)
    return gene if prefixed is None else prefixed["gene"]


def are_guides(names: Iterable[str], folded_column: str, known_genes: frozenset[str] = frozenset()) -> bool:
    """Return whether the numbers at the end of names are those of guides ("ABCD2-2").

    Parameters
    ----------
    names
        Distinct names of a column.
    folded_column
        Its folded name: in a column of guides ("sgrna") half of the names must look so.
    known_genes
        Symbols of the file's genes, which are no guides.

    Notes
    -----
    In any other column nine of ten must look so, and some gene have several guides or (where genes are known)
    half of the names be about known genes: of "NKX2-1" alone nobody can tell.
    """
    parts = {sure_gene(part) for name in names for part in members(name)}
    treated = [part for part in parts if control_code(part) is None]
    genes = [gene for part in treated if (gene := numbered_gene(part, known_genes)) != part]
    if not genes:
        return False
    share = len(genes) / len(treated)
    if folded_column in GUIDE_COLUMNS:
        return share >= _SHARE_IN_GUIDE_COLUMNS
    has_several = max(Counter(genes).values()) > 1
    are_known = 2 * sum(gene in known_genes for gene in genes) >= len(genes)
    return share >= _SHARE_OF_GUIDES and (has_several or are_known)

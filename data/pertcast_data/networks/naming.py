"""From the names in a network's file to genes: one symbol each, and what was not known by the way.

Without a table of names a gene is called as the file calls it; with one, by the table's symbol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.gene_names import GeneNames
from pertcast_data.gene_tables.identifiers import FOREIGN_KINDS, fold_gene, identifier_kind, main_kind

_N_EXAMPLES: Final = 3


@dataclass(frozen=True)
class NamedGenes:
    """The genes that the names of a file stand for.

    Attributes
    ----------
    genes
        (N,) symbols as first spelled, sorted by how they are folded; no two are equal then.
    row_of_name
        (names,) int64 rows of `genes`; -1 for an id that the table does not know.
    n_unmapped
        Ids that the table does not know; left out.
    examples
        Of these, the first three.
    n_own_names
        Symbols that the table does not know; they keep their name.
    own_examples
        Of these, the first three.
    """

    genes: tuple[str, ...]
    row_of_name: NDArray[np.int64]
    n_unmapped: int = 0
    examples: tuple[str, ...] = ()
    n_own_names: int = 0
    own_examples: tuple[str, ...] = ()


def name_genes(path: Path, names: Sequence[str], table: GeneNames | None) -> NamedGenes:
    """Return the genes that the distinct names of a file stand for.

    A symbol that the table lacks keeps its name: a store may still call the gene by an older one. An id that
    it lacks is left out.

    Raises
    ------
    SchemaError
        The file names genes by ids and no table is given, or the table knows none of its names.
    """
    if table is None:
        _require_symbols(path, names)
        return _spelled_once(names)
    known = {name: table.symbol(name) for name in names}
    if not any(known.values()):
        raise SchemaError(
            f"{path}: {table.file} knows none of its {len(names):,} names ({_shown(names)}; they look like "
            f"{main_kind(names)}). Bring a table with these: encoder.gene_names=FILE."
        )
    strange = sorted(name for name, symbol in known.items() if symbol is None)
    own_kinds = {"symbols"}
    if main_kind(names) == "symbols":
        own_kinds.add("UniProt accessions")  # C8ORF4 and B3GNT1 are symbols, and look like accessions
    own = [name for name in strange if identifier_kind(name) in own_kinds]
    unmapped = [name for name in strange if identifier_kind(name) not in own_kinds]
    named = _spelled_once([known[name] or name for name in names], left_out=unmapped)
    return replace(
        named,
        n_unmapped=len(unmapped),
        examples=tuple(unmapped[:_N_EXAMPLES]),
        n_own_names=len(own),
        own_examples=tuple(own[:_N_EXAMPLES]),
    )


def _require_symbols(path: Path, names: Sequence[str]) -> None:
    kind = main_kind(names)
    if kind in FOREIGN_KINDS:
        raise SchemaError(
            f"{path}: names genes by {kind} ({_shown(names)}), as no expression profile does. Bring a table "
            "of their symbols: encoder.gene_names=FILE (HGNC's complete set, NCBI's gene_info, STRING's "
            "protein.aliases, or a table of your own)."
        )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_N_EXAMPLES])


def _spelled_once(names: Sequence[str], left_out: Sequence[str] = ()) -> NamedGenes:
    """Return genes, each spelled as it comes first, and the row of every name; -1 for what is left out."""
    without = frozenset(left_out)
    folds = [None if name in without else fold_gene(name) for name in names]
    spelled: dict[str, str] = {}
    for name, folded in zip(names, folds, strict=True):
        if folded is not None:
            spelled.setdefault(folded, name)
    order = sorted(spelled)
    row_of: dict[str | None, int] = {folded: row for row, folded in enumerate(order)}
    rows = np.array([row_of.get(folded, -1) for folded in folds], dtype=np.int64)
    return NamedGenes(tuple(spelled[folded] for folded in order), rows)

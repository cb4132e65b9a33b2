"""The genes that a model and another lab's store have in common, and a reader that shows only these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.store import ExpressionStore, RowReader

from pertcast.evaluation.held_out import IndexArray

FEWEST_SHARED: Final = 50
"""Correlations over fewer genes say too little about a response."""


@dataclass(frozen=True)
class GeneMatch:
    """S genes that are both a model's and a store's.

    Attributes
    ----------
    genes
        Names of the S genes, as the model calls them, in its order.
    of_model
        (S,) their positions among the model's genes.
    of_store
        (S,) their columns in the store.
    by
        What they were matched by: "name", "gene_symbol" or "gene_id".
    n_model, n_store
        All genes of either side.
    """

    genes: tuple[str, ...]
    of_model: IndexArray
    of_store: IndexArray
    by: str
    n_model: int
    n_store: int

    @property
    def is_complete(self) -> bool:
        """Whether the store measures every gene of the model."""
        return len(self.genes) == self.n_model

    @property
    def text(self) -> str:
        """One sentence for the reader."""
        shared = len(self.genes)
        return (
            f"Genes (by {self.by.replace('_', ' ')}): {shared:,} shared and judged, "
            f"{self.n_model - shared:,} of the model's {self.n_model:,} not measured there, "
            f"{self.n_store - shared:,} of the store's {self.n_store:,} unknown to the model."
        )

    def places(self, own_gene: IndexArray) -> IndexArray:
        """Return positions among the model's genes as those among the shared ones; -1 where not shared."""
        place = np.full(self.n_model + 1, -1, dtype=np.int64)
        place[self.of_model] = np.arange(len(self.of_model))
        moved: IndexArray = place[own_gene]
        return moved


def match_genes(store: ExpressionStore, genes: Sequence[str], fewest: int = FEWEST_SHARED) -> GeneMatch:
    """Match a model's genes to a store's, by whichever of its names, symbols or ids fits most of them.

    A symbol or id that stands for several columns of the store is not matched.

    Parameters
    ----------
    store
        The other lab's.
    genes
        The model's genes.
    fewest
        Shared genes that are needed.

    Raises
    ------
    SchemaError
        Fewer genes are shared; names of both sides are shown.
    """
    found = [_match(store, genes, by, names) for by, names in _namings(store)]
    best = max(found, key=lambda match: len(match.genes))
    if len(best.genes) < fewest:
        raise SchemaError(
            f"{store.path} shares {len(best.genes)} genes with the model, {fewest} are needed. The model "
            f"calls its genes {', '.join(genes[:3])}...; the store {', '.join(store.genes[:3])}.... Give the "
            "store the same kind of names (gene_symbol or gene_id of its var table)."
        )
    return best


def _namings(store: ExpressionStore) -> Iterator[tuple[str, list[str | None]]]:
    yield "name", list(store.genes)
    for column in ("gene_symbol", "gene_id"):
        if column in store.var.columns:
            yield column, store.var[column].to_list()


def _match(store: ExpressionStore, genes: Sequence[str], by: str, names: Sequence[str | None]) -> GeneMatch:
    count = Counter(names)
    column = {name: index for index, name in enumerate(names) if name and count[name] == 1}
    pairs = [(place, column[gene]) for place, gene in enumerate(genes) if gene in column]
    of_model, of_store = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    shared = tuple(genes[place] for place in of_model)
    return GeneMatch(shared, of_model, of_store, by, len(genes), store.n_genes)


class SharedGenes:
    """A `RowReader` that shows some columns of another.

    Parameters
    ----------
    reader
        Reads the store.
    columns
        (S,) which columns, in which order.
    """

    def __init__(self, reader: RowReader, columns: IndexArray) -> None:
        self._reader = reader
        self._columns = columns

    @property
    def is_in_memory(self) -> bool:
        """Whether every row is held in memory."""
        return self._reader.is_in_memory

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (M, S) float32 normalised profiles: of the whole profile, then cut."""
        return np.ascontiguousarray(self._reader.dense(rows)[:, self._columns])

    def raw(self, rows: NDArray[np.int64]) -> Any:
        """Return (M, S) values as stored."""
        return self._reader.raw(rows)[:, self._columns]

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Say which rows will be asked for soon."""
        self._reader.announce(rows)

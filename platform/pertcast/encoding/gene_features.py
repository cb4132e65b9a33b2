"""Blocks of features that genes have from files: coordinates in a network, rows of a user's table.

A block knows genes that the store neither measures nor perturbs; the bundle carries all its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.text import listed
from pydantic import BaseModel, ConfigDict

Rows = NDArray[np.float32]
GeneSource = Literal["network", "gene_table"]
_SHOWN = 8
_WORDS: Mapping[GeneSource, str] = {"network": "gene network", "gene_table": "gene table"}


class GeneCoverage(BaseModel):
    """Which genes a source of gene features knows.

    Attributes
    ----------
    source
        "network" or "gene_table".
    files, sha256s
        Names and contents of its files.
    n_genes, width
        Genes that it knows, and numbers that it says of each.
    n_edges
        Edges of all networks; 0 for a table.
    n_unknown_ids
        Ids of the networks that no symbol is known of; left out.
    n_constant
        Columns of a table that are constant over the training genes and so left at zero.
    n_store, n_store_found
        Genes of the store's profiles, and how many of them it knows.
    n_perturbed, n_perturbed_found
        The same of the genes that any profile of the store perturbs.
    n_training, n_training_found
        The same of the genes that training perturbs.
    missing
        Perturbed genes that it does not know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: GeneSource
    files: tuple[str, ...]
    sha256s: tuple[str, ...]
    n_genes: int
    width: int
    n_edges: int = 0
    n_unknown_ids: int = 0
    n_constant: int = 0
    n_store: int
    n_store_found: int
    n_perturbed: int
    n_perturbed_found: int
    n_training: int
    n_training_found: int
    missing: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called in messages: its kind, its files and how many genes they know."""
        return f"{_WORDS[self.source]} {' + '.join(self.files)} ({self.n_genes:,} genes)"

    def text(self) -> str:
        """Return the report in one line."""
        parts = [
            f"{self.name}: {self.n_store_found:,} of {self.n_store:,} genes of the store, "
            f"{self.n_perturbed_found:,} of {self.n_perturbed:,} perturbed ones, "
            f"{self.n_training_found:,} of {self.n_training:,} in training"
        ]
        if self.missing:
            parts.append(f"missing: {listed(self.missing, _SHOWN)}")
        if self.n_unknown_ids:
            parts.append(f"{self.n_unknown_ids:,} ids of the networks stand for no known symbol")
        if self.n_constant:
            parts.append(f"{self.n_constant:,} of {self.width:,} columns constant in training, left at zero")
        return "; ".join(parts)


@dataclass(frozen=True)
class GeneBlock:
    """What one source says of genes, as features.

    Attributes
    ----------
    genes
        (N,) symbols; they are found however they are spelled (`fold_gene`).
    values
        (N, D) float32, scaled to a mean square length of 1.
    marks_missing
        Whether one more column is 1 for genes that the source does not know, as some training genes are.
    coverage
        Which genes of the training store it knows.
    """

    genes: tuple[str, ...]
    values: Rows
    marks_missing: bool
    coverage: GeneCoverage

    @property
    def source(self) -> GeneSource:
        """Name of the block."""
        return self.coverage.source

    @property
    def width(self) -> int:
        """Columns of the block, the mark of missing genes among them."""
        return int(self.values.shape[1]) + self.marks_missing

    def row(self, gene: str) -> int:
        """Return the row of a gene, -1 where the source does not know it."""
        row = self._row_of.get(gene)
        return self._row_of.get(fold_gene(gene), -1) if row is None else row

    def values_of(self, genes: Sequence[str]) -> Rows:
        """Return (M, D) float32 features without the mark; zero for genes that the source does not know."""
        rows = np.array([self.row(gene) for gene in genes], dtype=np.int64)
        found = np.zeros((len(rows), self.values.shape[1]), np.float32)
        found[rows >= 0] = self.values[rows[rows >= 0]]
        return found

    def block(self, genes: Sequence[str]) -> Rows:
        """Return the (M, width) block of genes."""
        values = self.values_of(genes)
        if not self.marks_missing:
            return values
        missing = [self.row(gene) < 0 for gene in genes]
        return np.column_stack((values, np.array(missing, dtype=np.float32)))

    @cached_property
    def _row_of(self) -> dict[str, int]:
        rows: dict[str, int] = {}
        for row, gene in enumerate(self.genes):
            rows.setdefault(fold_gene(gene), row)
        as_written = {gene: rows[fold_gene(gene)] for gene in self.genes}
        return {**as_written, **rows}

    def state(self) -> tuple[dict[str, Any], dict[str, Rows]]:
        """Return (plain facts, arrays) from which `from_state` makes the same block."""
        facts = {
            "genes": list(self.genes),
            "marks_missing": self.marks_missing,
            "coverage": self.coverage.model_dump(mode="json"),
        }
        return facts, {f"genes.{self.source}": self.values}

    @classmethod
    def from_state(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make the block whose `state` this is."""
        coverage = GeneCoverage.model_validate(facts["coverage"])
        values = np.asarray(arrays[f"genes.{coverage.source}"], np.float32)
        return cls(tuple(facts["genes"]), values, bool(facts["marks_missing"]), coverage)

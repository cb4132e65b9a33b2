"""Several networks over one set of genes, each as its file has it: what a multiplex model is made of.

Joined, they are one network (`joined`); apart, each keeps its edges, scores and what was left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pertcast_data.networks.gene_network import GeneNetwork, join_networks, union_of_genes


@dataclass(frozen=True)
class ListedNetwork:
    """One network of a multiplex.

    Attributes
    ----------
    name
        Stem of its file, or its name in a table of networks; no two networks of a multiplex have one name.
    file, sha256
        Name (without folder) and content of the file.
    edges
        (E, 2) int64 rows of the multiplex' genes, each pair once, first < second, sorted.
    weights
        (E,) float32, positive, on the scale of the file.
    n_rows, n_self_loops, n_unmapped_ids, examples_unmapped, notes, has_scores, merged_rows, evidence
        As in `GeneNetwork`.
    """

    name: str
    file: str
    sha256: str
    edges: NDArray[np.int64]
    weights: NDArray[np.float32]
    n_rows: int
    n_self_loops: int
    n_unmapped_ids: int
    examples_unmapped: tuple[str, ...]
    notes: tuple[str, ...] = ()
    has_scores: bool = True
    merged_rows: NDArray[np.int32] | None = None
    evidence: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def n_genes(self) -> int:
        """Number of genes that have an edge in it."""
        return len(np.unique(self.edges))

    def coverage_text(self) -> str:
        """Return rows, edges, genes, ids unknown and what was left out, in one line."""
        loops = f", {self.n_self_loops:,} self loops" if self.n_self_loops else ""
        shown = f" ({', '.join(self.examples_unmapped)})" if self.examples_unmapped else ""
        counts = (
            f"{self.name}: {self.n_rows:,} rows{loops}, {len(self.edges):,} edges, {self.n_genes:,} genes, "
            f"{self.n_unmapped_ids:,} ids unknown{shown}"
        )
        return "; ".join((counts, *self.notes))


@dataclass(frozen=True)
class MultiplexNetwork:
    """Networks over one set of N genes.

    Attributes
    ----------
    genes
        (N,) symbols as first spelled, sorted by how they are folded; no two are equal then. Each has an edge
        in one network at least.
    networks
        In the order in which they were given.
    """

    genes: tuple[str, ...]
    networks: tuple[ListedNetwork, ...]

    @classmethod
    def of(cls, names: Sequence[str], networks: Sequence[GeneNetwork]) -> MultiplexNetwork:
        """Lay networks, each of one file, over the genes of all."""
        genes, places = union_of_genes([each.genes for each in networks])
        listed = [
            ListedNetwork(
                name=name,
                file=each.files[0],
                sha256=each.sha256s[0],
                # Rows of a network and of the union are sorted alike, so edges stay sorted.
                edges=place[each.edges],
                weights=each.weights,
                n_rows=each.n_rows,
                n_self_loops=each.n_self_loops,
                n_unmapped_ids=each.n_unmapped_ids,
                examples_unmapped=each.examples_unmapped,
                notes=each.notes,
                has_scores=each.has_scores,
                merged_rows=each.merged_rows,
                evidence=each.evidence,
            )
            for name, each, place in zip(names, networks, places, strict=True)
        ]
        return cls(genes, tuple(listed))

    def coverage_text(self) -> str:
        """Return a line a network: rows, edges, genes, ids unknown with examples, what was left out."""
        return "\n".join(each.coverage_text() for each in self.networks)

    def joined(self) -> GeneNetwork:
        """Return all networks as one (`join_networks`)."""
        return join_networks([self._alone(each) for each in self.networks])

    def _alone(self, listed: ListedNetwork) -> GeneNetwork:
        return GeneNetwork(
            files=(listed.file,),
            sha256s=(listed.sha256,),
            genes=self.genes,
            edges=listed.edges,
            weights=listed.weights,
            n_rows=listed.n_rows,
            n_self_loops=listed.n_self_loops,
            n_unmapped_ids=listed.n_unmapped_ids,
            examples_unmapped=listed.examples_unmapped,
            notes=listed.notes,
        )

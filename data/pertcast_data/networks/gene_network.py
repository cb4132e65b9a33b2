"""A network of genes: one edge a pair, spelled in one way; and several networks as one.

Nothing of an experiment is in it, so a gene that no profile measures may be known through its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pertcast_data.gene_tables.identifiers import fold_gene


@dataclass(frozen=True)
class GeneNetwork:
    """An undirected network of N genes and E edges.

    Attributes
    ----------
    files, sha256s
        Names (without folder) and contents of the files it was read from.
    genes
        (N,) symbols as first spelled; no two are equal once folded (`fold_gene`).
    edges
        (E, 2) int64 rows of `genes`, each pair once, first < second, sorted.
    weights
        (E,) float32, positive; 1 where a file has no scores.
    n_rows
        Rows of the files.
    n_self_loops
        Of these, a gene with itself; left out.
    n_unmapped_ids
        Distinct ids that the table of gene names does not know; left out with their rows.
    examples_unmapped
        Of these, the first ones.
    notes
        What else was left out, or is not known, in words.
    has_scores
        Whether weights are scores of the files, so that a least score applies to them.
    merged_rows
        (E,) int32, rows of the files that each edge was made of; None where they are not counted (groups of
        genes, joined networks).
    evidence
        Channel -> (E,) float32, the largest value of the rows of an edge; empty unless it was asked for.
    """

    files: tuple[str, ...]
    sha256s: tuple[str, ...]
    genes: tuple[str, ...]
    edges: NDArray[np.int64]
    weights: NDArray[np.float32]
    n_rows: int
    n_self_loops: int
    n_unmapped_ids: int = 0
    examples_unmapped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    has_scores: bool = True
    merged_rows: NDArray[np.int32] | None = None
    evidence: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def among(self, genes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return edges among `genes`: (E, 2) int64 rows of them, first < second, sorted; (E,) weights.

        A gene is found however it is spelled; of genes with one name once folded, the first has the edges.
        """
        place: dict[str, int] = {}
        for row, gene in enumerate(genes):
            place.setdefault(fold_gene(gene), row)
        row_of = np.array([place.get(fold_gene(gene), -1) for gene in self.genes], dtype=np.int64)
        ends = np.sort(row_of[self.edges].reshape(-1, 2), axis=1)
        inside = ends[:, 0] >= 0
        ends, weights = ends[inside], self.weights[inside]
        order = np.lexsort((ends[:, 1], ends[:, 0]))
        return ends[order], weights[order]


def join_networks(networks: Sequence[GeneNetwork]) -> GeneNetwork:
    """Return one network: weights are divided by their network's mean, then summed edge by edge.

    A network thus counts by how many edges it lists, whatever its scores run to (1 or 1,000).
    """
    genes, places = union_of_genes([each.genes for each in networks])
    edges = np.concatenate([place[each.edges] for place, each in zip(places, networks, strict=True)])
    scaled = [each.weights.astype(np.float64) / each.weights.mean(dtype=np.float64) for each in networks]
    ends = np.sort(edges, axis=1)
    distinct, edge = np.unique(ends[:, 0] * len(genes) + ends[:, 1], return_inverse=True)
    weights = np.bincount(edge.ravel(), np.concatenate(scaled), minlength=len(distinct))
    return GeneNetwork(
        files=tuple(name for each in networks for name in each.files),
        sha256s=tuple(content for each in networks for content in each.sha256s),
        genes=genes,
        edges=np.column_stack(np.divmod(distinct, len(genes))),
        weights=weights.astype(np.float32),
        n_rows=sum(each.n_rows for each in networks),
        n_self_loops=sum(each.n_self_loops for each in networks),
        n_unmapped_ids=sum(each.n_unmapped_ids for each in networks),
        examples_unmapped=tuple(name for each in networks for name in each.examples_unmapped),
        notes=tuple(f"{each.files[0]}: {note}" for each in networks for note in each.notes),
    )


def union_of_genes(
    listed: Sequence[tuple[str, ...]],
) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """Return the genes of several networks, as first spelled, sorted, and the rows of each among them."""
    spelled: dict[str, str] = {}
    folds = [[fold_gene(gene) for gene in genes] for genes in listed]
    for genes, folded in zip(listed, folds, strict=True):
        for gene, name in zip(genes, folded, strict=True):
            spelled.setdefault(name, gene)
    order = sorted(spelled)
    row_of = {name: row for row, name in enumerate(order)}
    places = [np.array([row_of[name] for name in folded], np.int64) for folded in folds]
    return tuple(spelled[name] for name in order), places

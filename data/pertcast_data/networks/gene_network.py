"""Networks of genes from edge lists: one edge a pair, spelled in one way, and several networks as one.

Nothing of an experiment is in it, so a gene that no profile measures may be known through its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.networks.edge_list import EdgeList, distinct_names, read_edge_list
from pertcast_data.splits.gene_names import fold_gene


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
    """

    files: tuple[str, ...]
    sha256s: tuple[str, ...]
    genes: tuple[str, ...]
    edges: NDArray[np.int64]
    weights: NDArray[np.float32]
    n_rows: int
    n_self_loops: int

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


def read_gene_network(path: Path | str, least_score: float | None = None) -> GeneNetwork:
    """Read a network from an edge list; see `read_edge_list` for the formats.

    Parameters
    ----------
    path
        The file. Both directions, repeated edges (the largest score counts) and mixed case are one edge;
        self loops are left out; a score's sign (repression) is.
    least_score
        Edges with a smaller score are left out; None keeps all. A file without scores keeps all.

    Raises
    ------
    FormatError, SchemaError
        As `read_edge_list`; a score that is no finite number; no edge is left.
    """
    listed = read_edge_list(path)
    scores = _scores(listed)
    spelled: dict[str, str] = {}
    fold_of = {name: fold_gene(name) for name in distinct_names(listed)}
    for name, folded in fold_of.items():
        spelled.setdefault(folded, name)
    order = sorted(spelled)
    row_of_fold = {folded: row for row, folded in enumerate(order)}
    row_of = {name: row_of_fold[folded] for name, folded in fold_of.items()}
    numbered = listed.pairs.select(pl.col("first", "second").replace_strict(row_of, return_dtype=pl.Int64))
    ends = np.sort(numbered.to_numpy(), axis=1)
    loops = ends[:, 0] == ends[:, 1]
    kept = ~loops & (scores > 0)
    if least_score is not None and listed.score_column is not None:
        kept &= scores >= least_score
    if not kept.any():
        raise SchemaError(_nothing_left(listed, scores, loops, least_score))
    edges, weights = _each_once(ends[kept], scores[kept])
    used = np.unique(edges)
    return GeneNetwork(
        files=(listed.path.name,),
        sha256s=(listed.sha256,),
        genes=tuple(spelled[order[row]] for row in used.tolist()),
        edges=np.searchsorted(used, edges),
        weights=weights,
        n_rows=listed.pairs.height,
        n_self_loops=int(loops.sum()),
    )


def join_networks(networks: Sequence[GeneNetwork]) -> GeneNetwork:
    """Return one network: weights are divided by their network's mean, then summed edge by edge.

    A network thus counts by how many edges it lists, whatever its scores run to (1 or 1,000).
    """
    spelled: dict[str, str] = {}
    for network in networks:
        for gene in network.genes:
            spelled.setdefault(fold_gene(gene), gene)
    order = sorted(spelled)
    row_of = {folded: row for row, folded in enumerate(order)}
    places = [np.array([row_of[fold_gene(gene)] for gene in each.genes], np.int64) for each in networks]
    edges = np.concatenate([place[each.edges] for place, each in zip(places, networks, strict=True)])
    scaled = [each.weights.astype(np.float64) / each.weights.mean(dtype=np.float64) for each in networks]
    distinct, edge = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
    weights = np.bincount(edge.ravel(), np.concatenate(scaled), minlength=len(distinct))
    return GeneNetwork(
        files=tuple(name for each in networks for name in each.files),
        sha256s=tuple(content for each in networks for content in each.sha256s),
        genes=tuple(spelled[folded] for folded in order),
        edges=distinct,
        weights=weights.astype(np.float32),
        n_rows=sum(each.n_rows for each in networks),
        n_self_loops=sum(each.n_self_loops for each in networks),
    )


def read_gene_networks(paths: Sequence[Path], least_score: float | None = None) -> GeneNetwork:
    """Read networks and join them; raises as `read_gene_network` does."""
    return join_networks([read_gene_network(path, least_score) for path in paths])


def _scores(listed: EdgeList) -> NDArray[np.float64]:
    """Return (R,) float64 absolute scores, 1 where the file has none."""
    if listed.score_column is None:
        return np.ones(listed.pairs.height)
    column = listed.pairs["score"]
    text = column.str.strip_chars() if column.dtype == pl.String else column
    numbers = text.cast(pl.Float64, strict=False)
    wrong = (numbers.is_null() | ~numbers.is_finite().fill_null(False)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise SchemaError(
            f"{listed.where(row)}: {listed.score_column} is {column[row]!r}, which is no finite number "
            f"({len(wrong):,} such rows). Correct the scores, or leave the column out to count every edge "
            "alike."
        )
    scores: NDArray[np.float64] = np.abs(numbers.to_numpy())
    return scores


def _each_once(
    ends: NDArray[np.int64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return each edge once, sorted, with the largest of its scores."""
    order = np.lexsort((-scores, ends[:, 1], ends[:, 0]))
    ends, scores = ends[order], scores[order]
    first = np.append(True, (ends[1:] != ends[:-1]).any(axis=1))
    return ends[first], scores[first].astype(np.float32)


def _nothing_left(
    listed: EdgeList, scores: NDArray[np.float64], loops: NDArray[np.bool_], least_score: float | None
) -> str:
    between = scores[~loops]
    if least_score is None or not len(between) or between.max() == 0:
        return f"{listed.path}: connects no two genes. Bring edges between genes, with scores above 0."
    return (
        f"{listed.path}: no edge has a score of {least_score:g} or more; scores ({listed.score_column}) run "
        f"from {between.min():g} to {between.max():g}. Lower encoder.gene_network_score."
    )

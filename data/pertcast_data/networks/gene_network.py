"""Networks of genes from files: one edge a pair, spelled in one way, and several networks as one.

Nothing of an experiment is in it, so a gene that no profile measures may be known through its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.gene_names import GeneNames, read_gene_names
from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.networks.co_membership import LARGEST_GROUP, SMALLEST_GROUP, co_membership
from pertcast_data.networks.edge_list import EdgeList, read_edge_list
from pertcast_data.networks.edge_table import NetworkFacts, is_edge_table, read_edge_table
from pertcast_data.networks.gene_groups import GeneGroups, group_kind, read_gene_groups
from pertcast_data.networks.naming import NamedGenes, name_genes


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


def read_gene_network(
    path: Path | str, least_score: float | None = None, gene_names: GeneNames | None = None
) -> GeneNetwork:
    """Read a network from a file; what it is, is told by its content.

    Edge lists (`read_edge_list`), groups of genes (`read_gene_groups`: GMT, CORUM, GAF), which become a
    network by co-membership (`co_membership`), and tables of networks (`write_edge_table`), joined where
    there are several in it.

    Parameters
    ----------
    path
        The file. Both directions, repeated edges (the largest score counts) and mixed case are one edge;
        self loops are left out; a score's sign (repression) is.
    least_score
        Edges with a smaller score are left out; None keeps all. A file without scores keeps all.
    gene_names
        What the file's ids stand for (`read_gene_names`); None where it names genes by symbols.

    Raises
    ------
    FormatError, SchemaError
        As the readers; ids without `gene_names`; a score that is no finite number; no edge is left.
    """
    networks = [network for _, network in read_named_networks(Path(path), least_score, gene_names)]
    return networks[0] if len(networks) == 1 else join_networks(networks)


def read_named_networks(
    path: Path, least_score: float | None, gene_names: GeneNames | None, with_evidence: bool = False
) -> list[tuple[str | None, GeneNetwork]]:
    """Return every network of a file and its name there, None where the file names none.

    `with_evidence` also reads STRING's channels; the rest is as in `read_gene_network`.
    """
    if is_edge_table(path):
        return [
            (facts.name, _as_told(_of_edges(listed, least_score, gene_names), facts, listed))
            for facts, listed in read_edge_table(path, with_evidence)
        ]
    kind = group_kind(path)
    if kind is not None:
        return [(None, _of_groups(read_gene_groups(path, kind), gene_names))]
    return [(None, _of_edges(read_edge_list(path, with_evidence), least_score, gene_names))]


def _as_told(network: GeneNetwork, facts: NetworkFacts, listed: EdgeList) -> GeneNetwork:
    """Return a network of a table with what the table tells of the file that it came from."""
    return replace(
        network,
        files=(facts.file,),
        sha256s=(facts.sha256,),
        n_rows=facts.n_rows or network.n_rows,
        n_self_loops=facts.n_self_loops,
        n_unmapped_ids=facts.n_unmapped_ids + network.n_unmapped_ids,
        examples_unmapped=(*facts.examples_unmapped, *network.examples_unmapped),
        notes=(*facts.notes, *network.notes),
        merged_rows=None if listed.merged_rows is None else network.merged_rows,
    )


def _of_edges(listed: EdgeList, least_score: float | None, gene_names: GeneNames | None) -> GeneNetwork:
    _require_numbers(listed)
    named = name_genes(listed.path, listed.names, gene_names)
    sides = [named.row_of_name[listed.ends[:, side]] for side in (0, 1)]
    low, high = np.minimum(*sides), np.maximum(*sides)
    scores = np.abs(listed.scores)
    is_known = low >= 0
    loops = is_known & (low == high)
    kept = is_known & ~loops & (scores > 0)
    if least_score is not None and listed.score_column is not None:
        kept &= scores >= least_score
    if not kept.any():
        raise SchemaError(_nothing_left(listed, scores[is_known & ~loops], least_score, named))
    n_genes = len(named.genes)
    edges, order, first = _each_once((low * n_genes + high)[kept], n_genes)
    rows = np.flatnonzero(kept)[order]
    counts = np.ones(len(rows), np.int32) if listed.merged_rows is None else listed.merged_rows[rows]
    foreign = f"{listed.n_foreign:,} rows of other organisms or without a name left out"
    network = _network(
        named=named,
        edges=edges,
        weights=np.maximum.reduceat(scores[rows], first).astype(np.float32),
        source=listed,
        n_rows=len(listed.ends) + listed.n_foreign,
        n_self_loops=int(loops.sum()),
        notes=(foreign,) if listed.n_foreign else (),
    )
    return replace(
        network,
        has_scores=listed.score_column is not None,
        merged_rows=np.add.reduceat(counts, first).astype(np.int32),
        evidence={name: np.fmax.reduceat(values[rows], first) for name, values in listed.evidence.items()},
    )


def _of_groups(groups: GeneGroups, gene_names: GeneNames | None) -> GeneNetwork:
    named = name_genes(groups.path, groups.names, gene_names)
    genes = named.row_of_name[groups.members[:, 1]]
    members = np.column_stack((groups.members[:, 0], genes))[genes >= 0]
    found = co_membership(members, int(groups.members[:, 0].max()) + 1, len(named.genes))
    left_out = (
        f"{found.n_too_small:,} groups of fewer than {SMALLEST_GROUP} and {found.n_too_large:,} of more than "
        f"{LARGEST_GROUP} genes left out"
    )
    if not len(found.edges):
        raise SchemaError(
            f"{groups.path}: connects no two genes ({left_out}{_unknown(named)}). Bring groups of "
            f"{SMALLEST_GROUP} to {LARGEST_GROUP} genes."
        )
    network = _network(
        named=named,
        edges=found.edges,
        weights=found.weights,
        source=groups,
        n_rows=groups.n_rows,
        n_self_loops=0,
        notes=(*groups.notes, left_out) if found.n_too_small or found.n_too_large else groups.notes,
    )
    return replace(network, has_scores=False)


def _network(
    *,
    named: NamedGenes,
    edges: NDArray[np.int64],
    weights: NDArray[np.float32],
    source: EdgeList | GeneGroups,
    n_rows: int,
    n_self_loops: int,
    notes: tuple[str, ...],
) -> GeneNetwork:
    """Return the network of the genes that have an edge."""
    is_used = np.zeros(len(named.genes), dtype=bool)
    is_used[edges] = True
    used = np.flatnonzero(is_used)
    own = f"{named.n_own_names:,} symbols that gene_names lacks keep their name"
    return GeneNetwork(
        files=(source.path.name,),
        sha256s=(source.sha256,),
        genes=tuple(named.genes[row] for row in used.tolist()),
        edges=(np.cumsum(is_used) - 1)[edges],
        weights=weights,
        n_rows=n_rows,
        n_self_loops=n_self_loops,
        n_unmapped_ids=named.n_unmapped,
        examples_unmapped=named.examples,
        notes=(*notes, f"{own} ({', '.join(named.own_examples)})") if named.n_own_names else notes,
    )


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


def read_gene_networks(
    paths: Sequence[Path], least_score: float | None = None, gene_names: Path | None = None
) -> GeneNetwork:
    """Read networks and join them; raises as `read_gene_network` and `read_gene_names` do."""
    names = None if gene_names is None else read_gene_names(gene_names)
    found = [read_named_networks(Path(path), least_score, names) for path in paths]
    return join_networks([network for networks in found for _, network in networks])


def _require_numbers(listed: EdgeList) -> None:
    if listed.bad_score is not None:
        row, found = listed.bad_score
        count = int(np.isnan(listed.scores).sum())
        raise SchemaError(
            f"{listed.where(row)}: {listed.score_column} is {found!r}, which is no finite number "
            f"({count:,} such rows). Correct the scores, or leave the column out to count every edge alike."
        )


def _each_once(
    pair: NDArray[np.int64], n_genes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each edge (low * n_genes + high) once, sorted; the rows' order; the first of each edge there."""
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    first = np.flatnonzero(np.append(True, pair[1:] != pair[:-1]))
    return np.column_stack(np.divmod(pair[first], n_genes)), order, first


def _nothing_left(
    listed: EdgeList, scores: NDArray[np.float64], least_score: float | None, named: NamedGenes
) -> str:
    if least_score is None or not len(scores) or scores.max() == 0:
        return (
            f"{listed.path}: connects no two genes{_unknown(named)}. Bring edges between genes, with scores "
            "above 0."
        )
    return (
        f"{listed.path}: no edge has a score of {least_score:g} or more; scores ({listed.score_column}) run "
        f"from {scores.min():g} to {scores.max():g}. Lower encoder.gene_network_score."
    )


def _unknown(named: NamedGenes) -> str:
    if not named.n_unmapped:
        return ""
    return f"; {named.n_unmapped:,} ids that gene_names lacks ({', '.join(named.examples)})"

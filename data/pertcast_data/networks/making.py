"""Networks of genes from what a file lists: edges with scores, or groups whose members belong together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.gene_names import GeneNames
from pertcast_data.networks.co_membership import LARGEST_GROUP, SMALLEST_GROUP, co_membership
from pertcast_data.networks.edge_list import EdgeList
from pertcast_data.networks.gene_groups import GeneGroups
from pertcast_data.networks.gene_network import GeneNetwork
from pertcast_data.networks.naming import NamedGenes, name_genes


def network_of_edges(
    listed: EdgeList, least_score: float | None, gene_names: GeneNames | None
) -> GeneNetwork:
    """Return the network of a list of edges; parameters as in `read_gene_network`.

    Raises
    ------
    SchemaError
        A score that is no finite number; ids without `gene_names`; no edge is left.
    """
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


def network_of_groups(groups: GeneGroups, gene_names: GeneNames | None) -> GeneNetwork:
    """Return the network by co-membership (`co_membership`) of groups of genes.

    Raises
    ------
    SchemaError
        Ids without `gene_names`; no two genes are connected.
    """
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

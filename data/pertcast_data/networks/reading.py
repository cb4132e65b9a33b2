"""Networks of genes from files, whatever their layout: one file, several joined, several kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pertcast_data.errors import ConfigError
from pertcast_data.gene_tables.gene_names import GeneNames, read_gene_names
from pertcast_data.networks.edge_list import EdgeList, read_edge_list
from pertcast_data.networks.edge_table import NetworkFacts, is_edge_table, read_edge_table
from pertcast_data.networks.gene_groups import group_kind, read_gene_groups
from pertcast_data.networks.gene_network import GeneNetwork, join_networks
from pertcast_data.networks.making import network_of_edges, network_of_groups
from pertcast_data.networks.multiplex import MultiplexNetwork


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
    networks = [network for _, network in _read_named_networks(Path(path), least_score, gene_names)]
    return networks[0] if len(networks) == 1 else join_networks(networks)


def read_gene_networks(
    paths: Sequence[Path], least_score: float | None = None, gene_names: Path | None = None
) -> GeneNetwork:
    """Read networks and join them; raises as `read_gene_network` and `read_gene_names` do."""
    names = None if gene_names is None else read_gene_names(gene_names)
    found = [_read_named_networks(Path(path), least_score, names) for path in paths]
    return join_networks([network for networks in found for _, network in networks])


def read_multiplex(
    paths: Sequence[Path],
    least_score: float | None = None,
    gene_names: Path | None = None,
    *,
    with_evidence: bool = False,
) -> MultiplexNetwork:
    """Read networks, each from its file, over one set of genes.

    Parameters
    ----------
    paths
        Edge lists, files of groups of genes, and tables of networks; see `read_gene_network`.
    least_score
        Edges with a smaller score are left out, on the scale of each file; files without scores keep all.
    gene_names
        A table of what ids and older symbols stand for; see `read_gene_names`.
    with_evidence
        Also read STRING's channels of evidence where a file has them.

    Raises
    ------
    ConfigError
        No file is given, or one twice.
    FormatError, SchemaError
        As `read_gene_network` and `read_gene_names`.
    """
    _require_each_once(paths)
    table = None if gene_names is None else read_gene_names(gene_names)
    found = [
        (name or _stem(Path(path)), network)
        for path in paths
        for name, network in _read_named_networks(Path(path), least_score, table, with_evidence)
    ]
    return MultiplexNetwork.of(_distinct([name for name, _ in found]), [network for _, network in found])


def _read_named_networks(
    path: Path, least_score: float | None, gene_names: GeneNames | None, with_evidence: bool = False
) -> list[tuple[str | None, GeneNetwork]]:
    """Return every network of a file and its name there, None where the file names none.

    `with_evidence` also reads STRING's channels; the rest is as in `read_gene_network`.
    """
    if is_edge_table(path):
        return [
            (facts.name, _as_told(network_of_edges(listed, least_score, gene_names), facts, listed))
            for facts, listed in read_edge_table(path, with_evidence)
        ]
    kind = group_kind(path)
    if kind is not None:
        return [(None, network_of_groups(read_gene_groups(path, kind), gene_names))]
    return [(None, network_of_edges(read_edge_list(path, with_evidence), least_score, gene_names))]


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


def _require_each_once(paths: Sequence[Path]) -> None:
    if not paths:
        raise ConfigError("No network is given. Name one file at least.")
    places = [Path(path).resolve() for path in paths]
    twice = next((path for row, path in enumerate(places) if path in places[:row]), None)
    if twice is not None:
        raise ConfigError(f"{twice}: the network is given twice. Name each file once.")


def _stem(path: Path) -> str:
    """Return the name of a file without folder, .gz and ending."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).stem


def _distinct(wanted: Sequence[str]) -> list[str]:
    """Return the names; one that is taken has a number added."""
    names: list[str] = []
    for stem in wanted:
        number, name = 1, stem
        while name in names:
            number += 1
            name = f"{stem}_{number}"
        names.append(name)
    return names

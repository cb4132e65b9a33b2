"""Blocks of genes that are held out together: complexes, paralogues, neighbours in a network.

A file of the user's says which genes belong together; blocks are what it connects of the perturbed genes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from pertcast_data.errors import ConfigError
from pertcast_data.networks.edge_list import read_edge_list
from pertcast_data.splits.tables import first_lines, read_table

LARGEST_SHARE: Final = 0.5
Blocks = tuple[tuple[str, str], ...]
"""(gene, block) pairs; a block is named by its smallest gene."""


def read_blocks(
    path: Path | str, genes: Sequence[str], canonical: Callable[[str], str], distance: int = 1
) -> Blocks:
    """Return the block of each perturbed gene.

    Parameters
    ----------
    path
        A `.gmt` file (genes of one set belong together), a csv or tsv with the columns gene and block, or an
        edge list (see `read_edge_list`): two columns of genes, more are not looked at.
    genes
        Canonical names of the perturbed genes.
    canonical
        Gives a gene of the file its canonical name.
    distance
        Edges, at most, over which two perturbed genes still belong together; the way may lead over genes that
        are not perturbed. For edge lists only.

    Returns
    -------
    Blocks
        Every gene of `genes`; those that the file does not connect are blocks of their own.

    Raises
    ------
    ConfigError
        The file cannot be read, connects no two perturbed genes, or puts more than half of them in one block.
    FormatError, SchemaError
        An edge list cannot be read, or a row of it names one gene only.
    """
    path = Path(path)
    if distance < 1:
        raise ConfigError(f"A distance of {distance} edges connects nothing; give 1 or more.")
    links = _read_links(path)
    if links.is_sets and distance != 1:
        raise ConfigError(
            f"{path} lists groups, not edges: --block-distance is for edge lists. Leave it out."
        )
    pairs = [(canonical(first), canonical(second)) for first, second in links.pairs]
    label = _components(sorted(set(genes)), pairs, distance * (2 if links.is_sets else 1))
    _require_useful(path, label)
    return tuple(sorted(label.items()))


class _Links:
    """Edges between genes, or between sets and their genes."""

    def __init__(self, pairs: Iterable[tuple[str, str]], *, is_sets: bool) -> None:
        self.pairs = list(pairs)
        self.is_sets = is_sets


def _read_links(path: Path) -> _Links:
    if path.suffix.lower() == ".gmt":
        sets = [line.split("\t") for line in first_lines(path, 1 << 20)]
        return _Links(
            ((f"\0{row[0]}", gene) for row in sets for gene in row[2:] if gene.strip()), is_sets=True
        )
    table = read_table(path)
    if {"gene", "block"} <= set(table.columns):
        rows = table.select("block", "gene").drop_nulls().iter_rows()
        return _Links(((f"\0{block}", gene) for block, gene in rows), is_sets=True)
    if table.width < 2:
        raise ConfigError(
            f"{path}: one column says nothing of blocks. Bring an edge list (two columns of genes), a table "
            "with the columns gene and block, or a .gmt file."
        )
    return _Links(read_edge_list(path).pairs.select("first", "second").iter_rows(), is_sets=False)


def _components(genes: list[str], pairs: Iterable[tuple[str, str]], distance: int) -> dict[str, str]:
    """Return gene -> smallest gene of its block."""
    place: dict[str, int] = {gene: row for row, gene in enumerate(genes)}
    ends = [(place.setdefault(a, len(place)), place.setdefault(b, len(place))) for a, b in pairs]
    reached = _within(np.array(ends, np.int64).reshape(-1, 2), len(place), len(genes), distance)
    _, component = connected_components(reached, directed=False)
    smallest: dict[int, str] = {}
    for gene, number in zip(genes, component.tolist(), strict=True):
        smallest.setdefault(number, gene)
    return {gene: smallest[number] for gene, number in zip(genes, component.tolist(), strict=True)}


def _within(ends: NDArray[np.int64], n_nodes: int, n_genes: int, distance: int) -> Any:
    """Return (n_genes, n_genes) CSR: which of the first nodes are at most `distance` edges apart."""
    ones = np.ones(len(ends), np.int8)
    edges = sparse.csr_matrix((ones, (ends[:, 0], ends[:, 1])), shape=(n_nodes, n_nodes)).astype(bool)
    step = (edges + edges.T + sparse.identity(n_nodes, dtype=bool, format="csr")).astype(bool)
    reached = step[:n_genes]
    for _ in range(distance - 1):
        reached = (reached @ step).astype(bool)
    return reached[:, :n_genes]


def _require_useful(path: Path, label: Mapping[str, str]) -> None:
    largest = max(Counter(label.values()).values(), default=0)
    if largest < 2:
        raise ConfigError(
            f"{path} connects no two of the {len(label)} perturbed genes. Check that it names genes as the "
            "store does, or bring --aliases."
        )
    if largest > LARGEST_SHARE * len(label) and largest > 2:
        raise ConfigError(
            f"{path} ties {largest} of {len(label)} perturbed genes into one block: nothing near them could "
            "be trained on. Bring a sparser network (a higher cut-off on its edges), a smaller "
            "--block-distance, or a table gene,block of complexes or paralogues."
        )

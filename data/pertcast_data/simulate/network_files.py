"""Write networks as tab-separated edge lists, each in the layout of a kind of file that users have.

Their readers must cope with no header, with both directions listed, with signs and with several weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl

from pertcast_data.simulate.genome import Network
from pertcast_data.simulate.networks import ListedNetwork


def write_network(path: Path, listed: ListedNetwork, network: Network) -> None:
    """Write the listed edges of one network in its layout, sorted by the genes' names."""
    layout, has_header = LAYOUTS[listed.name]
    layout(listed, network).write_csv(path, separator="\t", include_header=has_header)


def _named_edges(listed: ListedNetwork, network: Network, columns: tuple[str, str, str]) -> pl.DataFrame:
    symbols = np.asarray(network.gene_symbols, dtype=np.str_)
    edges = symbols[listed.edges]
    table = pl.DataFrame([edges[:, 0], edges[:, 1], listed.scores], schema=list(columns))
    return table.sort(columns[:2])


def _plain(listed: ListedNetwork, network: Network) -> pl.DataFrame:
    return _named_edges(listed, network, ("gene1", "gene2", "weight"))


def _directed(listed: ListedNetwork, network: Network) -> pl.DataFrame:
    """Lay out as collections of regulons do: source, target, and +1 or -1 for activation or repression."""
    return _named_edges(listed, network, ("source", "target", "weight")).cast({"weight": pl.Int64})


def _string_export(listed: ListedNetwork, network: Network) -> pl.DataFrame:
    """Lay out as STRING's web export does: each edge in both directions, ids beside names, several scores."""
    one_way = _named_edges(listed, network, ("#node1", "node2", "coexpression"))
    other_way = one_way.select(
        pl.col("node2").alias("#node1"), pl.col("#node1").alias("node2"), pl.col("coexpression")
    )
    ids = dict(zip(network.gene_symbols, network.gene_ids, strict=True))
    both = pl.concat([one_way, other_way]).sort("#node1", "node2")
    return both.select(
        "#node1",
        "node2",
        pl.col("#node1").replace(ids).alias("node1_string_id"),
        pl.col("node2").replace(ids).alias("node2_string_id"),
        "coexpression",
        pl.col("coexpression").alias("combined_score"),
    )


LAYOUTS: Final[Mapping[str, tuple[Callable[[ListedNetwork, Network], pl.DataFrame], bool]]] = (
    MappingProxyType(
        {
            "protein_interactions": (_plain, False),
            "coexpression": (_string_export, True),
            "regulation": (_directed, True),
            "complexes": (_plain, True),
            "pathways": (_plain, True),
            "neighbourhood": (_plain, True),
        }
    )
)
"""Layer -> its table, and whether the file names its columns (real interactomes often do not)."""

"""Network files read and counted and, with a plan, the methods that integrate them judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pertcast.encoding.network_features import as_multiplex
from pertcast_data.errors import ConfigError, FormatError, SchemaError
from pertcast_data.networks.multiplex import MultiplexNetwork
from pertcast_data.networks.reading import read_multiplex
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.networks.held_out import LinkPlan, LinkReport, judge_methods

_OPTIONS: Final = {
    "encoder.gene_names=FILE": "--gene-names TABLE",
    "encoder.gene_network_score": "--score",
}
"""Options of a training, as readers name them in errors, and what this command calls them."""


@dataclass(frozen=True)
class NetworkReport:
    """Networks as read and, where asked for, judged.

    Attributes
    ----------
    network
        The networks over the genes of all.
    n_union_edges
        Pairs of genes with an edge in one network at least.
    links
        The judge's figures; None where not asked for.
    """

    network: MultiplexNetwork
    n_union_edges: int
    links: LinkReport | None = None

    @property
    def n_shared_genes(self) -> int:
        """Number of genes that two networks or more know."""
        known = np.concatenate([np.unique(each.edges) for each in self.network.networks])
        return int((np.bincount(known) > 1).sum())

    def lines(self) -> list[str]:
        """Return a line a network, the union's size, and the figures of held-out edges."""
        listed = self.network.coverage_text().splitlines()
        shared = f", {self.n_shared_genes:,} genes in more than one" if len(listed) > 1 else ""
        union = f"union: {self.n_union_edges:,} edges, {len(self.network.genes):,} genes{shared}"
        return [*listed, union, *(["", *self.links.lines()] if self.links else [])]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values; "links" only where asked for."""
        facts: dict[str, Any] = {
            "networks": [
                {
                    "name": each.name,
                    "file": each.file,
                    "sha256": each.sha256,
                    "rows": each.n_rows,
                    "self_loops": each.n_self_loops,
                    "edges": len(each.edges),
                    "genes": each.n_genes,
                    "unknown_ids": each.n_unmapped_ids,
                    "examples_unknown": list(each.examples_unmapped),
                    "notes": list(each.notes),
                }
                for each in self.network.networks
            ],
            "union": {
                "edges": self.n_union_edges,
                "genes": len(self.network.genes),
                "genes_in_more_than_one": self.n_shared_genes,
            },
        }
        return facts | ({"links": self.links.to_json()} if self.links else {})


def examine_networks(
    files: Sequence[Path],
    gene_names: Path | None = None,
    least_score: float | None = None,
    plan: LinkPlan | None = None,
    progress: ProgressCallback = no_progress,
) -> NetworkReport:
    """Read networks, count what they hold and, with a plan, judge methods by held-out edges.

    Parameters
    ----------
    files
        Edge lists or groups of genes (docs/gene_features.md).
    gene_names
        Table of what ids and older symbols stand for.
    least_score
        Edges with a smaller score are left out, on the scale of each file.
    plan
        How methods are judged; None counts only.
    progress
        Told of steps: the reading, and each method on each network.

    Raises
    ------
    ConfigError, FormatError, SchemaError
        As `read_multiplex`.
    """
    steps = 1 + (len(files) * len(plan.methods) if plan else 0)
    progress(0, steps, "reading")
    network = _read(files, gene_names, least_score)
    progress(1, steps, "read")
    edges = len(network.joined().edges)
    if plan is None:
        return NetworkReport(network, edges)
    return NetworkReport(network, edges, judge_methods(as_multiplex(network), plan, progress))


def _read(files: Sequence[Path], gene_names: Path | None, least_score: float | None) -> MultiplexNetwork:
    try:
        return read_multiplex(files, least_score, gene_names)
    except (ConfigError, FormatError, SchemaError) as error:
        told = str(error)
        for option, here in _OPTIONS.items():
            told = told.replace(option, here)
        raise type(error)(told) from error

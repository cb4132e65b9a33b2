"""`pertcast data networks`: what network files hold, and what they tell of edges held out of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pertcast_jobs.cli.usage import usage_errors
from pertcast_jobs.progress import progress_bar

_METHODS = "union,spectral,random_walk,attention"


def networks(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Edge lists or groups of genes; content decides which."),
    ],
    gene_names: Annotated[
        Path | None,
        typer.Option(help="Symbols of the files' ids: HGNC, gene_info, protein.info, ...", metavar="TABLE"),
    ] = None,
    score: Annotated[
        float | None, typer.Option(help="Least score of an edge, on the scale of each file; default: all.")
    ] = None,
    links: Annotated[
        bool, typer.Option("--links", help="Also rank held-out edges of each network by each method.")
    ] = False,
    methods: Annotated[
        str, typer.Option(help="With --links: ways of integration; attention is the slowest.", metavar="A,B")
    ] = _METHODS,
    components: Annotated[int, typer.Option(help="With --links: features of a gene.", min=1)] = 64,
    seed: Annotated[
        int, typer.Option(help="With --links: of the edges drawn and of the methods.", min=0)
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write all networks as one Parquet table of edges.", metavar="EDGES.parquet"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Count rows, edges, genes and unknown ids of network files; with --links, judge ways of integration.

    Example: pertcast data networks string.tsv reactome.gmt --links

    A table written with --out is read wherever network files are, and by this command.

    Files and methods: docs/gene_features.md.
    """
    # Here, not above: the other commands of `data` need no PyTorch, which takes a second to import.
    from pertcast_data.networks.edge_table import write_edge_table
    from pertcast_data.networks.reading import read_multiplex

    from pertcast_jobs.networks.examine import examine_networks
    from pertcast_jobs.networks.held_out import LinkPlan, methods_named

    with usage_errors():
        plan = LinkPlan(methods_named(methods), components, seed) if links else None
    with progress_bar("networks", "steps") as progress:
        report = examine_networks(files, gene_names, score, plan, progress)
    if out is not None:
        write_edge_table(read_multiplex(files, score, gene_names, with_evidence=True), out)
    print(json.dumps(report.to_json(), indent=1) if json_ else "\n".join(report.lines()))

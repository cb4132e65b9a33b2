"""`pertcast data gene-sets`: what a file of gene sets holds, and how much of it a store can see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast_data.gene_sets.report import read_gene_set_report
from pertcast_data.store import ExpressionStore


def gene_sets(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A GMT file, packed with gzip or not.")],
    store: Annotated[Path | None, typer.Option(help="Also count the genes that this store has.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON, set by set.")] = False,
) -> None:
    """Check a file of gene sets: sizes, kind of names, repeats, and overlap with a store's genes.

    Example: pertcast data gene-sets h.all.symbols.gmt --store stores/screen
    """
    genes = None if store is None else ExpressionStore.open(store).genes
    report = read_gene_set_report(file, genes)
    print(json.dumps(report.to_json(), indent=1) if json_ else "\n".join(report.lines()))

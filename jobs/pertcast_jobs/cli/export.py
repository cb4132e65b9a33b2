"""`pertcast data export`: a store as one file that other tools read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast_data.export import EXPORTERS, export_store
from pertcast_data.store import ExpressionStore

from pertcast_jobs.progress import progress_bar


def export(
    store: Annotated[Path, typer.Argument(help="A store.")],
    out: Annotated[Path, typer.Option(help=f"The file to create: {', '.join(EXPORTERS)}; must not exist.")],
    source_order: Annotated[
        bool,
        typer.Option("--source-order", help="Rows in the order of the source files."),
    ] = False,
    as_source: Annotated[
        bool,
        typer.Option(
            "--as-source", help="The source's own names and columns, without what the ingest added to them."
        ),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a store as an h5ad, GCTX, GCT or (wide) Parquet file; values are exactly those that are stored.

    Example: pertcast data export stores/screen --out screen.h5ad

    Back to what came in: pertcast data export stores/l1000 --out level3.gctx --source-order --as-source
    """
    opened = ExpressionStore.open(store)
    with progress_bar("export", "profiles") as progress:
        written = export_store(opened, out, source_order=source_order, as_source=as_source, progress=progress)
    size = written.stat().st_size
    facts = {"file": str(written), "n_rows": opened.n_rows, "n_genes": opened.n_genes, "bytes": size}
    told = f"Exported {opened.n_rows:,} profiles x {opened.n_genes:,} genes ({opened.normalisation})"
    print(json.dumps(facts, indent=2) if json_ else f"{told}, {size / 2**20:,.1f} MB\nfile: {written}")

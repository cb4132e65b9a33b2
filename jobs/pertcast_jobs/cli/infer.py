"""`pertcast data infer`: a store of landmarks becomes a store of landmarks and inferred genes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast_data.gene_tables.gene_names import read_gene_names
from pertcast_data.landmarks.inference import infer_store
from pertcast_data.landmarks.weights import LandmarkWeights
from pertcast_data.store import ExpressionStore

from pertcast_jobs.progress import progress_bar


def infer(
    store: Annotated[Path, typer.Argument(help="A store that has all landmarks: levels, or fold changes.")],
    weights: Annotated[
        Path,
        typer.Option(help="Landmarks to genes, with an offset: GCTX, GCT, csv or Parquet.", metavar="FILE"),
    ],
    out: Annotated[Path, typer.Option(help="The store to create; must not exist.")],
    gene_names: Annotated[
        Path | None,
        typer.Option(help="Symbols of the weights' ids: HGNC, gene_info, geneinfo, ...", metavar="TABLE"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Infer genes that were not measured from the landmarks, by a linear model such as CMap's.

    Example: pertcast data infer stores/landmarks --weights OLS_WEIGHTS_n979x11350.gctx --out stores/all_genes
    """
    names = None if gene_names is None else read_gene_names(gene_names)
    with progress_bar("infer", "rows read and written") as progress:
        made = infer_store(ExpressionStore.open(store), LandmarkWeights.read(weights), out, names, progress)
    n_landmarks = int((made.store.var["feature_space"] == "landmark").sum())
    facts = {
        "store": str(out),
        "rows": made.store.n_rows,
        "landmarks": n_landmarks,
        "inferred": made.store.n_genes - n_landmarks,
        "left_out": made.n_left_out,
        "matched_by": made.matched_by,
        "data_hash": made.store.data_hash,
    }
    lines = [
        f"{made.store.n_rows:,} profiles x {n_landmarks:,} landmarks (found by {made.matched_by}) and "
        f"{facts['inferred']:,} inferred genes",
        *([f"{made.n_left_out:,} genes that are no landmarks left out"] if made.n_left_out else []),
        f"store: {out}",
    ]
    print(json.dumps(facts, indent=1) if json_ else "\n".join(lines))

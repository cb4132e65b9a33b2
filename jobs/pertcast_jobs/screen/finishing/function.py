"""Gene function of a screen of genes: whether its profiles tell which genes share a set of a GMT file.

Over all screened genes, type by type, at constant memory; beside networks alone, degree and chance.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.encoding.perturbations import Perturbations
from pertcast.evaluation.parts import CoMembership
from pertcast.evaluation.structure.screened_function import screened_function
from pertcast.evaluation.structure.streamed_similarity import ReadRows
from pertcast.report.screen_results import FunctionOfScreen
from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.vocabulary import PAIR_SEPARATOR

from pertcast_jobs.screen.prepare import PreparedScreen

FUNCTION_SCHEMA = {
    "pert_type": pl.String,
    "similarity": pl.String,
    "roc_auc": pl.Float64,
    "roc_auc_low": pl.Float64,
    "roc_auc_high": pl.Float64,
    "average_precision": pl.Float64,
    "n_genes": pl.Int64,
    "n_pairs": pl.Int64,
}
"""Columns of gene_function.parquet: one row a perturbation type and similarity."""


def screen_function(
    prepared: PreparedScreen, sig_info: pl.DataFrame, read: ReadRows
) -> FunctionOfScreen | None:
    """Judge the profiles of a finished screen of genes; None for another kind, or without gene sets.

    Parameters
    ----------
    prepared
        The screen.
    sig_info
        One row a profile, in the order of the profiles.
    read
        Reads profiles by row.
    """
    if prepared.plan.settings.kind != "genes" or prepared.gene_sets is None:
        return None
    known = prepared.predictor.encoder.perturbations
    singles = _single_genes(sig_info, known)
    found: dict[str, CoMembership] = {}
    reasons: dict[str, str] = {}
    measured: dict[str, int] = {}
    for kind in singles["pert_type"].unique(maintain_order=True):
        rows = singles.filter(pert_type=kind)
        measured[kind] = rows.filter(pl.col("seen_pert"))["gene"].n_unique()
        try:
            found[kind] = _judged(prepared, rows, read, _network(known, rows["gene"]))
        except SchemaError as error:
            reasons[kind] = str(error)
    return FunctionOfScreen(found, reasons, measured)


def function_table(function: FunctionOfScreen) -> pl.DataFrame:
    """Return the numbers as a table, `FUNCTION_SCHEMA`."""
    rows = [
        {
            "pert_type": kind,
            "similarity": name,
            "roc_auc": area.mean,
            "roc_auc_low": area.low,
            "roc_auc_high": area.high,
            "average_precision": found.precision[name].mean,
            "n_genes": found.n_genes,
            "n_pairs": found.n_pairs,
        }
        for kind, found in function.found.items()
        for name, area in found.rows.items()
    ]
    return pl.DataFrame(rows, schema=FUNCTION_SCHEMA)


def _single_genes(sig_info: pl.DataFrame, known: Perturbations) -> pl.DataFrame:
    """Return the rows that perturb one gene, with its name as training calls it, its row and its pool."""
    asked = sig_info.select(
        "pert_type",
        "seen_pert",
        gene=pl.coalesce("targets", "pert_id"),
        pool=pl.struct("cell_iname", "pert_time").rank("dense").cast(pl.Int64),
    ).with_row_index("place")
    single = asked.filter(~pl.col("gene").str.contains(PAIR_SEPARATOR, literal=True))
    names = {name: known.known_gene(name) or name for name in single["gene"].unique()}
    return single.with_columns(pl.col("gene").replace(names), pl.col("place").cast(pl.Int64))


def _judged(
    prepared: PreparedScreen,
    rows: pl.DataFrame,
    read: ReadRows,
    network: Mapping[str, NDArray[np.float32]] | None,
) -> CoMembership:
    sets = prepared.gene_sets
    if sets is None:
        raise SchemaError("There are no gene sets to judge gene function by: add --gmt FILE.")
    spelled = {fold_gene(name): name for name in rows["gene"].unique(maintain_order=True)}
    members = {
        name: [spelled.get(fold_gene(gene), gene) for gene in genes] for name, genes in sets.members.items()
    }
    return screened_function(
        read,
        rows["gene"].to_list(),
        rows["place"].to_numpy().astype(np.int64),
        prepared.predictor.genes,
        members,
        pool=rows["pool"].to_numpy().astype(np.int64),
        source=sets.source,
        network=network,
        seed=prepared.plan.settings.seed,
    )


def _network(known: Perturbations, genes: pl.Series) -> Mapping[str, NDArray[np.float32]] | None:
    """Return what the networks alone say of genes; None for a bundle without networks."""
    names = genes.unique(maintain_order=True).to_list()
    for block in known.gene_blocks:
        if block.source == "network":
            return dict(zip(names, block.values_of(names), strict=True))
    return None

"""Gene function of a screen of genes: whether its profiles tell which genes share a set of a GMT file.

Over all screened genes, type by type, at constant memory; beside networks alone, degree and chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.encoding.perturbations import Perturbations
from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.parts import CoMembership
from pertcast.evaluation.structure.screened_function import screened_function
from pertcast.report.screen.function_section import FunctionOfScreen
from pertcast.screens.sig_info import SigInfo
from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.reading import ProfileReader
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
    prepared: PreparedScreen, sig_info: SigInfo, read: ProfileReader
) -> FunctionOfScreen | None:
    """Judge the profiles of a finished screen of genes; None for another kind, or without gene sets.

    Parameters
    ----------
    prepared
        The screen.
    sig_info
        The screen's table of conditions.
    read
        Reads profiles by row.
    """
    if prepared.plan.settings.kind != "genes" or prepared.gene_sets is None:
        return None
    known = prepared.predictor.encoder.perturbations
    found: dict[str, CoMembership] = {}
    reasons: dict[str, str] = {}
    measured: dict[str, int] = {}
    for kind in dict.fromkeys(kind for _, kind in prepared.plan.survey.groups):
        rows = _single_genes(sig_info, kind, known)
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


def function_facts(function: FunctionOfScreen) -> dict[str, Any]:
    """Return what `function_table` does not hold, as plain JSON."""
    return {
        "reasons": dict(function.reasons),
        "n_measured": dict(function.n_measured),
        "source": {kind: found.source for kind, found in function.found.items()},
        "share_positive": {kind: found.share_positive for kind, found in function.found.items()},
    }


def function_of(table: pl.DataFrame, facts: Mapping[str, Any]) -> FunctionOfScreen:
    """Restore gene function from `function_table` and `function_facts`."""
    found = {}
    for kind, source in facts["source"].items():
        rows = table.filter(pert_type=kind)
        count = rows["n_genes"][0]
        areas = {
            row["similarity"]: Estimate(
                row["roc_auc"], row["roc_auc_low"], row["roc_auc_high"], count, 0, float("nan")
            )
            for row in rows.iter_rows(named=True)
        }
        precision = {
            row["similarity"]: Estimate(
                row["average_precision"], float("nan"), float("nan"), count, 0, float("nan")
            )
            for row in rows.iter_rows(named=True)
        }
        share = facts["share_positive"][kind]
        found[kind] = CoMembership(source, areas, precision, count, rows["n_pairs"][0], share)
    return FunctionOfScreen(found, facts["reasons"], facts["n_measured"])


def _single_genes(sig_info: SigInfo, kind: str, known: Perturbations) -> pl.DataFrame:
    """Return the rows of a type that perturb one gene: its name as training calls it, row and pool."""
    wanted = ["pert_type", "seen_pert", "targets", "pert_id", "cell_iname", "pert_time"]
    parts = []
    for start, block in sig_info.blocks(wanted):
        asked = block.with_row_index("place", offset=start).filter(pert_type=kind)
        parts.append(
            asked.select(
                pl.col("place").cast(pl.Int64),
                "seen_pert",
                "cell_iname",
                "pert_time",
                gene=pl.coalesce("targets", "pert_id"),
            ).filter(~pl.col("gene").str.contains(PAIR_SEPARATOR, literal=True))
        )
    single = pl.concat(parts)
    names = {name: known.known_gene(name) or name for name in single["gene"].unique()}
    pool = pl.struct("cell_iname", "pert_time").rank("dense").cast(pl.Int64)
    return single.select("place", "seen_pert", pool.alias("pool"), pl.col("gene").replace(names))


def _judged(
    prepared: PreparedScreen,
    rows: pl.DataFrame,
    read: ProfileReader,
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

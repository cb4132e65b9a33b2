"""The end of a screen: tables, report and, last of all, the manifest that declares it complete."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pertcast.naming import response_unit
from pertcast.report.screen_report import screen_report
from pertcast.report.screen_results import ScreenResults
from pertcast.training.files import sha256_of, write_json
from pertcast_data.store.zarr_layout import open_array

from pertcast_jobs.run_folder import code_version, git_revision
import polars as pl
from pertcast.analysis.neighbors import nearest_and_opposite
from pertcast_jobs.screen.finishing.enrichment import (
    ENRICHMENT,
    ShardScores,
    prerank_rows,
    reported_rows,
    write_enrichment,
)
from pertcast_jobs.screen.finishing.function import function_table, screen_function
from pertcast_jobs.screen.finishing.ranking import HITS, rank_conditions, write_hits
from pertcast_jobs.screen.finishing.tables import commit_profiles, strongest_of, write_sig_info
from pertcast_jobs.screen.profiles import ProfileRead
from pertcast_jobs.screen.plan import refusal_table
from pertcast_jobs.screen.prepare import PreparedScreen
from pertcast_jobs.screen.workspace import Workspace

SCHEMA_VERSION = 1
REPORT = "report.html"
FUNCTION = "gene_function.parquet"
NEIGHBORS = "neighbors.parquet"
REFUSED = "refused.csv"
_PACKAGES = ("numpy", "torch", "polars", "zarr", "gseapy")


def finish(workspace: Workspace, prepared: PreparedScreen, tell: Callable[[str], None]) -> None:
    """Write everything that a finished screen holds; may be interrupted and called again."""
    plan = prepared.plan
    tell("writing: checksums")
    workspace.require_all(plan)
    sig_info = write_sig_info(workspace, plan)
    calibration = getattr(prepared.predictor, "hit_calibration", None)
    ranking = rank_conditions(sig_info, calibration)
    write_hits(workspace, sig_info, ranking, calibration)
    reported = ranking.order[: plan.settings.n_reported]
    strongest = strongest_of(workspace, plan, reported)
    if prepared.sets is not None:
        tell("writing: enrichment")
        tested = prerank_rows(strongest, prepared.predictor.genes, prepared.sets, plan.settings)
        write_enrichment(ShardScores(workspace, plan), prepared.sets, tested)
    commit_profiles(workspace, plan, sig_info)
    tell("writing: neighbours")
    read = ProfileRead(workspace.profiles)
    neighbors = nearest_and_opposite(pl.read_parquet(sig_info.path), read, plan.settings.per_tail)
    workspace.publish(workspace.path / NEIGHBORS, neighbors.write_parquet)
    if plan.settings.kind == "genes" and prepared.gene_sets is not None:
        tell("writing: gene function")
    function = screen_function(prepared, pl.read_parquet(sig_info.path), read)
    if function is not None:
        workspace.publish(workspace.path / FUNCTION, function_table(function).write_parquet)
    tell("writing: report")
    if plan.refused:
        workspace.publish(workspace.path / REFUSED, refusal_table(plan.refused).write_csv)
    html = screen_report(replace(_results(workspace, prepared, sig_info, strongest), function=function))
    workspace.publish(workspace.path / REPORT, lambda path: path.write_text(html, encoding="utf-8"))
    described = manifest(workspace, prepared)
    workspace.publish(workspace.manifest, lambda path: write_json(path, described))
    workspace.clean_up()


def manifest(workspace: Workspace, prepared: PreparedScreen) -> dict[str, Any]:
    """Describe a finished screen: what it was computed from and the SHA-256 of every file; no times."""
    plan, bundle, sets = prepared.plan, prepared.predictor.bundle, prepared.sets
    files = [
        path for path in workspace.path.rglob("*") if path.is_file() and workspace.parts not in path.parents
    ]
    relative = {
        path.relative_to(workspace.path).as_posix(): path for path in files if path != workspace.manifest
    }
    gene_sets = None
    if sets is not None and prepared.gene_sets is not None:
        gene_sets = {
            "source": prepared.gene_sets.source,
            "sha256": prepared.gene_sets.sha256,
            "tested": len(sets),
            "dropped": {
                item.name: f"{item.reason} ({item.genes_in_space} of {item.size})" for item in sets.dropped
            },
        }
    return {
        "format": "pertcast-screen",
        "schema_version": SCHEMA_VERSION,
        "plan_hash": plan.hash,
        "plan": plan.facts(),
        "n_profiles": plan.n_profiles,
        "n_genes": len(prepared.predictor.genes),
        "layers": list(prepared.layers),
        "bundle": {
            "model": bundle.model_name,
            "model_id": prepared.model_id,
            "content_hash": bundle.content_hash,
            "data_hash": bundle.facts.data_hash,
            "measure": bundle.facts.measure,
            "normalisation": bundle.facts.normalisation,
            "licence": bundle.facts.licence,
        },
        "gene_sets": gene_sets,
        "pertcast_version": code_version(),
        "git_revision": git_revision(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "files": {
            name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for name, path in sorted(relative.items())
        },
    }


def _results(workspace, prepared, table, strongest) -> ScreenResults:
    plan, bundle = prepared.plan, prepared.predictor.bundle
    sig_info = pl.read_parquet(table.path)
    hits = pl.read_parquet(workspace.path / HITS[0])
    cells = sig_info["cell_iname"].n_unique()
    title = (
        f"Screen of {plan.n_perturbations:,} {plan.settings.kind} in {cells:,} cell line{'s' * (cells != 1)}"
    )
    split = f"split {bundle.facts.split_kind}" if bundle.facts.split_kind else "no split"
    provenance = (
        f"{bundle.model_name}, bundle {plan.bundle_hash[:12]} · data {bundle.facts.data_hash[:12]}, "
        f"{split} · {plan.n_profiles:,} conditions x {len(prepared.predictor.genes):,} genes · "
        f"from {plan.library_source}"
    )
    sig_ids = sig_info["sig_id"]
    names = [sig_ids[row] for row in strongest]
    enrichment = None
    if prepared.sets is not None:
        enrichment = reported_rows(workspace.path / ENRICHMENT, names).with_columns(
            nes="prerank_nes", pval="prerank_pval", fdr="prerank_fdr"
        )
    return ScreenResults(
        title=title,
        provenance=provenance,
        footer=f"Pertcast {code_version()}, plan {plan.hash[:12]}, seed {plan.settings.seed}.",
        unit=response_unit(bundle.facts.normalisation),
        genes=prepared.predictor.genes,
        sig_info=sig_info,
        hits=hits,
        profiles={sig_ids[row]: profile for row, profile in strongest.items()},
        sd=_spread_of(workspace, next(iter(strongest))) if prepared.has_sd else None,
        sets=prepared.sets,
        enrichment=enrichment,
        neighbors=pl.read_parquet(workspace.path / NEIGHBORS),
        n_refused=len(plan.refused),
        n_repeated=prepared.n_repeated,
        metrics=bundle.facts.metrics,
    )


def _spread_of(workspace: Workspace, row: int) -> NDArray[np.float32]:
    stored = open_array(workspace.profiles, "layers/sd", mode="r")[row : row + 1]
    spread: NDArray[np.float32] = np.asarray(stored, dtype=np.float32)[0]
    return spread

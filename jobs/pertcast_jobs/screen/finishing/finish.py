"""The end of a screen: tables, report and, last of all, the manifest that declares it complete.

Every file is written whole or not at all and holds no time of day, so that an interrupted screen ends in
the same bytes as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pertcast.report.screen.report import screen_report
from pertcast.screen_results import FinishedTables, screen_results
from pertcast.screens.files import FUNCTION, GENE_SETS, REFUSED, REPORT
from pertcast.screens.profile_read import ProfileRead
from pertcast.screens.sig_info import SigInfo
from pertcast.training.files import sha256_of, write_json
from pertcast_data.gene_sets.gmt import write_gmt

from pertcast_jobs.screen.finishing.connections import (
    write_doses,
    write_screen_neighbors,
    write_selectivity,
)
from pertcast_jobs.screen.finishing.enrichment import prerank_rows, write_enrichment
from pertcast_jobs.screen.finishing.facts import screen_facts
from pertcast_jobs.screen.finishing.function import function_table, screen_function
from pertcast_jobs.screen.finishing.ranking import rank_conditions, write_hits
from pertcast_jobs.screen.finishing.tables import commit_profiles, strongest_of, write_sig_info
from pertcast_jobs.screen.plan import refusal_table
from pertcast_jobs.screen.prepare import PreparedScreen
from pertcast_jobs.screen.workspace import Workspace

Tell = Callable[[str], None]


def finish(workspace: Workspace, prepared: PreparedScreen, tell: Tell) -> None:
    """Write everything that a finished screen holds; may be interrupted and called again."""
    plan = prepared.plan
    tell("writing: checksums")
    workspace.require_all(plan)
    sig_info = write_sig_info(workspace, plan)
    strongest = _write_ranking(workspace, prepared, sig_info, tell)
    commit_profiles(workspace, plan, sig_info)
    read = ProfileRead(workspace.profiles)
    write_screen_neighbors(workspace, sig_info, read, plan.settings.per_tail, tell)
    absent = _write_comparisons(workspace, sig_info, read, tell)
    if plan.settings.kind == "genes" and prepared.gene_sets is not None:
        tell("writing: gene function")
    function = screen_function(prepared, sig_info, read)
    if function is not None:
        workspace.publish(workspace.path / FUNCTION, function_table(function).write_parquet)
    if plan.refused:
        workspace.publish(workspace.path / REFUSED, refusal_table(plan.refused).write_csv)
    tell("writing: report")
    facts = screen_facts(prepared, absent, function)
    tables = FinishedTables(
        workspace.path, facts, prepared.predictor.genes, prepared.sets, strongest, function
    )
    html = screen_report(screen_results(tables))
    workspace.publish(workspace.path / REPORT, lambda path: path.write_text(html, encoding="utf-8"))
    described = {**facts, "files": _files(workspace)}
    workspace.publish(workspace.manifest, lambda path: write_json(path, described))
    workspace.clean_up()


def _write_ranking(
    workspace: Workspace, prepared: PreparedScreen, sig_info: SigInfo, tell: Tell
) -> Mapping[int, NDArray[np.float32]]:
    """Write hits and enrichment; return the profiles of the reported hits by row, best first."""
    plan, calibration = prepared.plan, prepared.calibration
    tell("writing: hits")
    ranking = rank_conditions(sig_info, calibration)
    write_hits(workspace, sig_info, ranking, calibration)
    strongest = strongest_of(workspace, plan, ranking.order[: plan.settings.n_reported])
    if prepared.sets is not None and prepared.gene_sets is not None:
        tell("writing: enrichment")
        tested = prerank_rows(strongest, prepared.predictor.genes, prepared.sets, plan.settings)
        write_enrichment(workspace, plan, prepared.sets, tested)
        gene_sets = prepared.gene_sets
        workspace.publish(workspace.path / GENE_SETS, lambda path: write_gmt(path, gene_sets.members))
    return strongest


def _write_comparisons(
    workspace: Workspace, sig_info: SigInfo, read: ProfileRead, tell: Tell
) -> dict[str, str]:
    """Write what compares conditions with each other; return why a part is absent."""
    reasons = {
        "selectivity": write_selectivity(workspace, sig_info, read, tell),
        "doses": write_doses(workspace, sig_info, read, tell),
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _files(workspace: Workspace) -> dict[str, Any]:
    """Return size and SHA-256 of every file of the screen."""
    files = [
        path for path in workspace.path.rglob("*") if path.is_file() and workspace.parts not in path.parents
    ]
    named: dict[str, Path] = {
        path.relative_to(workspace.path).as_posix(): path for path in files if path != workspace.manifest
    }
    return {
        name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for name, path in sorted(named.items())
    }

"""What a finished screen says of itself: the manifest, without the hashes of its files."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from pertcast.report.screen.function_section import FunctionOfScreen

from pertcast_jobs.run_folder import code_version, git_revision
from pertcast_jobs.screen.finishing.function import function_facts
from pertcast_jobs.screen.prepare import PreparedScreen

SCHEMA_VERSION: Final = 2
_PACKAGES: Final = ("numpy", "torch", "polars", "zarr", "gseapy")


def screen_facts(
    prepared: PreparedScreen, absent: Mapping[str, str], function: FunctionOfScreen | None
) -> dict[str, Any]:
    """Describe a screen as plain JSON; no times.

    Parameters
    ----------
    prepared
        The screen.
    absent
        Name of a part of the report -> why this screen has none.
    function
        Gene function of the screened genes, or None.
    """
    plan = prepared.plan
    return {
        "format": "pertcast-screen",
        "schema_version": SCHEMA_VERSION,
        "plan_hash": plan.hash,
        "plan": plan.facts(),
        "n_profiles": plan.n_profiles,
        "n_genes": len(prepared.predictor.genes),
        "n_cells": len({cell for cell, _ in plan.survey.groups}),
        "n_repeated": prepared.n_repeated,
        "layers": list(prepared.layers),
        "bundle": _bundle_facts(prepared),
        "gene_sets": _set_facts(prepared),
        "signature": _signature_facts(prepared),
        "absent": dict(absent),
        "function": None if function is None else function_facts(function),
        "pertcast_version": code_version(),
        "git_revision": git_revision(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def _bundle_facts(prepared: PreparedScreen) -> dict[str, Any]:
    bundle = prepared.predictor.bundle
    return {
        "model": bundle.model_name,
        "model_id": prepared.model_id,
        "content_hash": bundle.content_hash,
        "data_hash": bundle.facts.data_hash,
        "split_kind": bundle.facts.split_kind,
        "measure": bundle.facts.measure,
        "normalisation": bundle.facts.normalisation,
        "licence": bundle.facts.licence,
        "metrics": dict(bundle.facts.metrics),
    }


def _set_facts(prepared: PreparedScreen) -> dict[str, Any] | None:
    sets = prepared.sets
    if sets is None or prepared.gene_sets is None:
        return None
    return {
        "source": prepared.gene_sets.source,
        "sha256": prepared.gene_sets.sha256,
        "tested": len(sets),
        "dropped": {
            item.name: f"{item.reason} ({item.genes_in_space} of {item.size})" for item in sets.dropped
        },
    }


def _signature_facts(prepared: PreparedScreen) -> dict[str, Any] | None:
    """Return what conditions are ranked by, as `pertcast.report.screen.results.SignatureQuery` takes it."""
    signature, settings = prepared.signature, prepared.plan.settings
    if signature is None:
        return None
    report = signature.prepare(prepared.predictor.genes, settings.score)[1]
    unused = {
        "not among the predicted genes": sum(len(each.not_measured) for each in report.lists),
        "no gene symbol": sum(len(each.invalid) for each in report.lists),
    }
    return {
        "objective": settings.objective,
        "name": signature.source,
        "score": settings.score,
        "n_used": sum(len(each.column) for each in report.lists),
        "n_given": sum(each.n_named for each in report.lists),
        "unused": {reason: count for reason, count in unused.items() if count},
    }

"""Gene function for evaluations that are there: their predicted and measured profiles against a GMT file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from pertcast.analysis.gene_sets import GeneSets
from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.evaluation.parts import CoMembership
from pertcast.evaluation.scores.score_board import CLUSTER
from pertcast.evaluation.structure.co_membership import (
    FEATURES,
    NETWORK_FEATURES,
    PREDICTED,
    held_out_function,
)
from pertcast.evaluation.trust.evidence import Evidence
from pertcast.predictor import Predictor
from pertcast_data.errors import SchemaError

from pertcast_jobs.evaluate.saving import Evaluation, save_trust

_STRONGEST = "strongest baseline"


def add_gene_function(
    evaluations: Sequence[Evaluation], sets: GeneSets, *, seed: int = 0
) -> list[Evaluation]:
    """Return the evaluations with gene function in their reports, where they hold enough perturbed genes.

    A fold alone often holds too few; the pooled folds then have it. trust.json and trust.html are written
    anew.

    Parameters
    ----------
    evaluations
        Of runs, of pooled runs, or of a bundle on another store.
    sets
        Complexes or pathways.
    seed
        Of the bootstrap and of the shuffled row.

    Raises
    ------
    SchemaError
        No evaluation holds enough perturbed genes that the sets know.
    """
    found, reasons = try_gene_function(evaluations, sets, seed=seed)
    if evaluations and len(reasons) == len(evaluations):
        raise reasons[evaluations[-1].name]
    return found


def try_gene_function(
    evaluations: Sequence[Evaluation], sets: GeneSets, *, seed: int = 0
) -> tuple[list[Evaluation], dict[str, SchemaError]]:
    """Return the evaluations as `add_gene_function` does, and by name why some have no gene function."""
    found, reasons = [], {}
    for evaluation in evaluations:
        try:
            found.append(_with_function(evaluation, sets, seed))
        except SchemaError as error:
            found.append(evaluation)
            reasons[evaluation.name] = error
    return found, reasons


def _with_function(evaluation: Evaluation, sets: GeneSets, seed: int) -> Evaluation:
    if evaluation.evidence is None:
        raise SchemaError(f"{evaluation.name} keeps no predictions to compare; evaluate it anew with --gmt.")
    trust = evaluation.trust
    function = _gene_function(evaluation, evaluation.evidence, sets, seed)
    judged = replace(trust, parts=replace(trust.parts, function=function))
    command = evaluation.command or f"pertcast evaluate {evaluation.name}"
    save_trust(judged, evaluation.folder, f"{command} --gmt {sets.source}")
    return replace(evaluation, trust=judged)


def _gene_function(evaluation: Evaluation, evidence: Evidence, sets: GeneSets, seed: int) -> CoMembership:
    trust = evaluation.trust
    profiles = {PREDICTED: evidence.predictions[trust.board.model.name]}
    if trust.strongest is not None and trust.strongest.name in evidence.predictions:
        profiles[_STRONGEST] = evidence.predictions[trust.strongest.name]
    bundle = evaluation.folder.parent / "bundle"
    features = _features(Predictor.from_bundle(bundle), evidence.held) if bundle.is_dir() else {}
    return held_out_function(
        evidence.held, profiles, sets.members, source=sets.source, features=features, seed=seed
    )


def _features(predictor: Predictor, held: HeldOut) -> dict[str, FloatArray]:
    """Return the features of each condition's first perturbation; zero for what is no gene.

    All of them together, and those of the networks alone: what a user has without any expression profile.
    """
    table = held.conditions.select("cell_iname", "pert_type", pl.col(CLUSTER).alias("pert_id"))
    conditions, rows, _ = predictor.encoder.encode_lenient(table)
    features = conditions.features.numpy()
    every = np.zeros((held.n_conditions, features.shape[1]), dtype=np.float32)
    every[rows] = features[conditions.slot[:, 0].numpy()]
    found = {FEATURES: every}
    for block in predictor.encoder.perturbations.gene_blocks:
        if block.source == "network":
            start = predictor.encoder.perturbations.blocks[block.source].start
            found[NETWORK_FEATURES] = every[:, start : start + block.values.shape[1]]
    return found

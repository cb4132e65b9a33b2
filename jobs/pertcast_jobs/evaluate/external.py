"""Evaluate a model on another lab's or assay's store: by ranks, beside what could have been said without it.

Where the training store is still at hand, every baseline is fitted on its training rows and judged on the
external conditions like the model; else the model's own mean response stands for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from pertcast.encoding import make_training_data
from pertcast.evaluation.bootstrap import N_DRAWS
from pertcast.evaluation.ceilings.ceiling import Ceilings, score_ceilings
from pertcast.evaluation.external.cross_store import ExternalPart, external_part
from pertcast.evaluation.external.gene_match import FEWEST_SHARED
from pertcast.evaluation.external.reference_means import leave_one_out_means, model_means
from pertcast.evaluation.external.scales import PRIMARY, comparable, same_scale
from pertcast.evaluation.from_store.contenders import SharedSums, fit_baselines, forecast, without_information
from pertcast.evaluation.from_store.training_facts import mean_training_responses
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.scores.negative_controls import PERMUTED, permuted_labels
from pertcast.evaluation.scores.score_board import Contender
from pertcast.evaluation.trust.evidence import KEPT_BASELINES, Evidence
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, make_board, trust_table
from pertcast.models.batch import ConditionBatch
from pertcast.models.contract import ResponseModel
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore

from pertcast_jobs.evaluate.saving import Evaluation, save_predictions, save_trust

_BASELINE_BATCH: Final = 1024

NO_CHANGE: Final = Contender("no_change", "No change", "baseline")
MODEL_MEAN: Final = Contender("model_mean", "Model's mean over its training conditions", "baseline")
STORE_MEAN: Final = Contender("store_mean", "Mean of the store's other perturbations", "ceiling")

_OPTIMISTIC: Final = (
    f"{STORE_MEAN.title}: the external store's own mean response, each perturbation left out in turn. No "
    "forecast could know it; it shows how much of a score is the response that all perturbations share."
)


@dataclass(frozen=True)
class _Training:
    """What is at hand of a model's training.

    Attributes
    ----------
    name
        Of the training store, as far as known.
    sums
        Sums over its training rows, or None where the rows are not at hand.
    remark
        What that means for the baselines.
    """

    name: str
    sums: SharedSums | None
    remark: str


def evaluate_external(
    bundle: Path | str,
    store: Path | str,
    *,
    out: Path | None = None,
    fewest_genes: int = FEWEST_SHARED,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> Evaluation:
    """Judge a model on every condition of another store that it can predict.

    Truth and controls are the external store's; the verdict is about the rank correlation of responses.
    Writes trust.json, trust.html, scores.parquet and predictions.npz.

    Parameters
    ----------
    bundle
        A bundle, or a run that holds one.
    store
        The external store.
    out
        Folder of the report; "evaluation/external_STORE" beside the bundle where None.
    fewest_genes
        Shared genes that are needed.
    n_draws, seed
        Of the bootstrap; the seed also deals the split halves and shuffles features.
    progress
        Told of training rows summed, then of contenders done.

    Raises
    ------
    ConfigError
        There is no bundle.
    SchemaError
        Too few genes are shared, or fewer than two conditions can be predicted.
    ControlsMissing
        No treated row of the store has controls.
    """
    path = find_bundle(bundle)
    predictor, external = Predictor.from_bundle(path), ExpressionStore.open(store)
    training = _training(predictor, seed, progress)
    part = external_part(
        external, external.reader(), predictor, _train_means(predictor, training),
        fewest_genes=fewest_genes, seed=seed,
    )  # fmt: skip
    predictions = _predictions(predictor, part, training, seed, progress)
    ceilings = score_ceilings(part.measured, part.held, seed)
    board = make_board(
        part.held, {c.name: mean for c, mean in predictions.items()}, list(predictions), ceilings=ceilings
    )
    scored = board if same_scale(external, predictor) else comparable(board)
    evidence = Evidence(part.held, part.measured.halves, {c.name: mean for c, mean in predictions.items()})
    facts = _facts(predictor, external, part, training, ceilings)
    trust = trust_table(scored, facts, primary=PRIMARY, n_draws=n_draws, seed=seed, evidence=evidence)
    return _saved(_hedged(trust, training), evidence, path, external, out)


def _hedged(trust: TrustTable, training: _Training) -> TrustTable:
    """Say in the verdict itself what a win is worth without stronger rules, or on what training held."""
    if trust.verdict.outcome != "better":
        return trust
    said = [trust.verdict.text]
    known = trust.board.conditions["seen_condition"]
    if 2 * int(known.sum()) > len(known):
        said.append(f"{int(known.sum())} of {len(known)} conditions were trained on: a fit, not a forecast")
    if training.sums is None:
        said.append("stronger rules need the training rows, which are not at hand")
    return replace(trust, verdict=replace(trust.verdict, text="; ".join(said)))


def _saved(
    trust: TrustTable, evidence: Evidence, bundle: Path, store: ExpressionStore, out: Path | None
) -> Evaluation:
    name = f"external_{store.path.name}"
    folder = out or bundle.parent / "evaluation" / name
    command = f"pertcast evaluate --bundle {bundle.name} --store {store.path.name}"
    save_trust(trust, folder, command)
    save_predictions(folder, evidence.held, evidence.predictions, trust)
    strongest = [c.name for c in trust.order if c.role == "baseline"][:KEPT_BASELINES]
    kept = evidence.keep([trust.board.model.name, *strongest])
    return Evaluation(name, folder, trust, kept, command=command)


def _training(predictor: Predictor, seed: int, progress: ProgressCallback) -> _Training:
    """Open the store and split that the bundle was trained on, where they still are what they were."""
    facts = predictor.bundle.facts
    data: Mapping[str, Any] = facts.training.get("config", {}).get("data", {})
    paths = [Path(data[key]) for key in ("store", "split") if data.get(key)]
    name = paths[0].name if paths else ""
    if len(paths) < 2 or not all(path.exists() for path in paths):
        return _Training(name, None, _without_training("is not at hand"))
    store, split = ExpressionStore.open(paths[0]), Split.load(paths[1])
    fold = facts.fold or 0
    if (store.data_hash, split.hash) != (facts.data_hash, facts.split_hash):
        return _Training(name, None, _without_training("has changed since"))
    split.check(store, fold)
    rows = make_training_data(
        store, split, fold, predictor.encoder, batch_size=_BASELINE_BATCH, seed=seed, rank=0, world_size=1,
        reader=store.reader(),
    )  # fmt: skip
    remark = (
        "Baselines were fitted on the model's own training rows; nothing was fitted on the external store."
    )
    return _Training(name, SharedSums(rows.statistics, progress), remark)


def _without_training(reason: str) -> str:
    return (
        f"The training store {reason}: baselines cannot be fitted on it, and the model's own mean over its "
        "training conditions stands for the mean training response. Ridge, neighbours and the other rules "
        "may be stronger. Nothing was fitted on the external store."
    )


def _train_means(predictor: Predictor, training: _Training) -> FloatArray:
    """Return mean training responses by context and type; the model's own by context, without rows."""
    if training.sums is None:
        return model_means(predictor)
    statistics = training.sums.statistics(predictor.encoder.space)
    return mean_training_responses(statistics, predictor.encoder)


def _predictions(
    predictor: Predictor, part: ExternalPart, training: _Training, seed: int, progress: ProgressCallback
) -> dict[Contender, FloatArray]:
    """Return (N, S) responses over the shared genes: the model first, then all that stands beside it."""
    name, conditions = predictor.bundle.model_name, part.inputs.conditions
    queue: list[tuple[Contender, ResponseModel, ConditionBatch]] = [
        (Contender(name, predictor.bundle.title, "model"), predictor.model, conditions)
    ]
    if training.sums is not None:
        space, trained = predictor.space, predictor.encoder.training_conditions
        fitted = fit_baselines(space, trained, training.sums, leave_out=name)
        queue += [(each.contender, each.model, conditions) for each in fitted]
    queue += [
        (control, predictor.model, blind) for control, blind in without_information(conditions, seed).items()
    ]
    found: dict[Contender, FloatArray] = {}
    for done, (contender, model, asked) in enumerate(queue, start=1):
        found[contender] = forecast(model, asked, part.inputs).mean[:, part.genes.of_model]
        progress(done, len(queue), contender.title)
    found[PERMUTED] = permuted_labels(next(iter(found.values())), part.held, seed)
    if training.sums is None:
        found[NO_CHANGE] = np.zeros_like(part.held.truth)
        found[MODEL_MEAN] = part.held.train_means(slice(None)).astype(np.float32)
    found[STORE_MEAN] = leave_one_out_means(part.held)
    return found


def _facts(
    predictor: Predictor,
    store: ExpressionStore,
    part: ExternalPart,
    training: _Training,
    ceilings: Ceilings,
) -> TrustFacts:
    bundle = predictor.bundle
    remarks = (*part.remarks, training.remark, _OPTIMISTIC, ceilings.remark)
    return TrustFacts(
        model=bundle.model_name,
        title=bundle.title,
        bundle=bundle.content_hash[:12],
        store=store.path.name,
        data_hash=store.data_hash,
        measure=store.measure,
        normalisation=store.normalisation,
        n_genes=part.held.n_genes,
        n_training_conditions=predictor.space.n_conditions,
        n_held_out_rows=len(part.inputs.units.rows),
        left_out=part.left_out,
        remarks=tuple(remark for remark in remarks if remark),
        origin="external",
        trained_on=f"{training.name} {bundle.facts.data_hash[:8]}".strip(),
        seeds=(bundle.facts.seed,),
    )

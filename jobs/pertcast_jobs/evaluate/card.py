"""The model card of evaluated runs: bundle, manifest and evaluation put together as model_card.md."""

from __future__ import annotations

from pathlib import Path

from pertcast.report.model_card import CardFacts, CardTraining, model_card
from pertcast.training.bundle import BundleFiles, load_bundle_files

from pertcast_jobs.evaluate.saving import Evaluation
from pertcast_jobs.run_folder import RunFolder, RunManifest, write_text


def save_card(evaluation: Evaluation, options: str = "") -> None:
    """Write model_card.md beside the report; evaluations that are of no run have no card.

    Parameters
    ----------
    evaluation
        Of one run, or of several pooled ones: then the first says what the model is.
    options
        Further options of the evaluation as they are typed, with a space before each.
    """
    if not evaluation.runs:
        return
    folders = [RunFolder.open(run) for run in evaluation.runs]
    bundles = [load_bundle_files(folder.bundle_path) for folder in folders]
    trainings = tuple(
        _training(folder.path, folder.manifest(), bundle)
        for folder, bundle in zip(folders, bundles, strict=True)
    )
    facts = CardFacts(
        family=bundles[0].model_name,
        config=bundles[0].model_config,
        n_parameters=sum(weight.numel() for weight in bundles[0].weights.values()),
        licence=bundles[0].facts.licence,
        pert_types=tuple(bundles[0].space.pert_types),
        contexts=tuple(bundles[0].space.contexts),
        trainings=trainings,
        commands=_commands(evaluation, options),
    )
    write_text(evaluation.card_path, model_card(evaluation.trust, facts, evaluation.biology))


def _training(path: Path, manifest: RunManifest, bundle: BundleFiles) -> CardTraining:
    workers = f"{manifest.world_size} worker" + ("" if manifest.world_size == 1 else "s")
    return CardTraining(
        run=path.name,
        bundle=bundle.content_hash[:12],
        fold=manifest.fold,
        seed=manifest.seed,
        stages=tuple(manifest.result.get("stages", ())),
        seconds=float(manifest.result.get("seconds", 0.0)),
        where=f"{manifest.engine} engine, {manifest.launcher}, {workers}",
        version=manifest.code_version,
    )


def _commands(evaluation: Evaluation, options: str) -> tuple[str, ...]:
    """Return what makes the model again, with the names of files for their places."""
    facts = evaluation.trust.facts
    said = [f"# store {facts.store} with data hash {facts.data_hash}; its split has hash {facts.split_hash}"]
    said.append(f"pertcast data split {facts.store} --kind {facts.split_kind} --out split.json")
    said += [
        f"pertcast train {run.name}/config.yaml data.store={facts.store} data.split=split.json "
        f"--out again/{run.name}{_ensemble_option(run)}"
        for run in evaluation.runs
    ]
    return (*said, f"{evaluation.command}{options}")


def _ensemble_option(run: Path) -> str:
    members = RunFolder.open(run).manifest().members
    return f" --ensemble {len(members)}" if members else ""

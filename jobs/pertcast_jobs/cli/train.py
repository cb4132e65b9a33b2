"""`pertcast train`: from a configuration to a run folder with a bundle, or to one for each fold and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pertcast.naming import facts_in_words
from pertcast.training.bundle import find_bundle

from pertcast_jobs.cli.train_ensemble import train_ensemble
from pertcast_jobs.cli.train_replay import train_replay
from pertcast_jobs.progress import progress_bar
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.train import TrainingOutcome, plan_training, run_training
from pertcast_jobs.train.many import ManyOutcome, train_many
from pertcast_jobs.train.many_plan import chosen_folds, chosen_seeds, plan_many
from pertcast_jobs.train.speed_lines import speed_lines

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _outcome_lines(outcome: TrainingOutcome) -> list[str]:
    lines = [f"run      {outcome.run}", f"bundle   {outcome.bundle}"]
    lines += [] if outcome.start is None else outcome.start.lines()
    if outcome.compound_embedding is not None:
        lines.append(outcome.compound_embedding.text())
    lines += [each.text() for each in outcome.gene_features]
    lines += fact_lines(outcome.result)
    lines += [f"{name:<24} {value:.6g}" for name, value in sorted(outcome.validation.items())]
    seconds = outcome.result.get("seconds", 0.0)
    lines.append(f"{outcome.result.get('global_step', 0):,} steps in {seconds:,.1f} s")
    lines += speed_lines(outcome.result.get("speed", {}))
    lines.append(f"next: pertcast evaluate {outcome.run}")
    return lines


def fact_lines(result: Mapping[str, Any]) -> list[str]:
    """Return one line for each stage that found something out: its name, then names with values."""
    return [
        f"{stage['name'].replace('_', ' '):<24} {facts_in_words(stage['facts'])}"
        for stage in result.get("stages", ())
        if stage.get("facts")
    ]


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    rows, conditions = plan["rows"], plan["conditions"]
    return [
        f"model            {plan['model']}, {plan['parameters']:,} parameters",
        f"space            {plan['genes']:,} genes, {plan['features']:,} features of a perturbation",
        *_embedding_lines(plan),
        *plan["start_text"],
        *(
            f"{part:<16} {rows[part]:,} profiles of {conditions[part]:,} conditions"
            for part in ("train", "validation", "test")
        ),
        f"steps            {plan['steps']:,} at most",
        f"workers          {plan['workers']} ({plan['launcher']}, engine {plan['engine']})",
        f"memory a worker  about {plan['memory_bytes_per_worker'] / 1e9:.2f} GB",
    ]


def _embedding_lines(plan: dict[str, Any]) -> list[str]:
    reports = [plan["compound_embedding"], *plan["gene_features"]]
    return [report["text"] for report in reports if report is not None]


def _many_plan_lines(plan: dict[str, Any]) -> list[str]:
    names = plan["members"]
    each = f"{plan['cpus_per_member']:g} CPUs"
    if plan["gpus_per_member"]:
        each += f", {plan['gpus_per_member']} GPU"
    beside = "beside each other on Ray" if plan["launcher"] == "ray" else "one after another in this process"
    return [
        f"trainings        {len(names)}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}",
        *(
            line
            for fold, own in plan["folds"].items()
            for line in (
                f"fold {fold:<11} {own['rows']['train']:,} training profiles, {own['steps']:,} steps at most",
                *_embedding_lines(own),
            )
        ),
        f"steps            {plan['steps']:,} at most over all",
        f"where            {beside}",
        f"each             {each}, about {plan['memory_bytes_per_member'] / 1e9:.2f} GB",
    ]


def _many_lines(outcome: ManyOutcome) -> list[str]:
    lines = []
    for name, trained in outcome.trained.items():
        losses = ", ".join(f"{loss} {value:.6g}" for loss, value in sorted(trained.validation.items()))
        lines.append(f"{name:<16} trained  {losses}".rstrip())
        if trained.compound_embedding is not None:
            lines.append(f"{'':<16} {trained.compound_embedding.text()}")
        lines += [f"{'':<16} {each.text()}" for each in trained.gene_features]
    lines += [f"{name:<16} FAILED   {reason}" for name, reason in outcome.failed.items()]
    if outcome.failed:
        lines.append("Mend it, and run the same command with --resume: only what is missing is trained.")
    else:
        lines.append(f"next: pertcast evaluate {outcome.path}")
    return lines


def _train_many(
    config: RunConfig, out: Path | None, folds: str | None, seeds: str | None, resume: bool, as_json: bool
) -> None:
    chosen = chosen_folds(folds, config), chosen_seeds(seeds, config)
    if out is None:
        plan = plan_many(config, *chosen)
        print(json.dumps(plan, indent=1) if as_json else "\n".join(_many_plan_lines(plan)))
        return
    with progress_bar(f"train {config.model.name}", "steps") as progress:
        outcome = train_many(config, out, *chosen, resume=resume, progress=progress)
    print(json.dumps(outcome.to_json(), indent=1) if as_json else "\n".join(_many_lines(outcome)))
    if outcome.failed:
        raise typer.Exit(1)


def _train_one(config: RunConfig, out: Path | None, resume: bool, as_json: bool) -> None:
    if out is None:
        plan = plan_training(config)
        print(json.dumps(plan, indent=1) if as_json else "\n".join(_plan_lines(plan)))
        return
    with progress_bar(f"train {config.model.name}", "steps") as progress:
        outcome = run_training(config, out, resume=resume, progress=progress)
    print(json.dumps(outcome.to_json(), indent=1) if as_json else "\n".join(_outcome_lines(outcome)))


@app.command()
def train(
    config: Annotated[
        str | None, typer.Argument(help="A YAML file, or a shipped name such as response_mlp.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Overrides a.b=c, such as data.store=STORE, and @place, such as @node_8gpu.",
            metavar="[A.B=C]...",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; must not exist, unless with --resume.")
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(help="Folds to train, each in its own run: all, or a list (0,2).", metavar="FOLDS"),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds to train each fold with: how many (5, from train.seed on), or a list (0,3,7).",
            metavar="SEEDS",
        ),
    ] = None,
    ensemble: Annotated[
        int | None,
        typer.Option(
            help="Train so many members with the seeds from train.seed on, and one bundle of them all.",
            metavar="K",
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            help="Trained run or bundle whose weights training starts from (docs/finetuning.md).",
            metavar="BUNDLE",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            help="Recorded run to train again and compare with; takes no CONFIG.",
            metavar="RUN",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run (or runs) at --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print counts, steps and memory; train nothing.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a model and write its run folder: configuration, metrics, checkpoints and bundle.

    With --folds or --seeds, OUT holds one run folder each; with cluster.launcher=ray they train beside each
    other. A member that fails is reported while the others finish.

    Example: pertcast train response_mlp data.store=STORE data.split=split.json --out runs/first

    Example: pertcast train response_mlp data.store=STORE data.split=split.json cluster.launcher=ray
    --folds all --seeds 5 --out runs/many

    Example: pertcast train response_mlp data.store=MINE data.split=mine.json train.batch_size=32
    --init-from runs/first --out runs/tuned

    Example: pertcast train --replay runs/first

    Example: pertcast train response_mlp data.store=STORE data.split=split.json --ensemble 5 --out runs/five
    """
    if replay is not None:
        if folds is not None or seeds is not None or ensemble is not None or init_from is not None:
            raise typer.BadParameter(
                "a replay trains what was recorded: leave out --folds, --seeds, --ensemble and --init-from.",
                param_hint="--replay",
            )
        words = [*([] if config is None else [config]), *(overrides or [])]
        train_replay(replay, out, words, resume=resume, dry_run=dry_run, as_json=json_)
        return
    if config is None:
        raise typer.BadParameter(
            "name a configuration, such as response_mlp, or a run to --replay.", param_hint="CONFIG"
        )
    if out is None and not dry_run:
        raise typer.BadParameter("name the folder of the run: --out RUN", param_hint="--out")
    if ensemble is not None and seeds is not None:
        raise typer.BadParameter(
            "--ensemble K takes the seeds from train.seed on: leave out --seeds, or --ensemble.",
            param_hint="--ensemble",
        )
    start = [] if init_from is None else [f"init_from={json.dumps(str(find_bundle(init_from)))}"]
    loaded = load_config(config, [*(overrides or []), *start])
    destination = None if dry_run else out
    if ensemble is not None:
        train_ensemble(
            loaded, destination, chosen_folds(folds, loaded), ensemble, _many_plan_lines,
            resume=resume, as_json=json_,
        )  # fmt: skip
    elif folds is None and seeds is None:
        _train_one(loaded, destination, resume, json_)
    else:
        _train_many(loaded, destination, folds, seeds, resume, json_)

"""`pertcast train`: from a configuration to a run folder with a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pertcast_jobs.progress import progress_bar
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import TrainingOutcome, plan_training, run_training

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _outcome_lines(outcome: TrainingOutcome) -> list[str]:
    lines = [f"run      {outcome.run}", f"bundle   {outcome.bundle}"]
    lines += [f"{name:<24} {value:.6g}" for name, value in sorted(outcome.validation.items())]
    seconds = outcome.result.get("seconds", 0.0)
    lines.append(f"{outcome.result.get('global_step', 0):,} steps in {seconds:,.1f} s")
    lines.append(f"next: pertcast evaluate {outcome.run}")
    return lines


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    rows, conditions = plan["rows"], plan["conditions"]
    return [
        f"model            {plan['model']}, {plan['parameters']:,} parameters",
        f"space            {plan['genes']:,} genes, {plan['features']:,} features of a perturbation",
        *(
            f"{part:<16} {rows[part]:,} profiles of {conditions[part]:,} conditions"
            for part in ("train", "validation", "test")
        ),
        f"steps            {plan['steps']:,} at most",
        f"workers          {plan['workers']} ({plan['launcher']}, engine {plan['engine']})",
        f"memory a worker  about {plan['memory_bytes_per_worker'] / 1e9:.2f} GB",
    ]


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or a shipped name such as response_mlp.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Overrides a.b=c, such as data.store=STORE data.split=split.json.", metavar="[A.B=C]..."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; must not exist, unless with --resume.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run at --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print counts, steps and memory; train nothing.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a model and write its run folder: configuration, metrics, checkpoints and bundle.

    Example: pertcast train response_mlp data.store=STORE data.split=split.json --out runs/first
    """
    loaded = load_config(config, overrides or [])
    if dry_run:
        plan = plan_training(loaded)
        print(json.dumps(plan, indent=1) if json_ else "\n".join(_plan_lines(plan)))
        return
    if out is None:
        raise typer.BadParameter("name the folder of the run: --out RUN", param_hint="--out")
    with progress_bar(f"train {loaded.model.name}", "steps") as progress:
        outcome = run_training(loaded, out, resume=resume, progress=progress)
    print(json.dumps(outcome.to_json(), indent=1) if json_ else "\n".join(_outcome_lines(outcome)))

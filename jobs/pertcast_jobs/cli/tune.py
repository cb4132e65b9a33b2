"""`pertcast tune`: a sweep over a configuration's space, its table and its best bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pertcast_data.text import aligned

from pertcast_jobs.progress import progress_bar
from pertcast_jobs.run_config import SweepConfig, load_sweep
from pertcast_jobs.train import plan_training
from pertcast_jobs.tune import SweepOutcome, run_sweep

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _plan(sweep: SweepConfig) -> dict[str, Any]:
    """Return what the sweep would do, with the plan of a run of the given configuration."""
    space = {key: entry.model_dump(exclude_defaults=True) for key, entry in sweep.space.items()}
    objectives = [objective.model_dump() for objective in sweep.search.objectives]
    return {
        "trials": sweep.search.trials,
        "objectives": objectives,
        "space": space,
        "run": plan_training(sweep),
    }


def _outcome_lines(outcome: SweepOutcome) -> list[str]:
    """Return what was found, the best first, and where the report is, last."""
    return [
        _verdict(outcome),
        "",
        *aligned(outcome.table()),
        *(f"failed {trial.trial}: {trial.error}" for trial in outcome.trials if trial.error),
        "",
        "Chosen on the validation conditions, so its score there is too good: look at the test evaluation.",
        f"bundle: {outcome.bundle}",
        f"next:   pertcast evaluate {outcome.path / 'trials' / outcome.best}",
        f"report: {outcome.report}",
    ]


def _verdict(outcome: SweepOutcome) -> str:
    found, n_done = outcome.best_trial.metrics, sum(trial.status == "done" for trial in outcome.trials)
    text = f"best of {n_done}: trial {outcome.best}"
    if "advantage" not in found:
        return text
    interval = (
        f"[{found['advantage_low']:+.3f}, {found['advantage_high']:+.3f}]" if "advantage_low" in found else ""
    )
    return (
        f"{text}, {outcome.scored_by} {found['score']:.3f} on {found['n_conditions']:.0f} validation "
        f"conditions: {found['advantage']:+.3f} {interval} against {outcome.baseline} "
        f"({found['baseline_score']:.3f})"
    )


@app.command()
def tune(
    config: Annotated[
        str, typer.Argument(help="A YAML file with a `space:`, or a shipped name such as response_mlp_sweep.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Overrides a.b=c, such as data.store=STORE, and @place, such as @node_8gpu.",
            metavar="[A.B=C]...",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; must not exist, unless with --resume.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials; else search.trials.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the sweep at --out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print counts; train nothing.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Try configurations of a model and keep the one that is furthest above the best baseline on validation.

    Example: pertcast tune response_mlp_sweep data.store=STORE data.split=split.json --out sweeps/first
    """
    if out is None and not dry_run:
        raise typer.BadParameter("name the folder of the sweep: --out DIR", param_hint="--out")
    chosen = [] if trials is None else [f"search.trials={trials}"]
    sweep = load_sweep(config, [*(overrides or []), *chosen])
    if dry_run or out is None:
        plan = _plan(sweep)
        print(json.dumps(plan, indent=1))
        return
    with progress_bar(f"tune {sweep.model.name}", "steps") as progress:
        outcome = run_sweep(sweep, out, resume=resume, progress=progress)
    print(json.dumps(outcome.to_json(), indent=1) if json_ else "\n".join(_outcome_lines(outcome)))

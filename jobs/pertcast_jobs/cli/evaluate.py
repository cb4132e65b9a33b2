"""`pertcast evaluate`: the trust table of one or several runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast.evaluation.bootstrap import N_DRAWS

from pertcast_jobs.evaluate import Evaluation, can_be_pooled, evaluate_run, pool_folds, side_by_side
from pertcast_jobs.progress import progress_bar

app = typer.Typer(rich_markup_mode=None)


def _print_json(evaluations: list[Evaluation]) -> None:
    contents = [{"run": e.name, **json.loads(e.trust.to_json())} for e in evaluations]
    shown = contents[0] if len(contents) == 1 else contents
    print(json.dumps(shown, sort_keys=True, indent=1, ensure_ascii=False))


def _print_lines(evaluations: list[Evaluation]) -> None:
    for evaluation in evaluations:
        if len(evaluations) > 1:
            print(f"== {evaluation.name}")
        print("\n".join(evaluation.trust.lines()), end="\n\n")
    if len(evaluations) > 1:
        print("\n".join(side_by_side(evaluations)), end="\n\n")
    for evaluation in evaluations:
        print(f"report: {evaluation.report_path}")


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.", metavar="RUN...")],
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    draws: Annotated[int, typer.Option(min=100, help="Resamplings for the intervals.")] = N_DRAWS,
    seed: Annotated[int, typer.Option(help="Seed of resampling, halves and shuffled features.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the pooled report of several folds; RUN/evaluation/pooled by default."),
    ] = None,
) -> None:
    """Print the trust report: each model beside every baseline on what its fold held out.

    Several folds of one model and split are pooled as well; different models stand side by side.

    Example: pertcast evaluate runs/first
    """
    evaluations = []
    for run in runs:
        with progress_bar(f"evaluate {run.name}", "steps") as progress:
            evaluations.append(evaluate_run(run, n_draws=draws, seed=seed, progress=progress))
    if can_be_pooled(evaluations):
        folder = out or evaluations[0].folder / "pooled"
        evaluations.append(pool_folds(evaluations, folder, seed=seed, n_draws=draws))
    if json_:
        _print_json(evaluations)
    else:
        _print_lines(evaluations)

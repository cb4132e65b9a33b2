"""`pertcast screen`: from a library and a bundle to ranked hits, profiles and a report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import typer
from pertcast_data.errors import ConfigError, StorageError

from pertcast_jobs.cli import screen_options as options
from pertcast_jobs.cli.screen_export import export
from pertcast_jobs.cli.screen_lines import estimate_lines, outcome_json, outcome_lines
from pertcast_jobs.cli.screen_options import numbers, objective_asked, words
from pertcast_jobs.progress import progress_bar
from pertcast_jobs.screen.estimate import estimate
from pertcast_jobs.screen.executors import Resources
from pertcast_jobs.screen.library import ScreenKind
from pertcast_jobs.screen.objective import ScreenObjective
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import ScreenRequest, prepare_screen
from pertcast_jobs.screen.run import compute_screen

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    help="Predict a whole library with a trained model and rank its hits. An interrupted screen is "
    "finished by the same command.",
)

app.command(name="export")(export)


@dataclass(frozen=True)
class _Running:
    """How a screen is run and told, whatever it predicts."""

    out: str | None
    executor: str
    workers: int | None
    gpus_per_worker: float
    dry_run: bool
    as_json: bool

    @property
    def resources(self) -> Resources:
        return Resources(most_workers=self.workers, gpus_per_worker=self.gpus_per_worker)

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_worker > 0 else "cpu"


@app.command()
def compounds(
    model: options.Model,
    library: options.List = None,
    out: options.Out = None,
    gmt: options.Gmt = None,
    cells: options.Cells = None,
    doses: options.Doses = None,
    times: options.Times = None,
    up: options.Up = None,
    down: options.Down = None,
    signature: options.SignatureFile = None,
    objective: options.Objective = None,
    score: options.Score = None,
    executor: options.Executor = "ray-data",
    workers: options.Workers = None,
    gpus_per_worker: options.Gpus = 0.0,
    skip_unknown: options.Skip = False,
    seed: options.Seed = 0,
    shard_rows: options.ShardRows = 1024,
    dry_run: options.DryRun = False,
    json_: options.Json = False,
) -> None:
    """Screen compounds x cell lines x doses x times.

    Example: pertcast screen compounds list.csv --model runs/a --out screens/a
    """
    running = _Running(out, executor, workers, gpus_per_worker, dry_run, json_)
    ranked_by = objective_asked(up, down, signature, objective, score)
    request = ScreenRequest(
        kind="compounds",
        model=model[0],
        others=tuple(model[1:]),
        library=library,
        gmt=gmt,
        signature=ranked_by.signature,
        cells=words("--cells", cells),
        doses=numbers("--doses", "pert_dose", doses),
        times=numbers("--times", "pert_time", times),
        skip_unknown=skip_unknown,
        device=running.device,
        settings=_settings("compounds", ranked_by, seed, shard_rows),
    )
    _screen(request, running)


@app.command()
def genes(
    model: options.Model,
    library: options.List = None,
    out: options.Out = None,
    gmt: options.Gmt = None,
    cells: options.Cells = None,
    times: options.Times = None,
    pert_types: options.PertTypes = None,
    up: options.Up = None,
    down: options.Down = None,
    signature: options.SignatureFile = None,
    objective: options.Objective = None,
    score: options.Score = None,
    executor: options.Executor = "ray-data",
    workers: options.Workers = None,
    gpus_per_worker: options.Gpus = 0.0,
    skip_unknown: options.Skip = False,
    seed: options.Seed = 0,
    shard_rows: options.ShardRows = 1024,
    dry_run: options.DryRun = False,
    json_: options.Json = False,
) -> None:
    """Screen genes x types x cell lines x times: what happens where each is knocked down, out or raised.

    Example: pertcast screen genes --model runs/a --out screens/genome
    """
    running = _Running(out, executor, workers, gpus_per_worker, dry_run, json_)
    ranked_by = objective_asked(up, down, signature, objective, score)
    request = ScreenRequest(
        kind="genes",
        model=model[0],
        others=tuple(model[1:]),
        library=library,
        gmt=gmt,
        signature=ranked_by.signature,
        cells=words("--cells", cells),
        times=numbers("--times", "pert_time", times),
        types=words("--pert-types", pert_types),
        skip_unknown=skip_unknown,
        device=running.device,
        settings=_settings("genes", ranked_by, seed, shard_rows),
    )
    _screen(request, running)


@app.command()
def pairs(
    model: options.Model,
    library: options.Pairs = None,
    out: options.Out = None,
    gmt: options.Gmt = None,
    cells: options.Cells = None,
    doses: options.Doses = None,
    times: options.Times = None,
    pert_types: options.PertTypes = None,
    up: options.Up = None,
    down: options.Down = None,
    signature: options.SignatureFile = None,
    objective: options.Objective = None,
    score: options.Score = None,
    executor: options.Executor = "ray-data",
    workers: options.Workers = None,
    gpus_per_worker: options.Gpus = 0.0,
    skip_unknown: options.Skip = False,
    seed: options.Seed = 0,
    shard_rows: options.ShardRows = 1024,
    dry_run: options.DryRun = False,
    json_: options.Json = False,
) -> None:
    """Screen pairs of perturbations, ranked by what each does beyond the sum of its singles.

    Example: pertcast screen pairs genes.csv --model runs/a --out screens/pairs
    """
    running = _Running(out, executor, workers, gpus_per_worker, dry_run, json_)
    ranked_by = objective_asked(up, down, signature, objective, score)
    request = ScreenRequest(
        kind="pairs",
        model=model[0],
        others=tuple(model[1:]),
        library=library,
        gmt=gmt,
        signature=ranked_by.signature,
        cells=words("--cells", cells),
        doses=numbers("--doses", "pert_dose", doses),
        times=numbers("--times", "pert_time", times),
        types=words("--pert-types", pert_types),
        skip_unknown=skip_unknown,
        device=running.device,
        settings=_settings("pairs", ranked_by, seed, shard_rows),
    )
    _screen(request, running)


@app.command()
def table(
    library: options.Table,
    model: options.Model,
    out: options.Out = None,
    gmt: options.Gmt = None,
    cells: options.Cells = None,
    doses: options.Doses = None,
    times: options.Times = None,
    pert_types: options.PertTypes = None,
    up: options.Up = None,
    down: options.Down = None,
    signature: options.SignatureFile = None,
    objective: options.Objective = None,
    score: options.Score = None,
    executor: options.Executor = "ray-data",
    workers: options.Workers = None,
    gpus_per_worker: options.Gpus = 0.0,
    skip_unknown: options.Skip = False,
    seed: options.Seed = 0,
    shard_rows: options.ShardRows = 1024,
    dry_run: options.DryRun = False,
    json_: options.Json = False,
) -> None:
    """Screen a table of conditions of any kind: compounds, genes and combinations in one list.

    Example: pertcast screen table list.csv --model runs/a --out screens/table
    """
    running = _Running(out, executor, workers, gpus_per_worker, dry_run, json_)
    ranked_by = objective_asked(up, down, signature, objective, score)
    request = ScreenRequest(
        kind="table",
        model=model[0],
        others=tuple(model[1:]),
        library=library,
        gmt=gmt,
        signature=ranked_by.signature,
        cells=words("--cells", cells),
        doses=numbers("--doses", "pert_dose", doses),
        times=numbers("--times", "pert_time", times),
        types=words("--pert-types", pert_types),
        skip_unknown=skip_unknown,
        device=running.device,
        settings=_settings("table", ranked_by, seed, shard_rows),
    )
    _screen(request, running)


def _settings(kind: ScreenKind, ranked_by: ScreenObjective, seed: int, shard_rows: int) -> ScreenSettings:
    if shard_rows % 64:
        near = max(64, shard_rows // 64 * 64)
        raise typer.BadParameter(
            f"{shard_rows} is no multiple of 64; write {near} or {near + 64}", param_hint="--shard-rows"
        )
    return ScreenSettings(
        kind=kind, objective=ranked_by.objective, score=ranked_by.score, seed=seed, shard_rows=shard_rows
    )


def _require_gpu(running: _Running) -> None:
    """Refuse to compute on a GPU here where there is none; what workers elsewhere have, Ray tells."""
    is_here = running.dry_run or running.executor == "in-process"
    if running.device == "cuda" and is_here and not torch.cuda.is_available():
        raise ConfigError(
            f"--gpus-per-worker {running.gpus_per_worker:g}: PyTorch finds no GPU on this machine. Leave it "
            "out, or run where there is one."
        )


@contextmanager
def _told_of_storage(out: str) -> Iterator[None]:
    """Say of a full disk or a folder that cannot be written how to go on."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"--out {out}: cannot be written ({error}). Free the disk or permit it, and give the command "
            "again: it goes on where it was."
        ) from error


def _screen(request: ScreenRequest, running: _Running) -> None:
    if not running.out and not running.dry_run:
        raise typer.BadParameter("name the folder of the screen: --out SCREEN", param_hint="--out")
    _require_gpu(running)
    with progress_bar("check library", "rows") as progress:
        prepared = prepare_screen(request, progress)
    if not running.out or running.dry_run:
        cores = 1 if running.executor == "in-process" else os.cpu_count() or 1
        found = estimate(prepared, min(running.workers or cores, cores), running.executor)
        text = json.dumps(found.to_json(), indent=1) if running.as_json else "\n".join(estimate_lines(found))
        print(text)
        return
    with progress_bar(f"screen {request.kind}", "profiles") as progress, _told_of_storage(running.out):
        outcome = compute_screen(prepared, running.out, running.executor, progress, running.resources)
    lines = outcome_lines(outcome, prepared.plan.settings)
    print(json.dumps(outcome_json(outcome), indent=1) if running.as_json else "\n".join(lines))

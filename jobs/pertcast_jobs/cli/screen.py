"""`pertcast screen`: from a library and a bundle to ranked hits, profiles and a report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from pertcast.naming import condition_name
from pertcast.report.tables import format_number

from pertcast_jobs.progress import progress_bar
from pertcast_jobs.screen.estimate import ScreenEstimate, estimate
from pertcast_jobs.screen.executors import EXECUTORS, get_executor
from pertcast_jobs.screen.library import ScreenKind
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import ScreenRequest, prepare_screen
from pertcast_jobs.screen.run import ScreenOutcome, compute_screen

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Predict a whole library with a trained model and rank its hits. An interrupted screen is "
    "finished by the same command.",
)

_SHOWN_HITS = 10

List = Annotated[
    Path | None,
    typer.Argument(
        help="csv or parquet with a column pert_id (and where known canonical_smiles, pert_type, cell_iname, "
        "pert_dose in uM, pert_time in h); all that the bundle knows where absent.",
        metavar="[LIST]",
    ),
]
Model = Annotated[Path, typer.Option(help="Folder of a run or of a bundle.", metavar="RUN")]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the screen: new, or this screen to be finished.", metavar="SCREEN"),
]
Gmt = Annotated[Path | None, typer.Option(help="Gene sets to score every profile against.", metavar="FILE")]
Cells = Annotated[
    str | None,
    typer.Option(help="Cell lines, A549,MCF7; default: those of the training data.", metavar="A,B"),
]
Doses = Annotated[
    str | None,
    typer.Option(help="Doses in uM, 0.1,1,10; default: up to six of the training data.", metavar="X,Y"),
]
Times = Annotated[
    str | None,
    typer.Option(help="Times in h, 6,24; default: up to three of the training data.", metavar="X,Y"),
]
PertTypes = Annotated[
    str | None,
    typer.Option(
        "--pert-types",
        help="trt_sh (knock-down), trt_xpr (knock-out), trt_act (activation), trt_oe (over-expression); "
        "default: those of training.",
        metavar="A,B",
    ),
]
Executor = Annotated[str, typer.Option(help=f"Where shards are computed: {', '.join(EXECUTORS)}.")]
Skip = Annotated[
    bool,
    typer.Option("--skip-unknown", help="Leave out rows that cannot be predicted; list them in refused.csv."),
]
Seed = Annotated[int, typer.Option(help="Seed of sampled predictions and of permutations.")]
ShardRows = Annotated[
    int, typer.Option(help="Profiles of a shard, the unit of work; a multiple of 64.", min=64)
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print counts, memory and time (measured on a warm-up); screen nothing."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def compounds(
    model: Model,
    library: List = None,
    out: Out = None,
    gmt: Gmt = None,
    cells: Cells = None,
    doses: Doses = None,
    times: Times = None,
    executor: Executor = "ray-data",
    skip_unknown: Skip = False,
    seed: Seed = 0,
    shard_rows: ShardRows = 1024,
    dry_run: DryRun = False,
    json_: Json = False,
) -> None:
    """Screen compounds x cell lines x doses x times.

    Example: pertcast screen compounds library.csv --model runs/first --out screens/first --doses 1,10
    """
    request = ScreenRequest(
        kind="compounds",
        model=model,
        library=library,
        gmt=gmt,
        cells=_words(cells),
        doses=_numbers("--doses", doses),
        times=_numbers("--times", times),
        skip_unknown=skip_unknown,
        settings=_settings("compounds", seed, shard_rows),
    )
    _screen(request, out, executor, dry_run, json_)


@app.command()
def genes(
    model: Model,
    library: List = None,
    out: Out = None,
    gmt: Gmt = None,
    cells: Cells = None,
    times: Times = None,
    pert_types: PertTypes = None,
    executor: Executor = "ray-data",
    skip_unknown: Skip = False,
    seed: Seed = 0,
    shard_rows: ShardRows = 1024,
    dry_run: DryRun = False,
    json_: Json = False,
) -> None:
    """Screen genes x types x cell lines x times: what happens where each is knocked down, out or raised.

    Example: pertcast screen genes --model runs/first --pert-types trt_sh,trt_xpr --out screens/genome
    """
    request = ScreenRequest(
        kind="genes",
        model=model,
        library=library,
        gmt=gmt,
        cells=_words(cells),
        times=_numbers("--times", times),
        types=_words(pert_types),
        skip_unknown=skip_unknown,
        settings=_settings("genes", seed, shard_rows),
    )
    _screen(request, out, executor, dry_run, json_)


def _settings(kind: ScreenKind, seed: int, shard_rows: int) -> ScreenSettings:
    if shard_rows % 64:
        raise typer.BadParameter("a shard is a multiple of 64 profiles", param_hint="--shard-rows")
    return ScreenSettings(kind=kind, seed=seed, shard_rows=shard_rows)


def _words(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip())) or None


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    numbers = []
    for word in _words(text) or ():
        try:
            numbers.append(float(word))
        except ValueError as error:
            raise typer.BadParameter(f"{word!r} is no number; write 0.1,1,10", param_hint=option) from error
        if not 0 <= numbers[-1] < float("inf"):
            raise typer.BadParameter(f"{word} is out of range", param_hint=option)
    return tuple(sorted(set(numbers))) or None


def _screen(request: ScreenRequest, out: Path | None, executor: str, dry_run: bool, as_json: bool) -> None:
    get_executor(executor)
    if dry_run:
        workers = os.cpu_count() or 1 if executor == "ray-data" else 1
        with progress_bar("check library", "rows") as progress:
            prepared = prepare_screen(request, progress)
        found = estimate(prepared, workers)
        print(json.dumps(found.to_json(), indent=1) if as_json else "\n".join(_estimate_lines(found)))
        return
    if out is None:
        raise typer.BadParameter("name the folder of the screen: --out SCREEN", param_hint="--out")
    with progress_bar("check library", "rows") as progress:
        prepared = prepare_screen(request, progress)
    with progress_bar(f"screen {request.kind}", "profiles") as progress:
        outcome = compute_screen(prepared, out, executor, progress)
    print(json.dumps(_outcome_json(outcome), indent=1) if as_json else "\n".join(_outcome_lines(outcome)))


def _estimate_lines(found: ScreenEstimate) -> list[str]:
    left_out = f"{found.n_refused:,} refused, {found.n_repeated:,} repeated"
    return [
        f"profiles  {found.n_profiles:,}: {found.n_perturbations:,} perturbations, "
        f"{found.n_cells:,} cell lines, {found.n_doses:,} doses, {found.n_times:,} times",
        f"left out  {left_out}",
        f"space     {found.n_genes:,} genes, {found.n_sets:,} gene sets",
        f"shards    {found.n_shards:,}",
        f"time      about {found.seconds:,.0f} s: {found.profiles_per_second:,.0f} profiles/s "
        f"x {found.workers} workers",
        f"memory    about {found.memory_bytes / 1e9:.1f} GB",
        f"disk      {found.disk_bytes / 1e6:,.1f} MB of profiles",
    ]


def _top_hits(hits: pl.DataFrame) -> list[dict[str, Any]]:
    columns = ("rank", "sig_id", "effect_size", "n_deg", "flag", "top_up", "top_down")
    return [
        {"condition": condition_name(row), **{name: row[name] for name in columns}}
        for row in hits.head(_SHOWN_HITS).iter_rows(named=True)
    ]


def _outcome_json(outcome: ScreenOutcome) -> dict[str, Any]:
    return {
        "out": str(outcome.out),
        "report": str(outcome.out / "report.html"),
        "profiles": outcome.n_profiles,
        "computed": outcome.n_computed,
        "refused": outcome.n_refused,
        "hits": _top_hits(outcome.hits),
    }


def _outcome_lines(outcome: ScreenOutcome) -> list[str]:
    top = _top_hits(outcome.hits)
    width = max(len(row["condition"]) for row in top)
    lines = [
        f"{outcome.n_profiles:,} conditions ranked by predicted effect; no false-discovery rate: uncalibrated"
    ]
    lines.append(f"{'rank':>4}  {'condition':<{width}}  {'effect':>8}  trust")
    lines += [
        f"{row['rank']:>4}  {row['condition']:<{width}}  "
        f"{format_number(row['effect_size']):>8}  {row['flag'] or '-'}"
        for row in top
    ]
    already = outcome.n_profiles - outcome.n_computed
    lines.append(f"{outcome.n_computed:,} profiles computed now, {already:,} found finished")
    if outcome.n_refused:
        lines.append(f"{outcome.n_refused:,} rows refused: {outcome.out / 'refused.csv'}")
    lines.append(f"report {outcome.out / 'report.html'}")
    return lines

"""`pertcast data`: bring files in, look at them, check stores, simulate an atlas, split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast_data.errors import ConfigError
from pertcast_data.ingest import ingest as ingest_files
from pertcast_data.ingest.inspection import inspect_path
from pertcast_data.splits import PARTS, SPLIT_KINDS, make_split
from pertcast_data.store import ExpressionStore, validate_store
from pertcast_data.text import aligned

from pertcast_jobs.cli.simulate import simulate
from pertcast_jobs.progress import progress_bar

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StoreArgument = Annotated[Path, typer.Argument(help="A store.")]


@app.command()
def ingest(
    sources: Annotated[list[Path], typer.Argument(help="h5ad, gctx or gct files; content decides which.")],
    out: Annotated[Path, typer.Option(help="The store to create; must not exist.")],
    map_: Annotated[
        Path | None, typer.Option("--map", help="YAML file that says what columns mean (docs/ingest.md).")
    ] = None,
    obs_table: Annotated[
        Path | None, typer.Option(help="csv, tsv or Parquet table of the rows, e.g. LINCS instinfo.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Column of --obs-table with the matrix's row ids.")] = None,
    seed: Annotated[int, typer.Option(help="Of the shuffle of rows within a condition.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be mapped, counts and memory; write nothing.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Turn files of profiles into a store; every guess, conversion and omission is printed.

    Example: pertcast data ingest screen.h5ad --out stores/screen
    """
    with progress_bar("ingest", "rows read and written") as progress:
        report = ingest_files(
            sources, out, map_, obs_table, key, seed=seed, dry_run=dry_run, progress=progress
        )
    print(report.to_json() if json_ else "\n".join(report.lines()))


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="STORE|FILE", help="A store, or a file of profiles.")],
    json_: JsonFlag = False,
) -> None:
    """Show what a store or a file holds and, for a file, what an ingest would make of it.

    Example: pertcast data inspect screen.h5ad
    """
    facts = inspect_path(path)
    print(facts.to_json() if json_ else "\n".join(facts.lines()))


@app.command()
def validate(store: StoreArgument, json_: JsonFlag = False) -> None:
    """Read every byte of a store and compare it with its manifest; exits with 1 where anything differs.

    Example: pertcast data validate stores/screen
    """
    with progress_bar("validate", "files") as progress:
        problems = validate_store(store, progress)
    if json_:
        found = [{"path": problem.path, "what": problem.what} for problem in problems]
        print(json.dumps({"store": str(store), "is_valid": not problems, "problems": found}, indent=2))
    else:
        verdict = "valid: every file is as it was committed"
        lines = [f"invalid: {len(problems)} problems, restore or ingest again" if problems else verdict]
        lines += aligned([(f"  {problem.path}", problem.what) for problem in problems]) if problems else []
        print("\n".join([*lines, f"store: {store}"]))
    if problems:
        raise typer.Exit(1)


app.command()(simulate)


@app.command()
def split(
    store: StoreArgument,
    kind: Annotated[str, typer.Option(help=f"What is held out: {', '.join(SPLIT_KINDS)}.")],
    out: Annotated[Path, typer.Option(help="The split's JSON file.")],
    folds: Annotated[int, typer.Option(help="Number of folds.")] = 4,
    seed: Annotated[int, typer.Option(help="Deals the groups to folds.")] = 0,
    group_column: Annotated[str | None, typer.Option(help="Column to split by, for --kind group.")] = None,
    json_: JsonFlag = False,
) -> None:
    """Deal a store's conditions to training, validation and test, and save that as a manifest.

    Example: pertcast data split stores/screen --kind unseen_compound --out split.json
    """
    if not out.parent.is_dir():
        raise ConfigError(f"{out.parent}: no such folder. Make it, or choose another --out.")
    made = make_split(ExpressionStore.open(store), kind, folds, seed, group_column)
    made.save(out)
    counts = [{part: len(getattr(fold, part)) for part in PARTS} for fold in made.folds]
    if json_:
        facts = {"split": str(out), "kind": made.kind, "seed": seed, "hash": made.hash, "folds": counts}
        print(json.dumps(facts, indent=2))
        return
    held_out = SPLIT_KINDS[made.kind].summary
    print(f"Split by {held_out}: {len(made.folds)} folds, groups disjoint (counts are conditions)\n")
    rows = [(str(number), *(f"{count[part]:,}" for part in PARTS)) for number, count in enumerate(counts)]
    print("\n".join(aligned([("fold", *PARTS), *rows])))
    print(f"\nsplit: {out}")

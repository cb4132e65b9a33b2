"""`pertcast data`: bring files in, look at them, check stores, simulate an atlas, split, audit, networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from pertcast_data.ingest import IngestMapping, load_mapping, mapping_from_pairs, mapping_json_schema
from pertcast_data.ingest import ingest as ingest_files
from pertcast_data.ingest.inspection import inspect_path
from pertcast_data.ingest.run import WORKER_MEMORY_BYTES
from pertcast_data.store import compact_store, validate_store
from pertcast_data.store.info import Codec
from pertcast_data.text import aligned, counted

from pertcast_jobs.cli.export import export
from pertcast_jobs.cli.gene_sets import gene_sets
from pertcast_jobs.cli.infer import infer
from pertcast_jobs.cli.networks import networks
from pertcast_jobs.cli.prepare import prepare
from pertcast_jobs.cli.simulate import simulate
from pertcast_jobs.cli.splits import audit, split
from pertcast_jobs.cli.usage import one_of
from pertcast_jobs.ingest.page import page_writer
from pertcast_jobs.ingest.runners import EXECUTORS, get_executor
from pertcast_jobs.progress import progress_bar

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StoreArgument = Annotated[Path, typer.Argument(help="A store.")]


@app.command()
def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SRC", help="Files of profiles, patterns, folders, s3:// or gs://."),
    ],
    out: Annotated[
        str,
        typer.Option(help="The store to create: a folder, s3:// or gs://.", metavar="STORE"),
    ],
    map_: Annotated[
        Path | None, typer.Option("--map", help="YAML file that says what columns mean (docs/ingest.md).")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A line of the mapping: pert_col=condition. Repeatable.", metavar="A=B"),
    ] = None,
    obs_table: Annotated[
        list[Path] | None,
        typer.Option(help="Table of the rows; those of LINCS are known. May be repeated.", metavar="TABLE"),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Column of another --obs-table with the matrix's row ids.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the shuffle of rows within a condition.")] = 0,
    append: Annotated[
        bool, typer.Option("--append", help="Put the rows behind those of the store that is there.")
    ] = False,
    executor: Annotated[
        str,
        typer.Option(
            help="in-process, or ray-data: pieces on all CPUs of a Ray.",
            metavar="NAME",
            callback=one_of(EXECUTORS),
        ),
    ] = "in-process",
    worker_memory: Annotated[
        int, typer.Option(help="MB that rows may take in a worker.", metavar="MB", min=1)
    ] = WORKER_MEMORY_BYTES >> 20,
    report: Annotated[
        Path | None,
        typer.Option(help="Look at every profile first; write a page about them.", metavar="FILE.html"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be mapped, counts and memory; write nothing.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Turn files of profiles into a store; every guess, conversion and omission is printed.

    Interrupted or killed, the same command goes on where it stopped and ends with the same bytes.

    Example: pertcast data ingest screen.h5ad --out stores/screen
    """
    mapping = mapping_from_pairs(set_ or (), IngestMapping() if map_ is None else load_mapping(map_))
    with get_executor(executor)() as runner, progress_bar("ingest", "rows read and written") as progress:
        told = ingest_files(
            sources,
            out,
            mapping,
            obs_table or (),
            key,
            seed=seed,
            append=append,
            dry_run=dry_run,
            runner=runner,
            worker_memory_bytes=worker_memory << 20,
            checked=None if report is None else page_writer(report),
            progress=progress,
        )
    lines = [*told.lines(), *([f"report: {report}"] if report else [])]
    print(told.to_json() if json_ else "\n".join(lines))


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
        lines = [
            f"invalid: {counted(len(problems), 'problem')}, restore or ingest again" if problems else verdict
        ]
        lines += aligned([(f"  {problem.path}", problem.what) for problem in problems]) if problems else []
        print("\n".join([*lines, f"store: {store}"]))
    if problems:
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON schema of mapping files, by which editors complete and check them.

    Example: pertcast data schema > mapping.schema.json
    """
    print(json.dumps(mapping_json_schema(), indent=2))


@app.command()
def compact(
    store: StoreArgument,
    codec: Annotated[
        str | None,
        typer.Option(
            help="none, train (lz4) or archive (zstd); default: as is.",
            metavar="NAME",
            callback=one_of(get_args(Codec)),
        ),
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Bring a store that has grown by --append into one order again; splits made before are made anew.

    Example: pertcast data compact stores/screen
    """
    with progress_bar("compact", "rows read and written") as progress:
        compacted = compact_store(store, codec=cast("Codec | None", codec), progress=progress)
    facts = {"store": str(store), "rows": compacted.n_rows, "data_hash": compacted.data_hash}
    lines = [f"{compacted.n_rows:,} profiles in one order", f"store: {store}"]
    print(json.dumps(facts, indent=2) if json_ else "\n".join(lines))


app.command()(simulate)
app.command()(split)
app.command()(audit)
app.command()(networks)
app.command()(prepare)
app.command()(export)
app.command("gene-sets")(gene_sets)
app.command()(infer)

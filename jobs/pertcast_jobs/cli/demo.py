"""`pertcast demo`: the whole way once, on the simulated atlas or on a user's file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from pertcast_jobs.demo import DemoFolder
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.steps import run_steps

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("demo"),
    data: Annotated[
        Path | None, typer.Option(help="Your own h5ad, gct or gctx file; the simulated atlas where absent.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the first commands; run nothing.")
    ] = False,
) -> None:
    """Run everything once: ingest, split, sweep, train on Ray with DeepSpeed, trust report, screen.

    Example: pertcast demo --out demo --data screen.h5ad
    """
    from pertcast_jobs.cli import run

    folder = DemoFolder(out, data)
    if dry_run:
        print(f"$ {next(folder.steps()).line}")
        return
    started = time.monotonic()
    code = run_steps(folder.steps(), run, ray_session)
    if code:
        raise typer.Exit(code)
    print(f"\ndone in {time.monotonic() - started:,.0f} s")
    print(f"trust report   {folder.trust_report}")
    print(f"open           {folder.screen_report}")

"""`pertcast demo`: the whole way once, on the simulated atlas or on a user's file."""

from __future__ import annotations

import shlex
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pertcast_jobs.demo import DemoFolder
from pertcast_jobs.ray_session import ray_session

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
        step = next(folder.steps())
        print(f"$ pertcast {shlex.join(step.words)}")
        return
    started = time.monotonic()
    with ExitStack() as stack:
        for number, step in enumerate(folder.steps(), 1):
            print(f"\n[{number}] $ pertcast {shlex.join(step.words)}", flush=True)
            if step.is_done:
                print(f"    done already: {step.result}")
                continue
            if step.needs_ray:
                stack.enter_context(ray_session())
            code = run(step.words)
            if code:
                raise typer.Exit(code)
    print(f"\ndone in {time.monotonic() - started:,.0f} s")
    print(f"trust report   {folder.trust_report}")
    print(f"open           {folder.screen_report}")

"""`pertcast job`: submit commands to a cluster and follow them; Ctrl-C leaves a job running."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pertcast_jobs.cluster.job_client import SUCCEEDED, ClusterJobs
from pertcast_jobs.cluster.ray_jobs import RayJobs

app = typer.Typer(
    help="Submit and follow jobs on a Ray cluster.", rich_markup_mode=None, no_args_is_help=True
)

Address = Annotated[
    str | None,
    typer.Option(help="Ray Jobs address; default RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265."),
]
Identifier = Annotated[str, typer.Argument(help="Submission id, as `job list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _follow(jobs: ClusterJobs, identifier: str) -> None:
    """Print a job's output until it ends, and end this command with the job's exit code."""
    try:
        for text in jobs.follow(identifier):
            print(text, end="", flush=True)
        code = jobs.exit_code(identifier)
    except KeyboardInterrupt as stop:
        raise type(stop)(
            f"{identifier} goes on. Follow it with `pertcast job logs -f {identifier}`, stop it with "
            f"`pertcast job stop {identifier}`"
        ) from stop
    status = jobs.status(identifier)
    if status != SUCCEEDED:
        print(f"{identifier} ended as {status}, exit code {code}", file=sys.stderr)
        raise typer.Exit(code or 1)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def submit(
    command: Annotated[list[str], typer.Argument(help="CONFIG with overrides, or a whole command.")],
    address: Address = None,
    submission_id: Annotated[str | None, typer.Option(help="Id; default follows from the command.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show the output and end with the job's exit code.")
    ] = False,
    ship: Annotated[
        bool | None,
        typer.Option(
            "--ship/--no-ship",
            help="Run this installation's code, or the image's. Default: ship, unless the address is local.",
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(help="A small file that the command names and that travels with it; may be repeated."),
    ] = None,
) -> None:
    """Run a pertcast command as a job of a Ray cluster; options of `submit` come first.

    The same words again follow a job that runs, and go on where one that failed or was stopped had come.

    Example: pertcast job submit --wait response_mlp data.store=/data/atlas --out /data/run
    """
    jobs = RayJobs(address, ship=ship, files=file or ())
    identifier = jobs.submit(command, submission_id)
    print(identifier, flush=True)
    if wait:
        _follow(jobs, identifier)


@app.command()
def status(identifier: Identifier, address: Address = None, as_json: AsJson = False) -> None:
    """Print a job's status; with --json its times, its command and its exit code too.

    Example: pertcast job status pertcast-train-1f0c9a2b3c
    """
    job = RayJobs(address).describe(identifier)
    print(json.dumps(asdict(job), indent=2) if as_json else job.status)


@app.command()
def logs(
    identifier: Identifier,
    address: Address = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends, and end with its exit code.")
    ] = False,
) -> None:
    """Print a job's output.

    Example: pertcast job logs -f pertcast-train-1f0c9a2b3c
    """
    jobs = RayJobs(address)
    if follow:
        _follow(jobs, identifier)
    else:
        print(jobs.logs(identifier), end="")


@app.command()
def stop(identifier: Identifier, address: Address = None) -> None:
    """Stop a running job; it has a minute to leave a checkpoint.

    Example: pertcast job stop pertcast-train-1f0c9a2b3c
    """
    was_running = RayJobs(address).stop(identifier)
    print("stopping" if was_running else "not running")


@app.command("list")
def list_jobs(address: Address = None, as_json: AsJson = False) -> None:
    """List the jobs of a cluster, newest first.

    Example: pertcast job list
    """
    jobs = RayJobs(address).list()
    if as_json:
        print(json.dumps([asdict(job) for job in jobs], indent=2))
        return
    for job in jobs:
        print(f"{job.submission_id:<32} {job.status:<10} {job.started or '':<25} {job.entrypoint}")
    if not jobs:
        print("no jobs yet")

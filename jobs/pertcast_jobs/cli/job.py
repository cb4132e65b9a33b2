"""`pertcast job`: submit commands to a Ray cluster and follow them, in `ray job`'s words."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from pertcast_jobs.submit import Jobs

app = typer.Typer(
    help="Submit and follow jobs on a Ray cluster.", rich_markup_mode=None, no_args_is_help=True
)

Address = Annotated[
    str | None,
    typer.Option(help="Ray Jobs address; default RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265."),
]
Identifier = Annotated[str, typer.Argument(help="Submission id, as `job list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def submit(
    command: Annotated[list[str], typer.Argument(help="CONFIG with overrides, or a whole command.")],
    address: Address = None,
    submission_id: Annotated[str | None, typer.Option(help="Id; default follows from the command.")] = None,
    wait: Annotated[bool, typer.Option(help="Show the output, and fail if the job fails.")] = False,
) -> None:
    """Run a pertcast command as a job of a Ray cluster; options of `submit` come first.

    Example: pertcast job submit --wait response_mlp data.store=/data/atlas --out /data/run
    """
    jobs = Jobs(address)
    identifier = jobs.submit(command, submission_id)
    print(identifier, flush=True)
    if wait:
        for text in jobs.follow(identifier):
            print(text, end="", flush=True)
        jobs.wait(identifier)


@app.command()
def status(identifier: Identifier, address: Address = None) -> None:
    """Print a job's status.

    Example: pertcast job status pertcast-train-1f0c9a2b3c
    """
    print(Jobs(address).status(identifier))


@app.command()
def logs(
    identifier: Identifier,
    address: Address = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
) -> None:
    """Print a job's output.

    Example: pertcast job logs -f pertcast-train-1f0c9a2b3c
    """
    jobs = Jobs(address)
    for text in jobs.follow(identifier) if follow else [jobs.logs(identifier)]:
        print(text, end="", flush=True)


@app.command()
def stop(identifier: Identifier, address: Address = None) -> None:
    """Stop a running job.

    Example: pertcast job stop pertcast-train-1f0c9a2b3c
    """
    was_running = Jobs(address).stop(identifier)
    print("stopping" if was_running else "not running")


@app.command("list")
def list_jobs(address: Address = None, as_json: AsJson = False) -> None:
    """List the jobs of a cluster, newest first.

    Example: pertcast job list
    """
    jobs = Jobs(address).list()
    if as_json:
        print(json.dumps([asdict(job) for job in jobs], indent=2))
        return
    for job in jobs:
        print(f"{job.submission_id:<32} {job.status:<10} {job.entrypoint}")
    if not jobs:
        print("no jobs yet")

"""`pertcast job`: submit commands to a cluster and follow them; Ctrl-C leaves a job running."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pertcast_jobs.cli.job_check import check
from pertcast_jobs.cluster.job_client import ENDED, SUCCEEDED, UNKNOWN_EXIT_CODE, ClusterJobs, JobRow
from pertcast_jobs.cluster.kube.kube_jobs import KubeJobs
from pertcast_jobs.cluster.ray_jobs import RayJobs

app = typer.Typer(
    help="Submit and follow jobs on a Ray cluster or Kubernetes, and judge manifests.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
)

Address = Annotated[
    str | None,
    typer.Option(help="Ray Jobs address; default RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265."),
]
Identifier = Annotated[str, typer.Argument(help="Submission id, as `job list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Kube = Annotated[bool, typer.Option("--kube", help="Jobs are RayJobs of Kubernetes, reached by kubectl.")]
Namespace = Annotated[
    str | None, typer.Option(help="With --kube: the namespace; default the current context's.")
]


def _jobs(address: str | None, kube: bool, namespace: str | None) -> ClusterJobs:
    """Return the cluster that the options name."""
    _refuse_mixed(address, kube, namespace)
    return KubeJobs(namespace) if kube else RayJobs(address)


def _refuse_mixed(address: str | None, kube: bool, namespace: str | None) -> None:
    if kube and address is not None:
        raise typer.BadParameter("kubectl's context says where the cluster is; leave out --address")
    if namespace is not None and not kube:
        raise typer.BadParameter("a namespace goes with --kube")


def _place_options(address: str | None, kube: bool, namespace: str | None) -> str:
    """Return the options that lead to the same cluster again, each with a space behind it."""
    given = {"--address": address, "--namespace": namespace}
    named = "".join(f"{name} {value} " for name, value in given.items() if value is not None)
    return ("--kube " if kube else "") + named


def _follow(jobs: ClusterJobs, identifier: str, options: str) -> None:
    """Print a job's output until it ends, and end this command with the job's exit code.

    `options` lead to the same cluster again (`_place_options`).
    """
    try:
        for text in jobs.follow(identifier):
            print(text, end="", flush=True)
        job = jobs.wait(identifier)
    except KeyboardInterrupt as stop:
        raise type(stop)(
            f"{identifier} goes on. Follow it with `pertcast job logs -f {options}{identifier}`, stop it "
            f"with `pertcast job stop {options}{identifier}`"
        ) from stop
    if job.status != SUCCEEDED:
        code = job.exit_code or UNKNOWN_EXIT_CODE
        print(f"{identifier} ended as {job.status}, exit code {code}{_reason(job)}", file=sys.stderr)
        raise typer.Exit(code)


def _reason(job: JobRow) -> str:
    """Return why a job's process has no exit code, which then no output tells."""
    if job.exit_code is not None or job.status not in ENDED or not job.message:
        return ""
    return f": {job.message.strip()}"


@contextmanager
def _own_options_first(context: typer.Context) -> Iterator[None]:
    """Say of an option that the submitted command does not know, but this one does, where it belongs."""
    try:
        yield
    except Exception as error:
        unknown = getattr(error, "option_name", None)
        own = {name for option in context.command.params for name in (*option.opts, *option.secondary_opts)}
        if unknown not in own:
            raise
        raise typer.BadParameter(
            f"{unknown} is an option of `job submit`: write it before the command that is submitted"
        ) from error


@app.command(context_settings={"allow_interspersed_args": False})
def submit(
    context: typer.Context,
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
    kube: Kube = False,
    namespace: Namespace = None,
    cluster: Annotated[
        str | None, typer.Option(help="With --kube: the standing RayCluster; default pertcast.")
    ] = None,
    manifests: Annotated[
        str | None,
        typer.Option(help="With --kube: rendered manifests (or -) whose RayJob gives a cluster of its own."),
    ] = None,
    cpus: Annotated[
        float | None,
        typer.Option(help="With --kube: a worker's CPUs for the command's own process; default: the head."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --kube: print the RayJob and touch nothing.")
    ] = False,
) -> None:
    """Run a pertcast command as a job of a Ray cluster; options of `submit` come first.

    The same words again follow a job that runs, and go on where one that has ended had come.

    Example: pertcast job submit --wait response_mlp data.store=/data/atlas --out /data/run
    """
    if not kube and (cluster or manifests or cpus or dry_run):
        raise typer.BadParameter("--cluster, --manifests, --cpus and --dry-run go with --kube")
    if kube and ship:
        raise typer.BadParameter(
            "a RayJob runs the code of its image; leave out --ship (docs/jobs_on_kubernetes.md)"
        )
    _refuse_mixed(address, kube, namespace)
    jobs: ClusterJobs
    if kube:
        jobs = KubeJobs(namespace, cluster, manifests, file or (), cpus)
        if dry_run:
            with _own_options_first(context):
                print(jobs.render(command, submission_id), end="")
            return
    else:
        jobs = RayJobs(address, ship=ship, files=file or ())
    with _own_options_first(context):
        identifier = jobs.submit(command, submission_id)
    print(identifier, flush=True)
    if wait:
        found = jobs.namespace if isinstance(jobs, KubeJobs) else None
        _follow(jobs, identifier, _place_options(address, kube, found))


@app.command()
def status(
    identifier: Identifier,
    address: Address = None,
    kube: Kube = False,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Print a job's status; with --json its times, its command and its exit code too.

    Example: pertcast job status pertcast-train-1f0c9a2b3c
    """
    job = _jobs(address, kube, namespace).describe(identifier)
    print(json.dumps(asdict(job), indent=2) if as_json else job.status)
    if not as_json and (reason := _reason(job)):
        print(f"{identifier}{reason}", file=sys.stderr)


@app.command()
def logs(
    identifier: Identifier,
    address: Address = None,
    kube: Kube = False,
    namespace: Namespace = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends, and end with its exit code.")
    ] = False,
) -> None:
    """Print a job's output.

    Example: pertcast job logs -f pertcast-train-1f0c9a2b3c
    """
    jobs = _jobs(address, kube, namespace)
    if follow:
        _follow(jobs, identifier, _place_options(address, kube, namespace))
    else:
        print(jobs.logs(identifier), end="")


@app.command()
def stop(
    identifier: Identifier, address: Address = None, kube: Kube = False, namespace: Namespace = None
) -> None:
    """Stop a running job; it has a minute to leave a checkpoint.

    Example: pertcast job stop pertcast-train-1f0c9a2b3c
    """
    was_running = _jobs(address, kube, namespace).stop(identifier)
    print("stopping" if was_running else "not running")


@app.command("list")
def list_jobs(
    address: Address = None, kube: Kube = False, namespace: Namespace = None, as_json: AsJson = False
) -> None:
    """List the jobs of a cluster, newest first.

    Example: pertcast job list
    """
    jobs = _jobs(address, kube, namespace).list()
    if as_json:
        print(json.dumps([asdict(job) for job in jobs], indent=2))
        return
    for job in jobs:
        print(f"{job.submission_id:<32} {job.status:<10} {job.started or '':<25} {job.command_line}")
    if not jobs:
        print("no jobs yet")


app.command()(check)

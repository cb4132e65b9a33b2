"""The command line `pertcast`: each command is loaded when it is called, errors become exit codes.

Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted (SIGINT), 143 preempted (SIGTERM).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from pertcast import __version__
from pertcast_data.errors import PertcastError, Preempted, nearest_known
from pertcast_data.stops import stop_behind, stops_heard
from typer.core import TyperGroup
from typer.main import get_command

from pertcast_jobs.cli.stops import INTERRUPTED, PREEMPTED, stop_message

COMMANDS: Mapping[str, tuple[str, str]] = {
    "data": ("pertcast_jobs.cli.data", "Ingest, inspect, validate, simulate and split expression data."),
    "train": ("pertcast_jobs.cli.train", "Train a model on a store."),
    "tune": ("pertcast_jobs.cli.tune", "Sweep a model's configuration with Ray Tune."),
    "evaluate": ("pertcast_jobs.cli.evaluate", "Print the trust report: the model beside every baseline."),
    "screen": ("pertcast_jobs.cli.screen", "Predict a whole library and rank its hits."),
    "query": ("pertcast_jobs.cli.query", "Find what mimics or reverses a signature."),
    "enrich": ("pertcast_jobs.cli.enrich", "Score a finished screen against gene sets."),
    "report": ("pertcast_jobs.cli.report", "Write the report of a finished screen again."),
    "targets": ("pertcast_jobs.cli.targets", "Rank the genes whose loss each drug resembles."),
    "job": ("pertcast_jobs.cli.job", "Submit and follow jobs on a Ray cluster."),
    "config": ("pertcast_jobs.cli.config", "Show and check configurations."),
    "preset": ("pertcast_jobs.cli.preset", "Train and judge on a named data set that you bring."),
    "demo": ("pertcast_jobs.cli.demo", "Run everything once, on the simulated atlas or on your file."),
}
"""Command -> (module that holds its typer `app`, one line of help)."""

PLUGIN_HELP: Mapping[str, str] = {
    "serve": "Serve models over HTTP: endpoints, screens and the page.",
    "key": "Create, list and revoke the keys of a server.",
}
"""One line of help of the commands that other rooms add."""


def _plugins() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group="pertcast.commands")}


class LazyGroup(TyperGroup):
    """A group that lists its commands from `COMMANDS` and imports one only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands' names in their order of use."""
        return [*COMMANDS, *_plugins()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one command, or None where there is no such command."""
        if cmd_name in COMMANDS:
            app = import_module(COMMANDS[cmd_name][0]).app
        elif cmd_name in _plugins():
            app = _plugins()[cmd_name].load()
        else:
            return None
        command = get_command(app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called, or end with a usage error that names the nearest ones."""
        known = self.list_commands(ctx)
        nearest = nearest_known(args[0], known)
        if args[0] not in known and nearest:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(map(repr, nearest))}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing any of them."""
        rows = [(name, COMMANDS[name][1]) for name in COMMANDS]
        rows += [(name, PLUGIN_HELP.get(name, "")) for name in _plugins()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    cls=LazyGroup,
    help="Pertcast forecasts how cells respond to drugs and genetic perturbations.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"pertcast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Hold the group open; every command lives in its own module."""


def run(words: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own where None) and return its exit code.

    Expected errors are printed without a traceback; a stop ends with 130 or 143 and a hint.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    words = sys.argv[1:] if words is None else list(words)
    # What other rooms add (a server) has its own answer to SIGTERM.
    is_ours = bool(words) and words[0] in COMMANDS
    try:
        with stops_heard({signal.SIGTERM: Preempted}) if is_ours else nullcontext():
            get_command(app).main(args=words, prog_name="pertcast")
    except PertcastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SystemExit as end:
        if end.code == INTERRUPTED:
            stop = stop_behind(end)
            print(stop_message(stop, words), file=sys.stderr)
            return PREEMPTED if isinstance(stop, Preempted) else INTERRUPTED
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run())

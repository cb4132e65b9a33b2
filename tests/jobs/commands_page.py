"""docs/commands.md, written from the command line itself: `.venv/bin/python tests/jobs/commands_page.py`.

What a command does and which options it has is said in its `--help`; the page repeats it and adds links.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from pertcast_jobs.cli import app
from typer.main import get_command

PAGE: Final = Path(__file__).parents[2] / "docs" / "commands.md"

READ_MORE: Final[Mapping[str, tuple[str, ...]]] = {
    "data": ("ingest", "store"),
    "data ingest": ("ingest", "ingest_contract", "object_storage"),
    "data inspect": ("ingest",),
    "data schema": ("ingest_contract",),
    "data simulate": ("atlas",),
    "data split": ("splits",),
    "data audit": ("splits",),
    "data networks": ("gene_features",),
    "data prepare": ("preparation",),
    "data export": ("preparation",),
    "train": ("training_on_ray", "scaling", "ensembles", "finetuning", "training_visibility"),
    "tune": ("tuning",),
    "evaluate": ("evaluation", "evaluation_external", "evaluate_other_tools"),
    "screen": ("screening",),
    "screen export": ("screen_export",),
    "query": ("query",),
    "enrich": ("enrichment",),
    "report": ("screening",),
    "targets": ("drug_targets",),
    "job": ("jobs", "jobs_on_kubernetes"),
    "job check": ("kubernetes",),
    "config": ("training_on_ray", "scaling"),
    "preset": ("presets",),
    "demo": ("demo",),
    "key": ("serving_access",),
    "serve": ("serving",),
}
"""Command or group -> pages of docs that say more."""

HEAD: Final = """# Commands

Written from the command line by `.venv/bin/python tests/jobs/commands_page.py`; a test compares the two.
`pertcast COMMAND --help` adds one example to copy, units and defaults.

- Options in bold are always needed; what computes needs `--out` as well, unless with `--dry-run`.
- `--json` prints the result for programs; `--dry-run` prints counts, memory and time, and computes nothing.
- `CONFIG` is a YAML file or the name of a shipped one (`pertcast config list`); `a.b=c` overrides a key,
  and `@place` says where to compute ([scaling](scaling.md)). A run stands for its bundle.
- Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted (Ctrl-C), 143 asked to end (SIGTERM).
"""


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, by the arguments that call it."""
    if not hasattr(command, "list_commands"):
        yield " ".join(words), command
        return
    context = command.make_context("pertcast", [], resilient_parsing=True)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*words, name))


def first_paragraph(text: str) -> str:
    """Return the first paragraph of a help text in one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def placeholder(argument: Any) -> str:
    """Return how an argument stands in a usage line, such as `[RUN...]`."""
    name = (argument.metavar or argument.name).strip("[].").upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def usage(call: str, command: Any) -> str:
    """Return the call with its arguments, such as `pertcast data split STORE`."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    return " ".join(["pertcast", call, *map(placeholder, arguments)])


def options(command: Any) -> str:
    """Return the names of the options, the needed ones in bold."""
    shown = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    names = [(f"`{one.opts[0]}`", one.required) for one in shown]
    return ", ".join(f"**{name}**" if needed else name for name, needed in names)


def links(name: str) -> str:
    """Return links to the pages that say more of a command or group."""
    return ", ".join(f"[{page}]({page}.md)" for page in READ_MORE.get(name, ()))


def row(call: str, command: Any) -> str:
    """Return a command's line of its table."""
    text = first_paragraph(command.help or "").removesuffix(".")
    read = f" ({links(call)})" if links(call) else ""
    cells = (f"`{usage(call, command)}`", f"{text}{read}", options(command))
    return " ".join(["|", " | ".join(cell.replace("|", "\\|") for cell in cells), "|"])


def sections() -> Iterator[tuple[list[str], list[str]]]:
    """Yield names and rows of each table: a group's commands, or lone commands that stand together."""
    lone: tuple[list[str], list[str]] = ([], [])
    for name, found in groupby(leaves(get_command(app)), key=lambda leaf: leaf[0].split()[0]):
        commands = list(found)
        rows = [row(call, command) for call, command in commands]
        if [call for call, _ in commands] == [name]:
            lone[0].append(name)
            lone[1].extend(rows)
            continue
        if lone[0]:
            yield lone
            lone = ([], [])
        yield [name], rows
    yield lone


def page() -> str:
    """Return the whole page."""
    parts = [HEAD.rstrip()]
    for names, rows in sections():
        read = f"\n\nRead: {links(names[0])}." if len(names) == 1 and len(rows) > 1 else ""
        table = "\n".join(["| command | what it does | options |", "|---|---|---|", *rows])
        parts.append(f"## {', '.join(names)}{read}\n\n{table}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""`pertcast preset`: named data sets that users bring, from files to trust report in one command."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Annotated

import typer
import yaml
from pertcast_data.text import aligned

from pertcast_jobs.cli.usage import one_of
from pertcast_jobs.presets import Preset, PresetRun, load_preset, shipped_presets
from pertcast_jobs.presets.expected import expected_lines
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.steps import run_steps

app = typer.Typer(
    help="Named data sets that you bring: LINCS, Perturb-seq, sci-Plex, Tahoe.\n\n"
    "Example: pertcast preset run lincs2020 --data lincs/ --out results/lincs2020",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

NameArgument = Annotated[
    str,
    typer.Argument(help="Name of a preset, see `pertcast preset list`.", callback=one_of(shipped_presets())),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_presets(json_: JsonFlag = False) -> None:
    """Name the presets.

    Example: pertcast preset list
    """
    presets = [load_preset(name) for name in shipped_presets()]
    if json_:
        print(json.dumps([{"name": one.name, "title": one.title} for one in presets], indent=1))
        return
    print("\n".join(aligned([(one.name, one.title) for one in presets])))


@app.command()
def show(name: NameArgument, json_: JsonFlag = False) -> None:
    """Print what a preset needs, does and is expected to give.

    Example: pertcast preset show lincs2020
    """
    preset = load_preset(name)
    if json_:
        print(preset.model_dump_json(indent=1))
        return
    print("\n".join(_shown(preset)))


@app.command()
def run(
    name: NameArgument,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Overrides a.b=c of the training; ingest.a.b=c changes the mapping.", metavar="[A.B=C]..."
        ),
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder that holds your copy of the files.")] = Path("."),
    out: Annotated[
        Path | None, typer.Option(help="Folder of all results; the same command goes on where it stopped.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="A configuration to train in the place of the preset's own.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check files and settings, print the commands; run nothing.")
    ] = False,
) -> None:
    """Ingest, split, train every fold and evaluate; ends with the measured numbers below the published ones.

    Example: pertcast preset run lincs2020 --data lincs/ --out results/lincs2020 cluster.launcher=ray
    """
    from pertcast_jobs.cli import run as run_words

    if out is None:
        raise typer.BadParameter("name the folder of the results: --out DIR", param_hint="--out")
    asked = PresetRun(load_preset(name), data, out, tuple(words or ()), config)
    print("\n".join(_found(asked)))
    mapping = yaml.safe_dump(asked.mapping.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    steps = list(asked.steps())
    if dry_run:
        print(f"\n{asked.mapping_path} would hold:\n{mapping}")
        print("\n".join(f"$ {step.line}" for step in steps))
        _print_expected(asked, measured=False)
        return
    asked.prepare()
    started = time.monotonic()
    code = run_steps(steps, run_words, ray_session)
    if code:
        raise typer.Exit(code)
    _print_expected(asked, measured=True)
    print(f"\ndone in {time.monotonic() - started:,.0f} s")
    for split in asked.preset.splits:
        print(f"open  {asked.report(split) / 'trust.html'}")


def _found(asked: PresetRun) -> list[str]:
    sizes = [
        (f"  {path.name}", f"{path.stat().st_size / 1e6:,.1f} MB")
        for paths in (*asked.files.values(), asked.networks.all_files)
        for path in paths
    ]
    return [f"{asked.preset.title}: files in {asked.data}", *aligned(sizes)]


def _print_expected(asked: PresetRun, measured: bool) -> None:
    for split in asked.preset.splits:
        report = asked.report(split) if measured else None
        print("\n" + "\n".join(expected_lines(asked.preset, split, report)))


def _shown(preset: Preset) -> list[str]:
    lines = [preset.title, "", *wrap(preset.about, 110), "", f"files (from: {preset.where})"]
    lines += aligned([(f"  {file.name}", file.what) for file in preset.files])
    if preset.networks:
        lines += ["", "gene networks, those that are there (at least one)"]
        lines += aligned([(f"  {one.name}", one.what) for one in preset.networks])
        lines += [f"  {names}: names of their genes" for names in _name_tables(preset)]
    lines += ["", f"terms: {preset.terms}", "", "mapping of the ingest (docs/ingest.md)"]
    lines += [f"  {line}" for line in yaml.safe_dump(preset.ingest, sort_keys=False).splitlines()]
    lines += [
        "",
        f"training: {preset.config}",
        *(f"  {key}={value}" for key, value in preset.overrides.items()),
    ]
    for split in preset.splits:
        lines += ["", *expected_lines(preset, split, None)]
    lines += ["", *_wrapped("hint", preset.hints), *_wrapped("not verified", preset.unverified)]
    return [*lines, "", f"next: pertcast preset run {preset.name} --data FOLDER --out DIR --dry-run"]


def _name_tables(preset: Preset) -> list[str]:
    return list(dict.fromkeys(network.names for network in preset.networks if network.names))


def _wrapped(word: str, items: Sequence[str]) -> list[str]:
    return [line for item in items for line in wrap(f"{word}: {item}", 110, subsequent_indent="  ")]

"""`pertcast report`: make the report of a finished screen anew from its tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast.screens.files import MANIFEST
from pertcast_data.errors import ConfigError

from pertcast_jobs.cli.screen_options import require_local
from pertcast_jobs.screen.again import remake_report

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Path_ = Annotated[Path, typer.Argument(help="A finished screen.", metavar="PATH")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def report(path: Path_, json_: Json = False) -> None:
    """Write the report of a screen again, from its tables alone: the model is not needed.

    Example: pertcast report screens/genome
    """
    require_local(path)
    if not (path / MANIFEST).is_file() and (path / "bundle").exists():
        raise ConfigError(
            f"{path} is a run: `pertcast evaluate {path}` judges it and writes its trust report. "
            "`pertcast report` takes a finished screen."
        )
    target = remake_report(path)
    print(json.dumps({"report": str(target)}) if json_ else f"report {target}")

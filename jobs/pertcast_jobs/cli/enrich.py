"""`pertcast enrich`: score the profiles of a finished screen against other gene sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast.analysis.printing import decimal, table_lines
from pertcast_data.storage import is_remote
from pertcast_data.text import counted

from pertcast_jobs.progress import progress_bar
from pertcast_jobs.screen.again import EnrichedScreen, enrich_screen
from pertcast_jobs.screen.fetched import local_screen

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_MOST_DROPPED = 5

Screen = Annotated[Path, typer.Option(help="A finished screen, in a folder or a bucket.", metavar="SCREEN")]
Gmt = Annotated[Path, typer.Option(help="Gene sets.", metavar="FILE")]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Parquet file to write; default: SCREEN.FILE.parquet beside the screen, or here.",
        metavar="FILE",
    ),
]
MinSize = Annotated[int, typer.Option(help="Fewest genes of a set among the screen's genes.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def enrich(screen: Screen, gmt: Gmt, out: Out = None, min_size: MinSize = 5, json_: Json = False) -> None:
    """Score every profile of a screen against gene sets: ES, size-matched null, z over the screen.

    Example: pertcast enrich --screen screens/genome --gmt reactome.gmt
    """
    named = screen if screen.name not in ("", "..") else screen.resolve()
    beside = Path(named.name) if is_remote(screen) else named
    target = out or beside.with_name(f"{named.name}.{gmt.stem}.parquet")
    folder = local_screen(screen)
    with progress_bar("enrich", "profiles") as progress:
        found = enrich_screen(folder, gmt, target, min_size, progress)
    if json_:
        print(json.dumps(_as_json(found), indent=1))
        return
    print("\n".join(_lines(found)))


def _as_json(found: EnrichedScreen) -> dict[str, object]:
    return {
        "out": str(found.out),
        "profiles": found.n_profiles,
        "sets": len(found.sets),
        "dropped": [item.name for item in found.sets.dropped],
        "top": found.top.to_dicts(),
    }


def _lines(found: EnrichedScreen) -> list[str]:
    dropped = [item.name for item in found.sets.dropped]
    lines = [f"{counted(found.n_profiles, 'profile')} x {counted(len(found.sets), 'gene set')}"]
    if dropped:
        more = f" and {len(dropped) - _MOST_DROPPED:,} more" if len(dropped) > _MOST_DROPPED else ""
        named = ", ".join(dropped[:_MOST_DROPPED])
        lines.append(f"{counted(len(dropped), 'set')} dropped, too few genes or all: {named}{more}")
    rows = [
        [
            f"{row['rank']} {row['cmap_name']}",
            row["term"],
            *(
                "–" if row[name] is None else decimal(row[name], 2)
                for name in ("es", "nes", "fdr", "screen_z")
            ),
        ]
        for row in found.top.iter_rows(named=True)
    ]
    return [
        *lines,
        "",
        *table_lines(["hit", "gene set", "ES", "NES", "FDR", "screen z"], rows),
        "",
        f"table {found.out}",
    ]

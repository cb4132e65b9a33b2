"""One screen: how far it is and, once finished, its verdict, hits, figures and files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import polars as pl
from markupsafe import Markup
from pertcast.screens.files import REPORT
from pertcast_data.text import counted

from pertcast_serve.page.figures import figure
from pertcast_serve.page.html import anchor, link, render, table
from pertcast_serve.page.view import Html, PageContext
from pertcast_serve.page.views.copies import hits_curl, hits_python
from pertcast_serve.page.views.screen_finished import FIGURES, finished_results, screen_figure, verdict_of
from pertcast_serve.page.views.screen_hits import hits_section
from pertcast_serve.page.views.screen_source import STOP_POLLING, folder_of, screen_of, screens_of
from pertcast_serve.page.views.screen_words import ShownScreen, file_size, shown_screen
from pertcast_serve.problems import Refused, or_refused
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import Artifact, Screen

_LAYOUT: Final = (
    ("rank", "half", 9),
    ("effect", "half", 9),
    ("responses", "full", 12),
    ("likeness", "half", 12),
    ("map", "half", 12),
)
"""Figure, width of its card, lines of its skeleton."""


async def one_view(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show a screen; its address with the table's sorting, filters and page is a permalink."""
    screen = await screen_of(context, parameters)
    shown = shown_screen(screen)
    progress = await _body(context, screen, parameters)
    values = {"report": artifact_address(screen.id, REPORT), "copies": _copies(context, shown)}
    return Html(render("screen_one.html", screen=shown, progress=progress, **values), shown.title)


async def progress_part(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Return how far a screen is; its results once it has ended, and the asking ends too."""
    screen = await screen_of(context, parameters)
    status = 200 if shown_screen(screen).is_going_on else STOP_POLLING
    return Html(await _body(context, screen, parameters), status=status)


async def figure_part(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Return one figure of a finished screen."""
    screen = await screen_of(context, parameters)
    name = parameters.get("name", "")
    if name not in FIGURES:
        known = ", ".join(FIGURES)
        raise Refused(Problem(title="There is no such figure", status=404, detail=f"Use one of {known}."))
    folder = await folder_of(context, screen)

    def address_of(sig_id: str) -> str:
        return link("screens/profile", id=screen.id, sig=sig_id)

    panel = await asyncio.to_thread(screen_figure, folder, name, address_of)
    drawn = "" if panel.figure is None else figure(panel.figure, panel.label, panel.height)
    return Html(render("screen_figure.html", panel=panel, figure=drawn))


async def _body(context: PageContext, screen: Screen, parameters: Mapping[str, str]) -> Markup:
    if screen.state != "finished":
        return render("screen_progress.html", screen=shown_screen(screen))
    folder = await folder_of(context, screen)
    results = await asyncio.to_thread(finished_results, folder)
    section = verdict_of(results)
    artifacts: list[Artifact] = or_refused(await screens_of(context).artifacts(screen.id, context.caller))
    return render(
        "screen_results.html",
        id=screen.id,
        verdict={"tone": section.tone, "html": Markup(section.html)},
        provenance=results.provenance,
        hits=await hits_section(context, screen, results, folder, parameters),
        figures=_LAYOUT,
        files=_files(screen, artifacts),
        example=results.hits.row(0, named=True)["sig_id"],
        has_report=any(each.name == REPORT for each in artifacts),
        report=artifact_address(screen.id, REPORT),
    )


def artifact_address(screen: str, name: str) -> str:
    """Return where a file of a screen is downloaded from."""
    return f"/v1/screens/{_quoted(screen)}/artifacts/{quote(name)}"


def _quoted(identifier: str) -> str:
    return quote(identifier, safe="")


def _files(screen: Screen, artifacts: list[Artifact]) -> Markup:
    """Return the files as a table; those of a folder, of which there may be thousands, as one row."""
    rows = [
        {
            "file": anchor(each.name, artifact_address(screen.id, each.name)),
            "size": file_size(each.bytes),
            "sha": each.sha256[:12],
        }
        for each in artifacts
        if "/" not in each.name
    ]
    inside = [each for each in artifacts if "/" in each.name]
    for folder in sorted({each.name.split("/", 1)[0] for each in inside}):
        sizes = [each.bytes for each in inside if each.name.startswith(f"{folder}/")]
        text = f"{folder}: {counted(len(sizes), 'file')}"
        named = anchor(text, f"/v1/screens/{_quoted(screen.id)}/artifacts")
        rows.append({"file": named, "size": file_size(sum(sizes)), "sha": "each its own"})
    frame = pl.DataFrame(rows, schema={"file": pl.String, "size": pl.String, "sha": pl.String})
    headers = {"sha": "SHA-256 begins with"}
    return table(frame, headers=headers, raw_columns=["file"], number_columns=["size"])


def _copies(context: PageContext, shown: ShownScreen) -> list[tuple[str, str]]:
    """Return names of what can be copied, and texts; {origin} becomes the server's address."""
    is_open = context.config.access.is_open
    return [
        ("curl", hits_curl(_quoted(shown.id), is_open)),
        ("Python", hits_python(shown.id, is_open)),
        ("Link to this view", "{here}"),
    ]

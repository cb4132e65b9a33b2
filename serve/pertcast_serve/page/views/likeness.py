"""The nearest and the most opposite perturbations of a library, each leading to its own view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
from markupsafe import Markup
from pertcast.report.tables import fixed

from pertcast_serve.page.html import anchor, render, table
from pertcast_serve.page.view import Html, PageContext
from pertcast_serve.page.views.asked import Asked, asked_for
from pertcast_serve.page.views.profile_rows import row_link, row_name
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.analysis import NeighborRow, NeighborsRequest, NeighborsResponse
from pertcast_serve.schemas.base import Problem

PER_TAIL: Final = 8


async def neighbors(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show both tails; across cell lines and types where the library has nothing within them."""
    model = parameters.get("model") or None
    asked = asked_for(parameters, or_refused(await context.predictor.vocabulary(model)))
    libraries = [each.name for each in await context.analysis.libraries(context.caller)]
    if not libraries:
        return Html(render("likeness_none.html"))
    chosen = parameters.get("library") or libraries[0]
    everywhere = parameters.get("everywhere") == "yes"
    found = await context.analysis.neighbors(_question(asked, chosen, everywhere), context.caller)
    if isinstance(found, Problem) and not everywhere:
        everywhere = True
        found = await context.analysis.neighbors(_question(asked, chosen, everywhere), context.caller)
    answer = or_refused(found)
    choices = [(name, asked.part("neighbors", library=name), name == chosen) for name in libraries]
    reach = [
        ("same line and type", asked.part("neighbors", library=chosen), not everywhere),
        ("everywhere", asked.part("neighbors", library=chosen, everywhere=True), everywhere),
    ]
    return Html(_cards(asked, answer, choices if len(choices) > 1 else [], reach))


def _question(asked: Asked, library: str, everywhere: bool) -> NeighborsRequest:
    return NeighborsRequest(
        model=asked.model,
        condition=asked.condition,
        library=library,
        per_tail=PER_TAIL,
        everywhere=everywhere,
    )


def _cards(
    asked: Asked,
    found: NeighborsResponse,
    choices: list[tuple[str, str, bool]],
    reach: list[tuple[str, str, bool]],
) -> Markup:
    tails = [
        (title, _tail_table(asked, [row for row in found.rows if row.tail == tail], header))
        for title, tail, header in (
            ("Nearest perturbations", "nearest", "mimics"),
            ("Opposite perturbations", "opposite", "reverses"),
        )
    ]
    return render("likeness.html", tails=tails, found=found, choices=choices, reach=reach)


def _tail_table(asked: Asked, rows: list[NeighborRow], header: str) -> Markup | None:
    if not rows:
        return None
    columns: dict[str, list[Any]] = {
        "name": [str(anchor(row_name(row), row_link(row, asked.model))) for row in rows],
        "line": [row.cell_iname for row in rows],
        "cosine": [row.cosine for row in rows],
    }
    if any(row.seen_pert is not None for row in rows):
        columns["seen"] = [row.seen_pert for row in rows]
    headers = {"name": header, "seen": "in training"}
    return table(pl.DataFrame(columns), headers=headers, formats={"cosine": fixed(2)}, raw_columns=["name"])

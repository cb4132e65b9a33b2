"""The view "screens": the list, kept fresh while something runs, and the names of all views of screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from pertcast_serve.page.html import part, render
from pertcast_serve.page.view import Html, PageContext, View
from pertcast_serve.page.views import screen_form, screen_one, screen_profile
from pertcast_serve.page.views.screen_source import STOP_POLLING, number_of, screens_of
from pertcast_serve.page.views.screen_words import GOING_ON, shown_screen
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import ScreenList

ROWS: Final = 25


@dataclass(frozen=True)
class _Pages:
    """Which rows of all are shown."""

    page: int
    n_rows: int

    @property
    def last(self) -> int:
        return max(1, -(-self.n_rows // ROWS))

    @property
    def first_row(self) -> int:
        return (self.page - 1) * ROWS + 1

    @property
    def last_row(self) -> int:
        return min(self.page * ROWS, self.n_rows)


async def list_view(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show all screens of the caller, the newest first; without one, what a screen is, and an example."""
    if context.screens is None or not context.screens.is_on:
        return Html(render("screens.html", is_kept=False, n_screens=0, listed=""), "Screens")
    page = number_of(parameters, "page", 1)
    found = await _listed(context, page)
    if not found.n_screens:
        return Html(await _first_screen(context), "Screens")
    listed = _polled(_table(found, page), page) if _is_going_on(found) else _table(found, page)
    return Html(render("screens.html", is_kept=True, n_screens=found.n_screens, listed=listed), "Screens")


async def table_part(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Return the list alone; asked for again and again while a screen of it runs."""
    page = number_of(parameters, "page", 1)
    found = await _listed(context, page)
    return Html(_table(found, page), status=200 if _is_going_on(found) else STOP_POLLING)


async def _listed(context: PageContext, page: int) -> ScreenList:
    screens = screens_of(context)
    return or_refused(await screens.list(context.caller, (page - 1) * ROWS, ROWS))


def _is_going_on(found: ScreenList) -> bool:
    return any(screen.state in GOING_ON for screen in found.screens)


def _table(found: ScreenList, page: int) -> Markup:
    shown = [shown_screen(screen) for screen in found.screens]
    return render("screens_table.html", screens=shown, pages=_Pages(page, found.n_screens))


def _polled(table: Markup, page: int) -> Markup:
    html = '<div hx-get="{}" hx-trigger="every 2s" hx-swap="innerHTML">{}</div>'
    return Markup(html).format(part("screens/table", page=page), table)


async def _first_screen(context: PageContext) -> Markup:
    vocabulary = await context.predictor.vocabulary(None)
    models = await context.predictor.models()
    example = None
    if not isinstance(vocabulary, Problem) and models:
        default = next((each for each in models if each.is_default), models[0])
        example = screen_form.example_of(vocabulary, default.id)
    values = {"is_kept": True, "n_screens": 0, "listed": "", "example": example}
    return render("screens.html", **values, no_example="The model names nothing to screen: choose a list.")


VIEWS: Mapping[str, View] = {
    "screens": list_view,
    "screens/table": table_part,
    "screens/new": screen_form.form_view,
    "screens/one": screen_one.one_view,
    "screens/progress": screen_one.progress_part,
    "screens/figure": screen_one.figure_part,
    "screens/profile": screen_profile.profile_view,
}

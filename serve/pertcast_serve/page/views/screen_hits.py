"""The ranked hits of a screen as a table that is sorted, filtered and paged on the server.

All that is chosen stands in the address. Values that fit nothing are passed over, never an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from markupsafe import Markup
from pertcast.naming import kind_word
from pertcast.report.screen.results import ScreenResults
from pertcast.report.screen.words import is_calibrated, is_ranked_by_effect
from pertcast.report.tables import format_number

from pertcast_serve.page.html import badge, link, render
from pertcast_serve.page.view import PageContext
from pertcast_serve.page.views.screen_finished import contexts_of
from pertcast_serve.page.views.screen_source import number_of, screens_of
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.screens import HitPage, HitRow, Screen
from pertcast_serve.screens.service import HitColumn, HitFilter

ROWS: Final = 20
MOST_GENES: Final = 3
_LONGEST_TEXT: Final = 200
_HYPHEN: Final = "\u2011"
"""Does not break: a heading is as narrow as its words."""
_FDR_LEVELS: Final = {"0.05": "5 %", "0.1": "10 %", "0.2": "20 %"}
_BEST_LAST: Final = frozenset({"score", "effect_size"})
"""Columns whose first click sorts from the largest."""


@dataclass(frozen=True)
class HitsAsked:
    """What the address chooses of the hits.

    Attributes
    ----------
    sort, is_descending
        Order.
    page
        From 1.
    text, cell, pert_type, fdr
        Filters; "" for none.
    """

    sort: HitColumn = "rank"
    is_descending: bool = False
    page: int = 1
    text: str = ""
    cell: str = ""
    pert_type: str = ""
    fdr: str = ""

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> HitsAsked:
        """Read an address."""
        sort = parameters.get("sort", "")
        fdr = parameters.get("fdr", "")
        return cls(
            sort=sort if sort in get_args(HitColumn) else "rank",  # type: ignore[arg-type]
            is_descending=parameters.get("order", "") == "down",
            page=number_of(parameters, "page", 1),
            text=parameters.get("q", "").strip()[:_LONGEST_TEXT],
            cell=parameters.get("cell", "")[:_LONGEST_TEXT],
            pert_type=parameters.get("type", "")[:_LONGEST_TEXT],
            fdr=fdr if fdr in _FDR_LEVELS else "",
        )

    @property
    def filters(self) -> HitFilter:
        """The filters as the service takes them."""
        return HitFilter(
            text=self.text,
            cell_iname=self.cell or None,
            pert_type=self.pert_type or None,
            max_fdr=float(self.fdr) if self.fdr else None,
        )

    @property
    def is_filtered(self) -> bool:
        """Whether anything is left out."""
        return bool(self.text or self.cell or self.pert_type or self.fdr)

    def address(self, screen: str, **changes: Any) -> str:
        """Return the permalink of the screen with this table, changed."""
        order = "down" if self.is_descending else None
        sort = None if self.sort == "rank" and not self.is_descending else self.sort
        own = {"sort": sort, "order": order, "page": self.page if self.page > 1 else None}
        own |= {"q": self.text, "cell": self.cell, "type": self.pert_type, "fdr": self.fdr}
        return link("screens/one", id=screen, **(own | changes))


async def hits_section(
    context: PageContext,
    screen: Screen,
    results: ScreenResults,
    folder: Path,
    parameters: Mapping[str, str],
) -> Markup:
    """Return the card of the hits.

    Parameters
    ----------
    context
        What the view may ask.
    screen, results, folder
        The finished screen.
    parameters
        Those of the address.
    """
    asked = HitsAsked.of(parameters)
    found = or_refused(await _page(context, screen, asked))
    last = max(1, -(-found.n_hits // ROWS))
    if asked.page > last:
        asked = HitsAsked.of({**parameters, "page": str(last)})
        found = or_refused(await _page(context, screen, asked))
    cells, types = await asyncio.to_thread(contexts_of, folder)
    columns = _columns(results, len(cells), len(types), found)
    return render(
        "screen_hits.html",
        id=screen.id,
        asked=asked,
        last=last,
        found=found,
        columns=[_heading(asked, screen.id, *column) for column in columns],
        rows=[_cells(screen, row, [name for name, _, _ in columns]) for row in found.rows],
        cells=cells,
        types=[(each, kind_word(each)) for each in types],
        fdr_levels=_FDR_LEVELS if is_calibrated(results) else {},
        n_all=results.n_conditions,
    )


async def _page(context: PageContext, screen: Screen, asked: HitsAsked) -> HitPage | Any:
    return await screens_of(context).hits(
        screen.id,
        context.caller,
        (asked.page - 1) * ROWS,
        ROWS,
        asked.sort,
        asked.is_descending,
        asked.filters,
    )


def _columns(
    results: ScreenResults, n_cells: int, n_types: int, found: HitPage
) -> list[tuple[str, str, bool]]:
    """Return name, heading and whether it holds numbers, of the columns that say something."""
    rows = found.rows
    columns = [("rank", "rank", True), ("cmap_name", "perturbation", False)]
    if n_types > 1:
        columns.append(("pert_type", "type", False))
    columns.append(("cell_iname", "line", False))
    if any(row.pert_dose is not None for row in rows):
        columns.append(("pert_dose", "dose (uM)", True))
    if any(row.pert_time is not None for row in rows):
        columns.append(("pert_time", "time (h)", True))
    if not is_ranked_by_effect(results):
        is_excess = results.kind == "pairs" and results.signature is None
        columns.append(("score", "excess" if is_excess else "score", True))
    columns.append(("effect_size", f"effect ({results.unit.replace('-', _HYPHEN)})", True))
    if is_calibrated(results):
        columns += [("p_value", "p", True), ("fdr", "FDR", True)]
    return [
        *columns,
        ("top_up", "most increased", False),
        ("top_down", "most decreased", False),
        _TRUST,
        _PROFILE,
    ]


_TRUST: Final = ("flag", "trust", False)
_PROFILE: Final = ("profile", "", False)


def _heading(asked: HitsAsked, screen: str, name: str, title: str, is_number: bool) -> dict[str, Any]:
    """Return a heading; a click sorts, a second one turns the order over."""
    if name not in get_args(HitColumn):
        return {"title": title, "is_number": is_number, "address": "", "name": name, "is_on": False}
    is_on = asked.sort == name
    turned = not asked.is_descending if is_on else name in _BEST_LAST
    address = asked.address(screen, sort=name, order="down" if turned else None, page=None)
    state = {"is_on": is_on, "is_descending": asked.is_descending}
    return {"title": title, "is_number": is_number, "address": address, "name": name, **state}


def _cells(screen: Screen, row: HitRow, columns: list[str]) -> list[tuple[str, str | Markup]]:
    """Return class and content of each cell of a row."""
    return [_cell(screen, row, name) for name in columns]


def _cell(screen: Screen, row: HitRow, name: str) -> tuple[str, str | Markup]:
    if name == "cmap_name":
        address = link("perturbation", **condition_of(screen, row))
        named = row.cmap_name or row.pert_id or row.sig_id
        return "text name", Markup('<a href="{}" title="{}">{}</a>').format(address, row.sig_id, named)
    if name == "profile":
        address = link("screens/profile", id=screen.id, sig=row.sig_id)
        html = '<a href="{}" aria-label="Profile of {}">profile</a>'
        return "text", Markup(html).format(address, row.sig_id)
    if name == "flag":
        return "text", trust(row.flag)
    if name == "pert_type":
        return "text", kind_word(row.pert_type or "")
    value = getattr(row, name)
    if name in ("top_up", "top_down"):
        return "text genes", _few_genes(value)
    if name == "cell_iname":
        return "text", value or "–"
    if name in ("pert_dose", "pert_time"):
        return "number", "–" if value is None else f"{value:.4g}"
    return "number", format_number(value)


def condition_of(screen: Screen, row: HitRow) -> dict[str, str | float | None]:
    """Return the parameters of the perturbation view for a hit."""
    model = screen.model.split("@", 1)[0]
    named = {"model": model, "pert": row.pert_id or row.cmap_name, "type": row.pert_type}
    return {**named, "cell": row.cell_iname, "dose": row.pert_dose, "time": row.pert_time}


def trust(flag: str | None) -> Markup:
    """Return whether training has seen a condition, as a badge."""
    if flag is None:
        return badge("not known", "care")
    return badge(flag.split(":")[0], "good" if flag == "seen in training" else "care")


def _few_genes(text: str | None) -> Markup:
    genes = [gene for gene in (text or "").split(";") if gene]
    first = ", ".join(genes[:MOST_GENES]) or "–"
    return Markup('<span title="{}">{}</span>').format(", ".join(genes), first)

"""What views make their HTML with: templates, addresses of views and parts, tables, badges.

Everything is escaped unless it is Markup already. Addresses start at /ui; a proxy's prefix is added last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pertcast.report.tables import Formatter, format_number, table_html
from pertcast.report.theme import Tone

from pertcast_serve.page.assets import asset_address

Parameter = str | int | float | bool | None


@cache
def environment() -> Environment:
    """Return the templates of the page; each room of views keeps its own beside the others."""
    templates = Environment(
        loader=PackageLoader("pertcast_serve.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(link=link, part=part, asset=asset_address)
    templates.filters["number"] = format_number
    return templates


def render(template: str, **values: Any) -> Markup:
    """Return a template of `page/templates` with its values, each escaped unless it is Markup.

    Parameters
    ----------
    template
        File name, for example "perturbation.html".
    values
        What it shows; one that the template names and that is missing is an error (jinja2.UndefinedError).
    """
    return Markup(environment().get_template(template).render(**values))


def link(view: str, **parameters: Parameter) -> str:
    """Return the address of a view: a permalink. Parameters that are None or "" are left out."""
    return _address("/ui/", view, parameters)


def part(view: str, **parameters: Parameter) -> str:
    """Return the address of a view or part without the page around it, for hx-get."""
    return _address("/ui/part/", view, parameters)


def _address(root: str, view: str, parameters: Mapping[str, Parameter]) -> str:
    named = {name: _written(value) for name, value in parameters.items() if value not in (None, "")}
    query = urlencode(named, quote_via=quote)
    return f"{root}{quote(view)}" + (f"?{query}" if query else "")


def _written(value: Parameter) -> str:
    """Write a parameter as people write it: 10, not 10.0."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def anchor(text: str, address: str) -> Markup:
    """Return a link."""
    return Markup('<a href="{}">{}</a>').format(address, text)


def badge(text: str, tone: Tone) -> Markup:
    """Return a small coloured label, for example "seen in training" with the tone "good"."""
    return Markup('<span class="badge tone-{}">{}</span>').format(tone, text)


def table(
    frame: pl.DataFrame,
    *,
    headers: Mapping[str, str] | None = None,
    formats: Mapping[str, Formatter] | None = None,
    row_classes: Sequence[str] | None = None,
    raw_columns: Collection[str] = (),
    number_columns: Collection[str] = (),
    caption: str = "",
    download: str | None = None,
) -> Markup:
    """Return a frame as a table of the page; the words are those of `pertcast.report.tables.table_html`.

    Parameters
    ----------
    frame
        The rows; numbers are right-aligned with three significant digits, null is a dash.
    headers, formats, row_classes, number_columns, caption, download
        As there.
    raw_columns
        Columns that hold HTML already (of `anchor`, `badge`); all others are escaped.
    """
    return Markup(
        table_html(
            frame,
            headers=headers,
            formats=formats,
            row_classes=row_classes,
            raw_columns=raw_columns,
            number_columns=number_columns,
            caption=caption,
            download=download,
        )
    )

"""What views make their HTML with: templates, addresses of views and parts, tables, badges.

Everything is escaped unless it is Markup already. Addresses start at /ui; a proxy's prefix is added last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pertcast.report.page import badge_html
from pertcast.report.tables import format_number, table_html

from pertcast_serve.page.assets import asset_address

Parameter = str | int | float | bool | None
_Given = ParamSpec("_Given")


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


def _as_markup(write: Callable[_Given, str]) -> Callable[_Given, Markup]:
    """Return a writer of HTML of reports, which escapes what it is given, as Markup for templates."""

    @wraps(write)
    def written(*given: _Given.args, **named: _Given.kwargs) -> Markup:
        return Markup(write(*given, **named))

    return written


badge = _as_markup(badge_html)
"""A small coloured label, for example "seen in training" with the tone "good"."""
table = _as_markup(table_html)
"""A frame as a table of the page; `raw_columns` hold HTML already (of `anchor`, `badge`)."""

"""Tables for people: numbers with three significant digits, HTML for reports.

HTML tables are readable without JavaScript and carry their own download.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Any, Final

import polars as pl

MISSING: Final = "–"
"""What stands for a value that is not defined."""

_NO_BREAK: Final = "\u00a0"
_HEADER_LETTERS: Final = 12

Formatter = Callable[[Any], str]


def format_number(value: float | None) -> str:
    """Write a number with three significant digits; whole numbers with separators, undefined as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, int):
        return f"{value:,}"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3:
        return f"{value:.2e}"
    if size >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"


def fixed(decimals: int) -> Formatter:
    """Return a formatter with a fixed number of decimals, for columns that are compared down the page."""

    def write(value: float | None) -> str:
        if value is None or math.isnan(value):
            return MISSING
        return f"{value:.{decimals}f}"

    return write


def _cell(value: Any, formatter: Formatter | None) -> str:
    if formatter is not None:
        return formatter(value)
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_number(value)
    return str(value)


def _cell_html(text: str, kind: str, is_raw: bool) -> str:
    if is_raw:
        return f'<td class="{kind}">{text}</td>'
    return f'<td class="{kind}">{escape(text)}</td>'


def _narrow(title: str) -> str:
    """Let a header break only where its lines grow long: number columns are as narrow as their words."""
    return " ".join(
        line.replace(" ", _NO_BREAK) for line in wrap(title, _HEADER_LETTERS, break_long_words=False)
    )


def csv_link(frame: pl.DataFrame, file_name: str) -> str:
    """Return a link that saves `frame` as csv: the file is inside the link, nothing is fetched."""
    data = base64.b64encode(frame.write_csv().encode()).decode()
    return (
        f'<a class="download" download="{escape(file_name, quote=True)}" '
        f'href="data:text/csv;base64,{data}">Download csv</a>'
    )


def table_html(
    frame: pl.DataFrame,
    *,
    headers: Mapping[str, str] | None = None,
    formats: Mapping[str, Formatter] | None = None,
    row_classes: Sequence[str] | None = None,
    raw_columns: Collection[str] = (),
    number_columns: Collection[str] = (),
    caption: str = "",
    download: str | None = None,
) -> str:
    """Write a frame as an HTML table.

    Parameters
    ----------
    frame
        The rows; numbers are right-aligned, null and NaN become a dash.
    headers
        Column -> header text (with its unit); the column's name where absent.
    formats
        Column -> formatter; three significant digits where absent. A formatted column that holds numbers
        stays right-aligned.
    row_classes
        One of "", "strong", "muted" for each row.
    raw_columns
        Columns that hold HTML already (badges, links); all others are escaped.
    number_columns
        Columns of text that holds numbers: right-aligned and never wrapped, like numbers.
    caption
        Text below the table: what the columns mean, what was dropped.
    download
        File name under which the frame can be saved as csv; None for no link.

    Returns
    -------
    str
        HTML without scripts.
    """
    numbers = {n for n in frame.columns if frame.schema[n].is_numeric() or n in number_columns}
    kinds = {name: "number" if name in numbers else "text" for name in frame.columns}
    titles = {name: (headers or {}).get(name, name) for name in frame.columns}
    titles |= {name: _narrow(titles[name]) for name in numbers}
    head = "".join(f'<th scope="col" class="{kinds[n]}">{escape(titles[n])}</th>' for n in frame.columns)
    body = []
    for i, row in enumerate(frame.iter_rows(named=True)):
        cells = "".join(
            _cell_html(_cell(value, (formats or {}).get(name)), kinds[name], name in raw_columns)
            for name, value in row.items()
        )
        kind = f' class="{escape(row_classes[i], quote=True)}"' if row_classes and row_classes[i] else ""
        body.append(f"<tr{kind}>{cells}</tr>")
    note = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    link = csv_link(frame.drop(list(raw_columns)), download) if download else ""
    return (
        f'<div class="table-box"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{note}{link}"
    )

"""A report is one HTML file: sections in a grid, style and figures inside, no request to anywhere.

The answer comes first; tables are readable without JavaScript; Plotly is inlined once, and only
where a figure is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final, Literal

import plotly.graph_objects as go
import plotly.io
from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from pertcast.report.tables import csv_link, format_number, table_html
from pertcast.report.theme import STYLE_SHEET, Tone, apply_theme

__all__ = [
    "Section",
    "badge_html",
    "csv_link",
    "figure_html",
    "format_number",
    "list_html",
    "paragraph_html",
    "render_page",
    "table_html",
]

Width = Literal["half", "wide", "narrow", "full"]

_FIGURE_MARK: Final = '<script type="application/json" class="figure-spec">'

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "img-src data: blob:; font-src data:; connect-src 'none'; form-action 'none'; base-uri 'none'"
)

LABEL_SCRIPT: Final = """
const touch = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
function hideCollidingLabels(box) {
  const frame = box.getBoundingClientRect(), shown = [];
  for (const label of box.querySelectorAll("g.annotation")) {
    label.style.visibility = "";
    const own = label.querySelector(".annotation-text-g").getBoundingClientRect();
    const leaves = own.left < frame.left || own.right > frame.right || own.top < frame.top;
    if (leaves || shown.some(other => touch(own, other))) label.style.visibility = "hidden";
    else shown.push(own);
  }
}
"""
"""JavaScript: `hideCollidingLabels(box)`, for figures drawn smaller than their labels were placed for."""

_DRAW: Final = (
    LABEL_SCRIPT
    + """for (const box of document.querySelectorAll("div.figure")) {
  const spec = JSON.parse(box.querySelector("script.figure-spec").textContent);
  box.replaceChildren();
  Plotly.newPlot(box, spec.data, spec.layout, {responsive: true, displaylogo: false, displayModeBar: "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]}).then(() => {
    hideCollidingLabels(box);
    box.on("plotly_afterplot", () => hideCollidingLabels(box));
  });
}
"""
)

_PAGE: Final = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="generator" content="Pertcast">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p class="provenance">{{ provenance }}</p>
<div class="grid">
{% for section in sections %}
{% if section.is_heading %}
<div class="part">
<h2>{{ section.title }}
{% if section.subtitle %} <span class="subtitle">{{ section.subtitle }}</span>{% endif %}</h2>
{{ section.html | safe }}
</div>
{% else %}
<section class="card {{ section.width }} tone-{{ section.tone }}{{ ' marked' if section.tone != 'plain' }}">
{% if section.title %}
<h2>{{ section.title }}
{% if section.subtitle %} <span class="subtitle">{{ section.subtitle }}</span>{% endif %}</h2>
{% endif %}
{{ section.html | safe }}
</section>
{% endif %}
{% endfor %}
</div>
{% if footer %}<p class="footer">{{ footer }}</p>{% endif %}
</main>
{% if script %}
<script>{{ script | safe }}</script>
<script>{{ draw | safe }}</script>
{% endif %}
</body>
</html>
"""
)


@dataclass(frozen=True, slots=True)
class Section:
    """One card of a report.

    Attributes
    ----------
    title
        Heading, plain text; "" for none.
    html
        Content, HTML already (from `table_html`, `figure_html`, `paragraph_html`).
    subtitle
        Muted words behind the title, plain text: what the axes or columns are.
    width
        "half" or "full" of the grid, or "wide" beside "narrow" (7 : 5); on narrow screens every card is full.
    tone
        "good", "care" and "bad" mark the card's edge; "plain" does not.
    is_heading
        Stands above the cards that follow it, without a card of its own; width and tone do not matter.
    """

    title: str
    html: str
    subtitle: str = ""
    width: Width = "full"
    tone: Tone = "plain"
    is_heading: bool = False


def paragraph_html(text: str, lead: bool = False, muted: bool = False) -> str:
    """Return an escaped paragraph."""
    kinds = " ".join(name for name, on in (("lead", lead), ("muted", muted)) if on)
    return f'<p class="{kinds}">{escape(text)}</p>' if kinds else f"<p>{escape(text)}</p>"


def list_html(items: Sequence[str]) -> str:
    """Return an escaped bullet list."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def badge_html(text: str, tone: Tone) -> str:
    """Return a small coloured label, e.g. a verdict or "seen in training"."""
    return f'<span class="badge tone-{tone}">{escape(text)}</span>'


def figure_html(figure: go.Figure, height: int = 360, label: str = "") -> str:
    """Write a Plotly figure as data; the page draws it with the one inlined Plotly.

    Parameters
    ----------
    figure
        The figure; it is themed in place.
    height
        Height in pixels; the width follows the card.
    label
        What the figure shows, for screen readers and for readers without JavaScript.

    Returns
    -------
    str
        HTML for a section.
    """
    apply_theme(figure)
    figure.update_layout(height=height, autosize=True)
    data: str = plotly.io.to_json(figure, validate=False, remove_uids=True)
    safe = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    text = escape(label, quote=True)
    missing = f"<noscript>{text or 'A figure'} (figures need JavaScript; the tables do not).</noscript>"
    return (
        f'<div class="figure" style="height: {height}px" role="img" aria-label="{text}">'
        f"{_FIGURE_MARK}{safe}</script>{missing}</div>"
    )


def render_page(
    *, title: str, provenance: str, sections: Sequence[Section], footer: str = "", extra_script: str = ""
) -> str:
    """Return a whole report as one self-contained HTML document.

    Parameters
    ----------
    title
        What one looks at.
    provenance
        One line: model, bundle, data, split, counts.
    sections
        The cards, in reading order; two halves stand side by side on wide screens.
    footer
        Muted last line (version, command), or "".
    extra_script
        JavaScript of the caller, run after the figures are drawn; must fetch nothing.

    Returns
    -------
    str
        The document; it makes no request and its policy forbids any.
    """
    has_figure = any(_FIGURE_MARK in section.html for section in sections)
    script: Any = get_plotlyjs() if has_figure else ""
    html = _PAGE.render(
        title=title,
        provenance=provenance,
        sections=sections,
        footer=footer,
        style=STYLE_SHEET,
        policy=_POLICY,
        script=script,
        draw=_DRAW,
    )
    if extra_script:
        html = html.replace("</body>\n</html>", f"<script>{extra_script}</script>\n</body>\n</html>")
    return html

"""Figures of reports on the page: written as data, drawn by page.js with the one Plotly that comes later."""

from __future__ import annotations

import plotly.graph_objects as go
import plotly.io
from markupsafe import Markup
from pertcast.report.theme import apply_theme


def figure(fig: go.Figure, label: str, height: int = 360, click_target: str = "") -> Markup:
    """Return a figure as HTML.

    Parameters
    ----------
    fig
        A figure of `pertcast.report`; it is themed in place. Where a point's `customdata` is an address
        (`html.link`, `html.part`), a click on the point follows it.
    label
        What the figure shows, in words, for those who do not see it.
    height
        Height in pixels; the width follows the card.
    click_target
        CSS selector of the element that a part is shown in after a click; a link is followed without it.
    """
    apply_theme(fig)
    fig.update_layout(height=height, autosize=True)
    data: str = plotly.io.to_json(fig, validate=False, remove_uids=True)
    # Within a script element only "<" could end it.
    safe = Markup(data.replace("<", "\\u003c"))
    return Markup(
        '<div class="figure" data-figure data-click-target="{}" style="height: {}px" '
        'role="img" aria-label="{}">'
        '<script type="application/json">{}</script><noscript>{}</noscript></div>'
    ).format(click_target, height, label, safe, f"{label} (figures need JavaScript; the tables do not)")

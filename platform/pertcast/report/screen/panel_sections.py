"""A figure of a screen as a card of its report."""

from __future__ import annotations

from pertcast.report.page import Section, Width, figure_html, paragraph_html
from pertcast.report.screen.panels import Panel


def panel_section(panel: Panel, width: Width = "full") -> Section:
    """Return a card of a report; one without a figure says why."""
    if panel.figure is None:
        return Section(panel.title, paragraph_html(panel.reason), width=width, tone="care")
    html = figure_html(panel.figure, panel.height, panel.label)
    return Section(panel.title, html, panel.subtitle, width=width)

"""The report of a sweep: the best trial and what it is worth first, then how it was found."""

from __future__ import annotations

from pertcast.report.page import render_page
from pertcast.report.sweep import sections
from pertcast.report.sweep.content import SweepContent


def sweep_report(content: SweepContent) -> str:
    """Return the report as one self-contained HTML document."""
    return render_page(
        title=f"Sweep: {content.model}",
        provenance=content.provenance,
        sections=[
            sections.verdict(content),
            sections.progress(content),
            *sections.trade_off(content),
            *sections.parameters(content),
            *sections.curves(content),
            sections.table(content),
            sections.baselines(content),
            sections.limits(content),
        ],
        footer=content.footer,
    )

"""The report of a screen: what was found first, then how far it can be believed, then the details."""

from __future__ import annotations

from pertcast.report.page import render_page
from pertcast.report.screen import (
    context_sections,
    enrichment_sections,
    hit_sections,
    rank_sections,
    trust_sections,
    verdict_sections,
)
from pertcast.report.screen.function_section import gene_function
from pertcast.report.screen.results import ScreenResults
from pertcast.report.screen.words import names_of


def screen_report(results: ScreenResults) -> str:
    """Return the report as one self-contained HTML document.

    Its size does not grow with the screen: at most 1,000 hits, 4,000 points a figure and the reported hits.
    """
    names = names_of(results.hits)
    reported = names[: len(results.profiles)]
    sections = [
        verdict_sections.verdict(results, names[0]),
        *verdict_sections.signature(results),
        *rank_sections.ranks(results),
        rank_sections.hit_table(results, names),
        *context_sections.pairs(results),
        hit_sections.responses(results, reported),
        hit_sections.best_response(results, names[0]),
        hit_sections.likeness(results),
        *enrichment_sections.pathways(results, reported),
        *hit_sections.neighbors(results, reported),
        *context_sections.selectivity(results),
        *context_sections.doses(results),
        *context_sections.profiles_on_a_plane(results),
        *gene_function(results.function),
        trust_sections.applicability(results),
        *trust_sections.calibration(results),
        *verdict_sections.absent_parts(results),
        verdict_sections.limits(results),
    ]
    return render_page(
        title=results.title, provenance=results.provenance, sections=sections, footer=results.footer
    )

"""Gene sets of a condition: the largest scores as bars, and the running sum of one set."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from markupsafe import Markup
from pertcast.report.profile_figures import enrichment_bars, running_sum_plot
from pertcast.report.tables import fixed

from pertcast_serve.endpoints.problem_schemas import or_problem
from pertcast_serve.page.figures import figure
from pertcast_serve.page.html import render, table
from pertcast_serve.page.view import Html, PageContext
from pertcast_serve.page.views.asked import Asked, asked_for
from pertcast_serve.problems import Refused
from pertcast_serve.schemas.analysis import EnrichmentRequest, EnrichmentResponse, EnrichmentRow
from pertcast_serve.schemas.base import Problem

SUMS: Final = "running-sum"
TARGET: Final = "#running-sum"
MOST_BARS: Final = 10
TOLD_APART: Final = 0.05
_BAR_HEIGHT: Final = 30
_AXIS_HEIGHT: Final = 62
_MOST_DROPPED: Final = 8


async def enrichment(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the gene sets with the largest scores; a set leads to its running sum."""
    asked = await _asked(context, parameters)
    collections = [each.name for each in await context.analysis.gene_sets()]
    if not collections:
        return Html(render("pathways_none.html"))
    chosen = parameters.get("sets") or collections[0]
    request = EnrichmentRequest(model=asked.model, condition=asked.condition, gene_sets=chosen)
    found = or_problem(await context.analysis.enrichment(request))
    choices = [(name, asked.part("enrichment", sets=name), name == chosen) for name in collections]
    return Html(await asyncio.to_thread(_bars, asked, found, choices))


async def _asked(context: PageContext, parameters: Mapping[str, str]) -> Asked:
    model = parameters.get("model") or None
    return asked_for(parameters, or_problem(await context.predictor.vocabulary(model)))


def _bars(asked: Asked, found: EnrichmentResponse, choices: Sequence[tuple[str, str, bool]]) -> Markup:
    scored = [row for row in found.rows if row.nes is not None]
    strongest = sorted(scored[:MOST_BARS], key=lambda row: -(row.nes or 0.0))
    plain = plain_terms([row.term for row in found.rows])
    return render(
        "pathways.html",
        choices=choices if len(choices) > 1 else [],
        figure=_bar_figure(asked, found.gene_sets, strongest, plain) if strongest else "",
        table=_set_table(asked, found.gene_sets, scored[:MOST_BARS], plain),
        n_shown=len(strongest),
        n_tested=len(found.rows),
        n_genes=found.n_genes,
        dropped=found.dropped,
        dropped_words=_dropped_words(found),
        remarks=found.remarks,
    )


def _bar_figure(
    asked: Asked, gene_sets: str, rows: Sequence[EnrichmentRow], plain: Mapping[str, str]
) -> Markup:
    drawn = enrichment_bars(
        np.array([row.nes for row in rows]),
        [plain[row.term] for row in rows],
        [f"{row.size} of {row.n_in_set}" for row in rows],
        np.array([row.fdr is not None and row.fdr <= TOLD_APART for row in rows]),
        "normalised enrichment score",
    )
    drawn.update_traces(customdata=[asked.part(SUMS, sets=gene_sets, term=row.term) for row in rows])
    said = "; ".join(f"{plain[row.term]} {row.nes:+.2f}" for row in rows)
    return figure(drawn, f"Enrichment of gene sets: {said}", _AXIS_HEIGHT + _BAR_HEIGHT * len(rows), TARGET)


def _set_table(
    asked: Asked, gene_sets: str, rows: Sequence[EnrichmentRow], plain: Mapping[str, str]
) -> Markup:
    frame = pl.DataFrame(
        {
            "set": [_sum_link(asked, gene_sets, row.term, plain[row.term]) for row in rows],
            "nes": [row.nes for row in rows],
            "fdr": [row.fdr for row in rows],
            "used": [f"{row.size} of {row.n_in_set}" for row in rows],
        },
        schema={"set": pl.String, "nes": pl.Float64, "fdr": pl.Float64, "used": pl.String},
    )
    return table(
        frame,
        headers={"set": "set (opens its running sum)", "nes": "NES", "fdr": "FDR", "used": "genes used"},
        formats={"nes": fixed(2)},
        raw_columns=["set"],
        number_columns=["used"],
    )


def _sum_link(asked: Asked, gene_sets: str, term: str, plain: str) -> str:
    """Return a link that opens the running sum here, or as a view of its own without JavaScript."""
    address = asked.part(SUMS, sets=gene_sets, term=term)
    html = Markup('<a href="{}" hx-get="{}" hx-target="{}" hx-swap="innerHTML show:top">{}</a>')
    return str(html.format(address.replace("/ui/part/", "/ui/", 1), address, TARGET, plain))


def plain_terms(terms: Sequence[str]) -> dict[str, str]:
    """Return terms as people write them: without the prefix that all share and without underscores."""
    prefixes = {term.split("_", 1)[0] for term in terms if "_" in term}
    has_prefix = len(terms) > 1 and len(prefixes) == 1 and all("_" in term for term in terms)
    start = len(prefixes.pop()) + 1 if has_prefix else 0
    return {term: term[start:].replace("_", " ") for term in terms}


def _dropped_words(found: EnrichmentResponse) -> str:
    n_sets = len(found.rows) + len(found.dropped)
    if not found.dropped:
        return f"All {n_sets} sets were tested."
    reasons = sorted({each.reason.split(" (")[0] for each in found.dropped})
    return f"{len(found.dropped)} of {n_sets} sets dropped ({', '.join(reasons)})."


async def running_sum(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the running sum of one gene set along the ranked genes of a condition."""
    asked = await _asked(context, parameters)
    term = parameters.get("term", "")
    if not term:
        detail = "Name a gene set: term=NAME; the pathways of a perturbation lead here."
        raise Refused(Problem(title="No gene set is named", status=422, detail=detail))
    request = EnrichmentRequest(
        model=asked.model,
        condition=asked.condition,
        gene_sets=parameters.get("sets") or None,
        curves=[term],
    )
    found = or_problem(await context.analysis.enrichment(request))
    if not found.curves:
        reason = next((each.reason for each in found.dropped if each.term == term), "it was not tested")
        detail = f"The set was dropped: {reason}. Choose one that the pathways show."
        raise Refused(Problem(title=f"{term} has no running sum", status=422, detail=detail))
    return Html(await asyncio.to_thread(_sum_card, asked, found, term), f"{term}: {asked.title}")


def _sum_card(asked: Asked, found: EnrichmentResponse, term: str) -> Markup:
    curve = found.curves[0]
    row = next(row for row in found.rows if row.term == term)
    name = plain_terms([each.term for each in found.rows])[term]
    drawn = running_sum_plot(
        [(name, np.array(curve.running_sum), np.array(curve.hits, dtype=np.int64))],
        positions=[np.array(curve.position, dtype=np.int64)],
    )
    drawn.update_layout(showlegend=False, margin={"t": 12})
    label = f"Running sum of {name}, peak {row.es:+.2f}"
    return render(
        "running_sum.html",
        asked=asked,
        name=name,
        row=row,
        n_genes=found.n_genes,
        figure=figure(drawn, label, 280),
    )

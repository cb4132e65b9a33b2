"""Gene sets of a condition: the largest scores as bars, and the running sum of one set."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from markupsafe import Markup
from pertcast.report.profile_figures import enrichment_bars, running_sum_plot
from pertcast.report.tables import csv_link, fixed

from pertcast_serve.page.figures import figure
from pertcast_serve.page.html import render, table
from pertcast_serve.page.view import Html, PageContext
from pertcast_serve.page.views.asked import Asked, asked_for
from pertcast_serve.problems import Refused, or_refused
from pertcast_serve.schemas.analysis import EnrichmentRequest, EnrichmentResponse, EnrichmentRow
from pertcast_serve.schemas.base import Problem

SUMS: Final = "running-sum"
TABLE: Final = "gene-sets"
TARGET: Final = "#running-sum"
MOST_BARS: Final = 10
TOLD_APART: Final = 0.05
NO_ANSWER: Final = 422
MOST_LEADING: Final = 8
_BAR_HEIGHT: Final = 27
_AXIS_HEIGHT: Final = 56
_MOST_DROPPED: Final = 8

_HEADERS: Final = {
    "set": "set (opens its running sum)",
    "es": "ES",
    "nes": "NES",
    "pval": "p",
    "fdr": "FDR",
    "used": "genes used",
    "lead": "leading genes",
}
_TABLE_SCHEMA: Final = pl.Schema(
    dict.fromkeys(("term", "set"), pl.String)
    | dict.fromkeys(("es", "nes", "pval", "fdr"), pl.Float64)
    | dict.fromkeys(("used", "lead"), pl.String)
)


async def enrichment(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the gene sets with the largest scores; a set leads to its running sum."""
    asked = await _asked(context, parameters)
    collections = [each.name for each in await context.analysis.gene_sets()]
    if not collections:
        return Html(render("pathways_none.html"))
    chosen = parameters.get("sets") or collections[0]
    found = await context.analysis.enrichment(_question(asked, chosen), context.caller)
    if isinstance(found, Problem) and found.status == NO_ANSWER:
        # That no set fits these genes is an answer, which belongs into the card.
        return Html(render("problem.html", title="No gene set was scored", detail=found.detail))
    choices = [(name, asked.part("enrichment", sets=name), name == chosen) for name in collections]
    return Html(await asyncio.to_thread(_bars, asked, or_refused(found), choices))


async def set_table(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show all gene sets as a table, each leading to its running sum, with what limits the scores."""
    asked = await _asked(context, parameters)
    found = or_refused(
        await context.analysis.enrichment(_question(asked, parameters.get("sets")), context.caller)
    )
    return Html(await asyncio.to_thread(_table_card, asked, found), f"Gene sets: {asked.title}")


def _question(asked: Asked, gene_sets: str | None, curves: Sequence[str] = ()) -> EnrichmentRequest:
    return EnrichmentRequest(
        model=asked.model, condition=asked.condition, gene_sets=gene_sets or None, curves=list(curves)
    )


async def _asked(context: PageContext, parameters: Mapping[str, str]) -> Asked:
    model = parameters.get("model") or None
    return asked_for(parameters, or_refused(await context.predictor.vocabulary(model)))


def _bars(asked: Asked, found: EnrichmentResponse, choices: Sequence[tuple[str, str, bool]]) -> Markup:
    strongest = [row for row in found.rows if row.nes is not None][:MOST_BARS]
    strongest.sort(key=lambda row: -(row.nes or 0.0))
    plain = plain_terms([row.term for row in found.rows])
    return render(
        "pathways.html",
        choices=choices if len(choices) > 1 else [],
        figure=_bar_figure(asked, found.gene_sets, strongest, plain) if strongest else "",
        table_address=asked.part(TABLE, sets=found.gene_sets),
        n_shown=len(strongest),
        n_tested=len(found.rows),
        n_genes=found.n_genes,
        dropped_words=_dropped_words(found),
    )


def _bar_figure(
    asked: Asked, gene_sets: str, rows: Sequence[EnrichmentRow], plain: Mapping[str, str]
) -> Markup:
    drawn = enrichment_bars(
        np.array([row.nes for row in rows]),
        [plain[row.term] for row in rows],
        [f"{row.size} of {row.n_in_set}" for row in rows],
        np.array([row.fdr is not None and row.fdr <= TOLD_APART for row in rows]),
        "NES",
        is_narrow=True,
    )
    drawn.update_traces(customdata=[asked.part(SUMS, sets=gene_sets, term=row.term) for row in rows])
    said = "; ".join(f"{plain[row.term]} {row.nes:+.2f}" for row in rows)
    return figure(drawn, f"Enrichment of gene sets: {said}", _AXIS_HEIGHT + _BAR_HEIGHT * len(rows), TARGET)


def _table_card(asked: Asked, found: EnrichmentResponse) -> Markup:
    plain = plain_terms([row.term for row in found.rows])
    frame = pl.DataFrame(
        [
            {
                "term": row.term,
                "set": _sum_link(asked, found.gene_sets, row.term, plain[row.term]),
                "es": row.es,
                "nes": row.nes,
                "pval": row.pval,
                "fdr": row.fdr,
                "used": f"{row.size} of {row.n_in_set}",
                "lead": _first_few(row.lead_genes),
            }
            for row in found.rows
        ],
        schema=_TABLE_SCHEMA,
    )
    shown = table(
        frame.drop("term"),
        headers=_HEADERS,
        formats={"es": fixed(2), "nes": fixed(2)},
        raw_columns=["set"],
        number_columns=["used"],
    )
    return render(
        "pathway_table.html",
        asked=asked,
        gene_sets=found.gene_sets,
        table=shown,
        link=Markup(csv_link(frame.drop("set"), "gene_sets.csv")),
        remarks=found.remarks,
        dropped=found.dropped,
        dropped_words=_dropped_words(found),
    )


def _first_few(genes: Sequence[str]) -> str:
    return ", ".join(genes) if len(genes) <= MOST_LEADING else ", ".join((*genes[:MOST_LEADING], "…"))


def _sum_link(asked: Asked, gene_sets: str, term: str, plain: str) -> str:
    """Return a link that opens the running sum here, or as a view of its own without JavaScript."""
    address = asked.part(SUMS, sets=gene_sets, term=term)
    html = Markup('<a href="{}" hx-get="{}" hx-target="{}">{}</a>')
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
    question = _question(asked, parameters.get("sets"), [term])
    found = or_refused(await context.analysis.enrichment(question, context.caller))
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

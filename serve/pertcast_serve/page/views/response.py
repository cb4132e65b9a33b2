"""The predicted response of every gene: the figure, and the strongest genes as a table."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
import polars as pl
from markupsafe import Markup, escape
from numpy.typing import NDArray
from pertcast.analysis.enrichment import gene_ranks
from pertcast.naming import response_unit
from pertcast.report.profile_figures import response_plot, response_waterfall

from pertcast_serve.page.figures import figure
from pertcast_serve.page.html import anchor, link, table
from pertcast_serve.page.view import Html, PageContext
from pertcast_serve.page.views.asked import VIEW, Asked, asked_for
from pertcast_serve.problems import Refused, or_refused
from pertcast_serve.schemas.base import Problem
from pertcast_serve.services import PredictedProfiles

HEIGHT: Final = 440
PLOT_SIZE: Final = (570.0, 375.0)
"""Pixels of the plot on a screen 1,280 wide; on wider ones labels have more room."""

MOST_DRAWN: Final = 3_000
"""Genes of one figure; more would take the browser seconds."""
MOST_LISTED: Final = 20


async def response(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Draw the response of every gene: a part, for a figure takes longer than the prediction."""
    model = parameters.get("model") or None
    asked = asked_for(parameters, or_refused(await context.predictor.vocabulary(model)))
    card = or_refused(await context.predictor.card(model))
    found = or_refused(await context.predictor.profiles(asked.request))
    if found.head.errors:
        raise Refused(Problem(title="Not predicted", status=422, detail=found.head.errors[0].message))
    unit = response_unit(card.normalisation)
    return Html(await asyncio.to_thread(_figure, found, unit, asked.title))


def _figure(found: PredictedProfiles, unit: str, title: str) -> Markup:
    mean = found.mean[0]
    kept, _ = _drawn_genes(mean)
    names = [found.genes[index] for index in kept.tolist()]
    if found.sd is None:
        ranks = gene_ranks(found.mean[:1])[0].astype(np.int64) + 1
        drawn = response_waterfall(mean[kept], names, unit, ranks=ranks[kept], size=PLOT_SIZE)
    else:
        drawn = response_plot(mean[kept], found.sd[0][kept], names, unit, PLOT_SIZE)
    return figure(drawn, f"Predicted response of every gene: {title}", HEIGHT)


def what_is_drawn(found: PredictedProfiles) -> str:
    """Say what the figure of the first profile shows and leaves out."""
    _, said = _drawn_genes(found.mean[0])
    if found.sd is None:
        return f"{said}; ranked, for this model predicts no spread"
    return f"{said}; coloured beyond 2 predicted sd of single profiles"


def _drawn_genes(mean: NDArray[np.float32]) -> tuple[NDArray[np.int64], str]:
    """Return which genes are drawn: all, or the strongest and every n-th of the rest."""
    if len(mean) <= MOST_DRAWN:
        return np.arange(len(mean)), f"all {len(mean):,} genes"
    order = np.argsort(-np.abs(mean), kind="stable")
    half = MOST_DRAWN // 2
    step = -(-(len(mean) - half) // half)
    kept = np.sort(np.r_[order[:half], order[half::step]])
    return kept, f"the {half:,} strongest of {len(mean):,} genes and one in {step} of the others"


def strongest_genes(found: PredictedProfiles, unit: str, asked: Asked, targets: Collection[str]) -> Markup:
    """Return the strongest genes of the first profile as a table; a target leads to its own perturbation."""
    mean = found.mean[0].astype(np.float64)
    order = np.argsort(-np.abs(mean), kind="stable")[:MOST_LISTED].tolist()
    columns = {"gene": [_named(asked, found.genes[index], targets) for index in order], "mean": mean[order]}
    if found.sd is not None:
        columns["sd"] = found.sd[0].astype(np.float64)[order]
    headers = {"mean": f"response ({unit})", "sd": "predicted sd"}
    return table(pl.DataFrame(columns), headers=headers, raw_columns=["gene"])


def _named(asked: Asked, gene: str, targets: Collection[str]) -> str:
    if gene not in targets:
        return str(escape(gene))
    return str(anchor(gene, link(VIEW, model=asked.model, pert=gene, cell=asked.cell)))

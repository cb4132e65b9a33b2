"""Sections about populations of wells: the answer, variances gene by gene, correlations side by side."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import polars as pl

from pertcast.evaluation.bootstrap import LEVEL, Estimate
from pertcast.evaluation.parts import GeneCorrelation
from pertcast.evaluation.wells.lines import LEGEND, counts_in_words, not_shown, verdict
from pertcast.evaluation.wells.populations import WellPopulations
from pertcast.evaluation.wells.result import WellScores
from pertcast.evaluation.wells.scores import MEASURES
from pertcast.report.page import Section, figure_html, list_html, paragraph_html
from pertcast.report.tables import MISSING, table_html
from pertcast.report.theme import ACCENT, CURVE_COLOURS, INK, MUTED, Tone
from pertcast.report.trust_figures import correlation_heatmaps

_DECADES: Final = 0.5
"""Variance ratios are drawn from 10^-.5 to 10^.5; what lies beyond is drawn at the end."""

_BINS: Final = 40
_LEVEL_TITLES: Final = {
    "context": "within a cell line: residuals from its mean",
    "replicates": "between replicates: residuals from the condition's mean",
}


def well_population_sections(result: WellPopulations) -> list[Section]:
    """Return the cards of a report: verdict, table, variance ratios, correlations, limits."""
    return [
        _verdict(result),
        _scores(result),
        *(_variances(result, level) for level in result.correlations),
        *(_correlations(found, level) for level, found in result.correlations.items()),
        Section("What populations of wells do not show", list_html(not_shown(result)), tone="care"),
    ]


def _verdict(result: WellPopulations) -> Section:
    reached = [result.reaches_halves(measure) for measure in MEASURES]
    known = [answer for answer in reached if answer is not None]
    tone: Tone = "plain" if not known else "good" if all(known) else "care"
    html = paragraph_html(verdict(result), lead=True) + paragraph_html(counts_in_words(result), muted=True)
    return Section("Populations of wells", html, tone=tone)


def _with_bounds(found: Estimate) -> str:
    if np.isnan(found.mean):
        return MISSING
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _row(found: WellScores) -> dict[str, Any]:
    row: dict[str, Any] = {"": found.contender.title}
    return row | {name: _with_bounds(found.scores[measure]) for measure, name in MEASURES.items()}


def _scores(result: WellPopulations) -> Section:
    frame = pl.DataFrame([_row(found) for found in result.contenders])
    html = table_html(
        frame,
        row_classes=["strong"] + [""] * (frame.height - 1),
        number_columns=list(MEASURES.values()),
        caption=f"{LEGEND} Intervals of {LEVEL:.0%}, by resampling perturbations and repeating the noise.",
        download="well_populations.csv",
    )
    html += _distances(result)
    return Section("Generated beside measured", html, "1 is a perfect population; higher is better")


def _distances(result: WellPopulations) -> str:
    """Say how far each contender's wells are from the measured ones, before 0 and 1 are set."""
    told = [
        f"{found.contender.title} {found.distance['e_distance']:.4f} and {found.distance['mmd']:.5f}"
        for found in result.contenders
    ]
    return paragraph_html(f"E-distance and MMD themselves: {'; '.join(told)}.", muted=True)


def _variances(result: WellPopulations, level: str) -> Section:
    figure = variance_histogram(result, level)
    low, middle, high = result.model.ratio_quartiles(level)
    words = (
        "undefined" if np.isnan(middle) else f"median {middle:.2f}, half of the genes {low:.2f} to {high:.2f}"
    )
    html = figure_html(figure, 320, f"Variance ratios of {len(result.genes):,} genes, {words}")
    html += paragraph_html(f"{result.model.contender.title}: {words}.", muted=True)
    return Section("Variance, gene by gene", html, _LEVEL_TITLES[level], width="half")


def variance_histogram(result: WellPopulations, level: str) -> go.Figure:
    """Draw how many genes have which ratio of generated to measured variance, a line a contender."""
    figure = go.Figure()
    edges = np.linspace(-_DECADES, _DECADES, _BINS + 1)
    middles = 10 ** ((edges[:-1] + edges[1:]) / 2)
    for found, colour in zip(result.contenders, CURVE_COLOURS, strict=False):
        ratios = found.variance_ratio[level]
        logs = np.clip(np.log10(ratios[~np.isnan(ratios)]), edges[0], edges[-1])
        figure.add_trace(
            go.Scatter(
                x=middles,
                y=np.histogram(logs, edges)[0],
                name=found.contender.title,
                mode="lines",
                line={"color": colour, "shape": "hvh", "width": 2.5 if colour == ACCENT else 1.2},
                hovertemplate=f"{found.contender.title}<br>ratio %{{x:.2f}}: %{{y:,}} genes<extra></extra>",
            )
        )
    figure.add_vline(x=1.0, line={"color": MUTED, "width": 1, "dash": "dot"})
    return figure.update_layout(
        xaxis={
            "title": {"text": "generated / measured variance (log scale; beyond the ends: at the ends)"},
            "type": "log",
            "tickvals": [0.33, 0.5, 0.7, 1, 1.4, 2, 3],
        },
        yaxis={"title": {"text": "genes"}},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": INK}},
        margin={"t": 34},
    )


def _correlations(found: GeneCorrelation, level: str) -> Section:
    html = figure_html(correlation_heatmaps(found, {}), 400, f"Gene-gene correlation, {_LEVEL_TITLES[level]}")
    html += paragraph_html(
        f"{len(found.genes):,} genes that respond most in training, in the order of the measured wells; one "
        "repetition of the generated ones.",
        muted=True,
    )
    return Section("Which genes move together in single wells", html, _LEVEL_TITLES[level])

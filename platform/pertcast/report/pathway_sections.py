"""Sections of a report about pathway agreement: the answer, scores, sets, and what was not tested."""

from __future__ import annotations

from typing import Final

import polars as pl

from pertcast.analysis.pathways import ContenderPathways, PathwayAgreement
from pertcast.report.page import Section, figure_html, list_html, paragraph_html
from pertcast.report.pathway_figures import nes_heatmaps, nes_scatter, pathway_dots
from pertcast.report.tables import fixed, table_html

MOST_PATHWAYS: Final = 30
"""Sets drawn, those most often significant; the table holds all."""
MOST_CONDITIONS: Final = 40
_MEANING: Final = (
    "NES Pearson: of all pairs of condition and set, with 95 % intervals over perturbations. By condition "
    "and rank: mean Pearson and Spearman over the sets. By set: mean Pearson over the conditions, whether "
    "perturbations are told apart. Sign right and found: of the {n:,} measured pairs with FDR at most "
    "{fdr:g}, those generated with the same sign, and those significant as well. Confirmed: of the "
    "contender's own significant pairs."
)


def pathway_sections(agreement: PathwayAgreement) -> list[Section]:
    """Return the cards of a result, the answer first.

    Parameters
    ----------
    agreement
        Of `pertcast.analysis.pathways.pathway_agreement`.

    Returns
    -------
    list of Section
        Contenders, scatter and dot chart, heat maps, all sets with those that were dropped.
    """
    return [
        _answer(agreement),
        _scatter(agreement),
        _dots(agreement),
        _heatmaps(agreement),
        _sets(agreement),
    ]


def _answer(agreement: PathwayAgreement) -> Section:
    entries = [*agreement.contenders, *([agreement.ceiling] if agreement.ceiling is not None else [])]
    html = paragraph_html(agreement.sentence(), lead=True)
    html += table_html(
        pl.DataFrame([_row(found, agreement.all_strong) for found in entries]),
        formats={
            **dict.fromkeys(("by condition", "rank", "by set"), fixed(3)),
            **dict.fromkeys(("sign right", "found", "confirmed"), fixed(2)),
        },
        row_classes=["strong", *[""] * (len(agreement.contenders) - 1)]
        + (["muted"] if agreement.ceiling is not None else []),
        number_columns=("NES Pearson", "strong conditions"),
        caption=_MEANING.format(fdr=agreement.fdr, n=agreement.model.n_significant),
        download="pathway_agreement.csv",
    )
    return Section("Do generated profiles show the measured pathways?", html, subtitle=agreement.source)


def _row(found: ContenderPathways, all_strong: bool) -> dict[str, object]:
    return {
        "": found.title,
        "NES Pearson": found.overall.words(),
        **({} if all_strong else {"strong conditions": found.strong.words()}),
        "by condition": found.condition_mean,
        "rank": found.condition_rank_mean,
        "by set": found.pathway_mean,
        "sign right": found.right_sign,
        "found": found.recovered,
        "confirmed": found.confirmed,
    }


def _scatter(agreement: PathwayAgreement) -> Section:
    count = agreement.conditions.height * len(agreement.pathways)
    html = figure_html(nes_scatter(agreement), 420, "NES, generated against measured")
    subtitle = f"{count:,} pairs of condition and set"
    return Section("Score against score", html, subtitle, width="half")


def _dots(agreement: PathwayAgreement) -> Section:
    shown = min(MOST_PATHWAYS, len(agreement.pathways))
    html = figure_html(pathway_dots(agreement, MOST_PATHWAYS), 110 + 22 * shown, "Mean NES of each set")
    subtitle = f"{shown:,} of {len(agreement.pathways):,} sets, most often significant first"
    return Section("Set by set", html, subtitle, width="half")


def _heatmaps(agreement: PathwayAgreement) -> Section:
    rows = min(MOST_CONDITIONS, agreement.conditions.height)
    figure = nes_heatmaps(agreement, MOST_CONDITIONS, MOST_PATHWAYS)
    html = figure_html(figure, 220 + 16 * rows, "NES of conditions and sets, measured and generated")
    return Section("Condition by condition", html, f"{rows:,} conditions, strongest measured effect first")


def _sets(agreement: PathwayAgreement) -> Section:
    html = table_html(
        agreement.pathway_frame(),
        headers={
            "pathway": "gene set",
            "measured_genes": "genes measured",
            "genes": "genes of the set",
            "significant": "times significant",
            "measured_nes": "mean NES measured",
            "generated_nes": "mean NES generated",
            "pearson": "Pearson over conditions",
        },
        formats=dict.fromkeys(("measured_nes", "generated_nes", "pearson"), fixed(2)),
        download="pathways.csv",
    )
    html += list_html([*agreement.warnings, *_dropped(agreement)])
    return Section("All sets, and what was not tested", html)


def _dropped(agreement: PathwayAgreement) -> list[str]:
    return [
        f"Not tested: {each.name}, {each.genes_in_space} of {each.size} genes measured ({each.reason})."
        for each in agreement.dropped
    ]

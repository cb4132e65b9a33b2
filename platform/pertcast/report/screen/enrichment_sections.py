"""Sections of a screen's report on gene sets: bars and sums of the first hit, scores of all top hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from pertcast.analysis.enrichment import ranked_order, running_sum
from pertcast.analysis.gene_sets import SetIndex
from pertcast.report import profile_figures
from pertcast.report.page import Section, figure_html, paragraph_html
from pertcast.report.screen.heatmaps import heatmap
from pertcast.report.screen.results import ScreenResults
from pertcast.report.tables import csv_link, fixed, table_html

_MOST_BARS: Final = 12
_MOST_SUMS: Final = 3
_MOST_COLUMNS: Final = 30
_TOLD_APART: Final = 0.05
_LARGEST_Z: Final = 6.0
"""Colours end there: beyond it a larger z says nothing more."""


def pathways(results: ScreenResults, names: Sequence[str]) -> list[Section]:
    """Show the gene sets of the first condition, then those of all reported hits.

    Parameters
    ----------
    results
        The screen.
    names
        Readable names of the reported hits.
    """
    if results.sets is None or results.enrichment is None:
        return []
    best = next(iter(results.profiles))
    table = results.enrichment.filter(pl.col("sig_id") == best, pl.col("es").is_not_null())
    if table.is_empty():
        text = "The strongest condition has no ranking of genes (all responses are equal)."
        return [Section("Pathways", paragraph_html(text))]
    table = table.with_columns(
        shown_score=pl.coalesce("prerank_nes", "nes", "es"), shown_fdr=pl.coalesce("prerank_fdr", "fdr")
    )
    table = table.sort(pl.col("shown_score").abs(), "term", descending=[True, False], nulls_last=True)
    table = _with_used(table, results.sets)
    return [
        _bars(table, names[0]),
        _running_sums(results, results.sets, table.head(_MOST_SUMS), names[0]),
        _set_table(results, results.sets, table, names[0]),
        *_screen_scores(results, results.enrichment, names),
    ]


def _with_used(table: pl.DataFrame, sets: SetIndex) -> pl.DataFrame:
    used = [f"{size} of {full}" for size, full in zip(sets.sizes, sets.full_sizes, strict=True)]
    used_of = pl.DataFrame({"term": list(sets.names), "used": used})
    return table.join(used_of, on="term", how="left", maintain_order="left")


def _bars(table: pl.DataFrame, name: str) -> Section:
    shown = table.head(_MOST_BARS)
    shown = shown.sort("shown_score", descending=True)
    figure = profile_figures.enrichment_bars(
        shown["shown_score"].to_numpy(),
        shown["term"].to_list(),
        shown["used"].fill_null("").to_list(),
        (shown["shown_fdr"] <= _TOLD_APART).fill_null(False).to_numpy(),
        "normalised enrichment score" if shown["prerank_nes"].null_count() == 0 else "enrichment score",
    )
    html = figure_html(figure, 400, f"Enrichment of gene sets in the response to {name}")
    subtitle = (
        f"the {shown.height} largest of {table.height} scores; genes used of each set; hollow: FDR > 5 %"
    )
    return Section(f"Pathways of {name}", html, subtitle, width="half")


def _running_sums(results: ScreenResults, sets: SetIndex, table: pl.DataFrame, name: str) -> Section:
    profile = next(iter(results.profiles.values()))
    rank_of = np.argsort(ranked_order(profile[None, :])[0])
    curves = []
    for term in table["term"]:
        members = sets.members_of(sets.names.index(term))
        curves.append((term, running_sum(profile, members), np.sort(rank_of[members])))
    html = figure_html(profile_figures.running_sum_plot(curves), 400, f"Running enrichment sums of {name}")
    return Section(f"Running sums of {name}", html, "the sets with the largest scores", width="half")


def _set_table(results: ScreenResults, sets: SetIndex, table: pl.DataFrame, name: str) -> Section:
    dropped = [item.name for item in sets.dropped]
    caption = (
        "NES, p and FDR: against random sets of the same size. prerank: gseapy, gene labels permuted. Both "
        "ignore that genes are correlated; screen z compares with the same set over this screen and does "
        f"not. Background: the {len(results.genes):,} genes predicted. {len(sets)} sets tested, "
        f"{len(dropped)} dropped"
    )
    caption += f": {', '.join(dropped[:8])}{' and more' if len(dropped) > 8 else ''}." if dropped else "."
    columns = ("term", "es", "nes", "pval", "fdr", "prerank_nes", "prerank_fdr", "screen_z", "used")
    html = table_html(
        table.head(_MOST_BARS).select(columns),
        headers={
            "term": "set",
            "es": "ES",
            "nes": "NES",
            "pval": "p",
            "fdr": "FDR",
            "prerank_nes": "prerank NES",
            "prerank_fdr": "prerank FDR",
            "screen_z": "screen z",
            "used": "genes used",
        },
        formats={"es": fixed(2), "nes": fixed(2), "prerank_nes": fixed(2), "screen_z": fixed(1)},
        number_columns=["used"],
        caption=caption,
    )
    link = csv_link(table.drop("shown_score", "shown_fdr"), "pathways.csv")
    return Section(f"Gene sets of {name}", html + link)


def _screen_scores(results: ScreenResults, enrichment: pl.DataFrame, names: Sequence[str]) -> list[Section]:
    """Show screen_z of the reported hits in the sets where any of them stands out most."""
    title = "How the top hits differ from the screen"
    known = enrichment.filter(pl.col("screen_z").is_not_null())
    if known.is_empty():
        text = "A screen of fewer than ten conditions has no screen z: there is too little to compare with."
        return [Section(title, paragraph_html(text))]
    strength = known.group_by("term").agg(strength=pl.col("screen_z").abs().max())
    chosen = strength.sort("strength", "term", descending=[True, False]).head(_MOST_COLUMNS)["term"].to_list()
    values = np.full((len(results.profiles), len(chosen)), np.nan)
    row_of = {sig_id: row for row, sig_id in enumerate(results.profiles)}
    column_of = {term: column for column, term in enumerate(chosen)}
    picked = known.filter(pl.col("term").is_in(chosen)).select("sig_id", "term", "screen_z")
    for sig_id, term, value in picked.iter_rows():
        values[row_of[sig_id], column_of[term]] = value
    order = np.argsort(-np.nanmean(values, axis=0), kind="stable")
    limit = float(np.clip(np.nanmax(np.abs(values)), 1.0, _LARGEST_Z))
    figure = heatmap(
        values[:, order],
        names,
        [chosen[column] for column in order],
        colour_title="screen z",
        limits=(-limit, limit),
    )
    html = figure_html(figure, 240 + 22 * len(names), "screen z of gene sets in the first conditions")
    subtitle = (
        f"{len(names)} first conditions; {len(chosen)} of {known['term'].n_unique()} sets; screen z: score "
        f"of a set against the same set over the screen, in robust sd; colours end at {limit:.2g}"
    )
    return [Section(title, html, subtitle)]

"""Sections of a screen's report on its strongest conditions: responses, likeness, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from pertcast.report import profile_figures
from pertcast.report.page import Section, figure_html, paragraph_html
from pertcast.report.screen.panel_sections import panel_section
from pertcast.report.screen.panels import likeness_panel, responses_panel
from pertcast.report.screen.results import ScreenResults
from pertcast.report.tables import csv_link, fixed, table_html

_MOST_NEIGHBORS: Final = 8
_MOST_DOWNLOADED: Final = 1_000
"""Genes of the responses inside the page; the whole profiles stand in profiles.zarr."""


def responses(results: ScreenResults, names: Sequence[str]) -> Section:
    """Show the strongest conditions against the genes that move most."""
    section = panel_section(responses_panel(results))
    subtitle = section.subtitle
    table = pl.DataFrame({"gene": list(results.genes), **_columns(results, names)})
    if len(results.genes) > _MOST_DOWNLOADED:
        matrix = np.stack(list(results.profiles.values()))
        moving = np.argsort(-np.abs(matrix).max(axis=0), kind="stable")[:_MOST_DOWNLOADED]
        table = table[np.sort(moving)]
        subtitle += f"; the csv holds the {_MOST_DOWNLOADED:,} genes that move most"
    link = csv_link(_rounded(table), "top_responses.csv")
    return replace(section, html=section.html + link, subtitle=subtitle)


def _columns(results: ScreenResults, names: Sequence[str]) -> dict[str, pl.Series]:
    """Return a column a profile; a repeated name carries its sig_id."""
    found: dict[str, pl.Series] = {}
    for name, (sig_id, profile) in zip(names, results.profiles.items(), strict=True):
        found[f"{name} ({sig_id})" if name in found or name == "gene" else name] = pl.Series(profile)
    return found


def _rounded(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.col(pl.Float32).cast(pl.Float64).round_sig_figs(4))


def likeness(results: ScreenResults) -> Section:
    """Show which of the strongest conditions do the same."""
    return panel_section(likeness_panel(results), "half")


def best_response(results: ScreenResults, name: str) -> Section:
    """Show every gene's response to the first condition."""
    mean = next(iter(results.profiles.values()))
    if results.sd is not None:
        figure = profile_figures.response_plot(mean, results.sd, results.genes, results.unit)
        subtitle = f"all {len(mean):,} genes; coloured beyond 2 predicted sd of single profiles"
    else:
        figure = profile_figures.response_bars(mean, results.genes, results.unit)
        subtitle = f"the largest responses of {len(mean):,} genes; this bundle predicts no spread"
    html = figure_html(figure, 400, f"Response of every gene to {name}")
    return Section(f"Response to {name}", html, subtitle, width="half")


def neighbors(results: ScreenResults, names: Sequence[str]) -> list[Section]:
    """Show which perturbations mimic the first condition, and which reverse it."""
    name_of = dict(zip(results.profiles, names, strict=True))
    named = results.neighbors.select(
        condition=pl.col("sig_id").replace_strict(name_of, default=pl.col("sig_id")),
        perturbation=pl.col("neighbor_sig_id").replace_strict(
            dict(results.names), default=pl.col("neighbor_sig_id"), return_dtype=pl.String
        ),
        cosine="cosine",
        tail="tail",
        rank="rank",
        sig_id="sig_id",
        neighbor_sig_id="neighbor_sig_id",
    )
    best = next(iter(results.profiles))
    sections = []
    for tail, title in (("mimics", "Most similar"), ("reverses", "Most opposite")):
        rows = named.filter(tail=tail)
        table = rows.filter(pl.col("sig_id") == best, pl.col("rank") <= _MOST_NEIGHBORS)
        caption = (
            "Same cell line and perturbation type only. Predicted profiles on both sides. The csv holds "
            "those of all reported hits."
        )
        html = table_html(
            table.select("perturbation", "cosine"), formats={"cosine": fixed(2)}, caption=caption
        )
        html += csv_link(rows, f"{tail}.csv")
        if table.is_empty():
            html = paragraph_html(f"No other perturbation of this screen {tail} it.")
        sections.append(Section(f"{title} to {names[0]}", html, width="half"))
    return sections

"""Sections of a screen's report on all conditions: ranks, effect against p-value or spread, the hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from pertcast.report.page import Section
from pertcast.report.screen.panel_sections import panel_section
from pertcast.report.screen.panels import effect_panel, rank_panel
from pertcast.report.screen.results import ScreenResults
from pertcast.report.screen.words import (
    is_calibrated,
    is_ranked_by_effect,
    trust_badge,
    why_uncalibrated,
)
from pertcast.report.tables import csv_link, table_html

MOST_SHOWN: Final = 15
_MOST_GENES: Final = 3
_GENE_SEPARATOR: Final = ";"
_HYPHEN: Final = "\u2011"


def ranks(results: ScreenResults) -> list[Section]:
    """Show scores by rank, beside effects against p-values or, where nothing calibrates, spread."""
    return [panel_section(panel(results), "half") for panel in (rank_panel, effect_panel)]


def hit_table(results: ScreenResults, names: Sequence[str]) -> Section:
    """Show the first hits; the page's own csv holds all hits that were brought.

    Parameters
    ----------
    results
        The screen.
    names
        Readable names of `results.hits`.
    """
    top = results.hits.head(MOST_SHOWN)
    calibrated = is_calibrated(results)
    columns: dict[str, pl.Series] = {
        "rank": top["rank"],
        "condition": pl.Series(names[: top.height], dtype=pl.String),
        **({} if is_ranked_by_effect(results) else {"score": top["score"]}),
        "effect_size": top["effect_size"],
        **({"p_value": top["p_value"], "fdr": top["fdr"]} if calibrated else {}),
        "n_deg": top["n_deg"],
        "top_up": pl.Series([_few_genes(text) for text in top["top_up"]], dtype=pl.String),
        "top_down": pl.Series([_few_genes(text) for text in top["top_down"]], dtype=pl.String),
        "trust": pl.Series([trust_badge(flag) for flag in top["flag"]], dtype=pl.String),
        "nn_train_dist": top["nn_train_dist"],
    }
    headers = {
        "score": "excess" if results.kind == "pairs" and results.signature is None else "score",
        # A hyphen that does not break: the header is as narrow as its words.
        "effect_size": f"effect ({results.unit.replace('-', _HYPHEN)})",
        "p_value": "p",
        "fdr": "FDR",
        "n_deg": "genes > 2 sd",
        "top_up": "most increased",
        "top_down": "most decreased",
        "nn_train_dist": "distance",
    }
    html = table_html(
        pl.DataFrame(columns), headers=headers, raw_columns=["trust"], caption=_caption(results, top.height)
    )
    return Section("Hits", html + csv_link(results.hits, "top_hits.csv"))


def _caption(results: ScreenResults, shown: int) -> str:
    text = (
        f"{shown} of {results.n_conditions:,} conditions; all of them in hits.csv, the first "
        f"{results.hits.height:,} also in this page's csv. Effect: root mean square of the predicted "
        "response over genes. "
    )
    if is_calibrated(results):
        text += (
            "p: conformal, of the effect against measured inactive perturbations; FDR: conformal selection "
            "over the conditions that have one; a dash where nothing calibrates a condition. "
        )
    else:
        text += f"p_value and fdr are empty: {why_uncalibrated(results)}. "
    return text + "Distance: to the nearest training perturbation."


def _few_genes(text: str | None) -> str:
    """Return the first genes of a list, and how many more there are."""
    genes = [gene for gene in (text or "").split(_GENE_SEPARATOR) if gene]
    more = f" + {len(genes) - _MOST_GENES}" if len(genes) > _MOST_GENES else ""
    return ", ".join(genes[:_MOST_GENES]) + more

"""Sections of a screen's report on all conditions: ranks, effect against p-value or spread, the hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from pertcast.report.page import Section, figure_html, paragraph_html
from pertcast.report.screen.rank_figures import rank_plot, spread_plot, volcano_plot
from pertcast.report.screen.results import ScreenResults
from pertcast.report.screen.words import (
    is_calibrated,
    is_extrapolated,
    is_hit,
    is_ranked_by_effect,
    names_of,
    numbers,
    score_title,
    trust_badge,
    why_uncalibrated,
)
from pertcast.report.tables import csv_link, table_html

MOST_SHOWN: Final = 15
_MOST_GENES: Final = 3
_GENE_SEPARATOR: Final = ";"
_HEIGHT: Final = 310
_HYPHEN: Final = "\u2011"


def ranks(results: ScreenResults) -> list[Section]:
    """Show scores by rank, beside effects against p-values or, where nothing calibrates, spread."""
    names = names_of(results.ranked)
    figure = rank_plot(
        results.ranked["rank"].to_numpy(),
        numbers(results.ranked, "score"),
        names,
        is_extrapolated(results.ranked),
        score_title=score_title(results),
        is_hit=is_hit(results.ranked) if is_calibrated(results) else None,
    )
    html = figure_html(figure, _HEIGHT, "Every condition by rank")
    first = Section("Rank plot", html, _shown(results, results.ranked.height), width="half")
    return [first, _volcano(results, names) if is_calibrated(results) else _spread(results, names)]


def _shown(results: ScreenResults, count: int) -> str:
    return f"{count:,} of {results.n_conditions:,} conditions shown; hollow: extrapolation"


def _volcano(results: ScreenResults, names: Sequence[str]) -> Section:
    assert results.significance is not None
    p_value = numbers(results.ranked, "p_value")
    figure = volcano_plot(
        numbers(results.ranked, "effect_size"),
        p_value,
        names,
        is_extrapolated(results.ranked),
        is_hit(results.ranked),
        unit=results.unit,
        n_calibration=results.significance.strata["calibration"].drop_nulls().to_list(),
    )
    html = figure_html(figure, _HEIGHT, "Effect size against conformal p-value")
    count = results.ranked["p_value"].count()
    subtitle = (
        f"{count:,} of the {results.significance.n_calibrated:,} conditions with a p-value; dotted: the "
        "smallest p that K calibration perturbations can give, 1 / (K + 1)"
    )
    return Section("Volcano", html, subtitle, width="half")


def _spread(results: ScreenResults, names: Sequence[str]) -> Section:
    title = "Effect against spread"
    known = results.ranked.filter(pl.col("pred_sd").is_not_null())
    if known.is_empty():
        text = (
            "This bundle predicts no spread, so an effect cannot be held against it. n_deg is left empty. "
            "No p-value stands in for it."
        )
        return Section(title, paragraph_html(text), width="half", tone="care")
    figure = spread_plot(
        numbers(known, "effect_size"),
        numbers(known, "pred_sd"),
        names if known.height == len(names) else names_of(known),
        is_extrapolated(known),
        unit=results.unit,
    )
    html = figure_html(figure, _HEIGHT, "Effect size against the model's own spread")
    subtitle = "spread: predicted sd of single profiles, not an error of the mean; hollow: extrapolation"
    return Section(title, html, subtitle, width="half")


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

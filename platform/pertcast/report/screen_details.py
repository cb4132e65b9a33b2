"""Sections of a screen's report below its first view: what the top hits do, and what they resemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.analysis.enrichment import ranked_order, running_sum
from pertcast.naming import condition_name
from pertcast.report import profile_figures, screen_figures
from pertcast.report.page import Section, figure_html, paragraph_html
from pertcast.report.screen_results import ScreenResults
from pertcast.report.tables import fixed, table_html

_MOST_CURVES: Final = 6
_MOST_SETS: Final = 3
_MOST_NEIGHBORS: Final = 8


def heatmap(results: ScreenResults, names: Sequence[str]) -> Section:
    """Show the strongest conditions against the genes that move most; `names` are those of the hits."""
    matrix = np.stack(list(results.profiles.values()))
    figure = profile_figures.hit_heatmap(matrix, names[: len(matrix)], results.genes, results.unit)
    n_genes = min(40, len(results.genes))
    subtitle = (
        f"{len(matrix)} strongest conditions; {n_genes} of {len(results.genes):,} genes that move most "
        "in any of them; colours end at the 98 % quantile"
    )
    html = figure_html(figure, 140 + 22 * len(matrix), "Responses of the strongest conditions")
    return Section("What the top hits do", html, subtitle)


def best_hit(results: ScreenResults, names: Sequence[str]) -> Section:
    """Show every gene's response to the strongest condition."""
    mean = next(iter(results.profiles.values()))
    if results.sd is not None:
        figure = profile_figures.response_plot(mean, results.sd, results.genes, results.unit)
        subtitle = f"all {len(mean):,} genes; coloured beyond 2 predicted sd of single profiles"
    else:
        figure = profile_figures.response_bars(mean, results.genes, results.unit)
        subtitle = f"the largest responses of {len(mean):,} genes; this bundle predicts no spread"
    html = figure_html(figure, 400, f"Response of every gene to {names[0]}")
    return Section(f"Response to {names[0]}", html, subtitle, width="half")


def enrichment(results: ScreenResults, names: Sequence[str]) -> list[Section]:
    """Show the gene sets of the strongest condition, as running sums and as a table."""
    if results.sets is None or results.enrichment is None:
        text = "No gene sets were given. Add --gmt FILE to score every condition against gene sets."
        return [Section("Pathways", paragraph_html(text), width="half")]
    best = next(iter(results.profiles))
    table = results.enrichment.filter(pl.col("sig_id") == best, pl.col("es").is_not_null())
    if table.is_empty():
        text = "The strongest condition has no ranking of genes (all responses are equal)."
        return [Section("Pathways", paragraph_html(text), width="half")]
    score = pl.coalesce(pl.col("nes"), pl.col("es"))
    table = table.sort(score.abs(), "term", descending=[True, False])
    return [_running_sums(results, table.head(_MOST_SETS), names[0]), _set_table(results, table, names[0])]


def neighbors(results: ScreenResults, names: Sequence[str]) -> list[Section]:
    """Show which perturbations mimic the strongest condition, and which reverse it."""
    best = next(iter(results.profiles))
    name_of = dict(zip(results.hits["sig_id"], names, strict=True))
    found = results.neighbors.filter(pl.col("sig_id") == best, pl.col("rank") <= _MOST_NEIGHBORS)
    sections = []
    for tail, title in (("mimics", "Most similar"), ("reverses", "Most opposite")):
        rows = found.filter(tail=tail)
        table = pl.DataFrame(
            {
                "perturbation": [name_of[sig_id] for sig_id in rows["neighbor_sig_id"]],
                "cosine": rows["cosine"],
            },
            schema={"perturbation": pl.String, "cosine": pl.Float32},
        )
        caption = "Same cell line and perturbation type only. Predicted profiles on both sides."
        html = table_html(table, formats={"cosine": fixed(2)}, caption=caption)
        if table.is_empty():
            html = paragraph_html(f"No other perturbation of this screen {tail} it.")
        sections.append(Section(f"{title} to {names[0]}", html, width="half"))
    return sections


def doses(results: ScreenResults) -> Section:
    """Show effect by dose of the strongest perturbations, or say what it takes."""
    curves = dose_curves(results.sig_info, results.hits, _MOST_CURVES)
    if not curves:
        text = "No perturbation of this screen was predicted at two doses. Give --doses 0.1,1,10 for curves."
        return Section("Dose response", paragraph_html(text), width="half")
    html = figure_html(screen_figures.dose_plot(curves, results.unit), 400, "Effect size by dose")
    subtitle = f"the {len(curves)} strongest perturbations; predicted points joined, no curve is fitted"
    return Section("Dose response", html, subtitle, width="half")


def _running_sums(results: ScreenResults, table: pl.DataFrame, name: str) -> Section:
    assert results.sets is not None
    profile = next(iter(results.profiles.values()))
    rank_of = np.argsort(ranked_order(profile[None, :])[0])
    curves = []
    for term in table["term"]:
        members = results.sets.members_of(results.sets.names.index(term))
        curves.append((term, running_sum(profile, members), np.sort(rank_of[members])))
    figure = profile_figures.running_sum_plot(curves)
    html = figure_html(figure, 400, f"Running enrichment sums of {name}")
    return Section(f"Running sums of {name}", html, "the sets with the largest scores", width="half")


def _set_table(results: ScreenResults, table: pl.DataFrame, name: str) -> Section:
    assert results.sets is not None
    sets = results.sets
    used = pl.Series(
        "used", [f"{size} of {full}" for size, full in zip(sets.sizes, sets.full_sizes, strict=True)]
    )
    used_of = pl.DataFrame({"term": list(sets.names), "used": used})
    shown = table.head(12).join(used_of, on="term", how="left", maintain_order="left")
    dropped = [item.name for item in sets.dropped]
    caption = (
        f"gseapy prerank on {name}: gene labels permuted, which ignores that genes are correlated; screen z "
        f"compares with the same set over this screen. Background: the {len(results.genes):,} genes "
        f"predicted. {len(sets)} sets tested, {len(dropped)} dropped"
    )
    caption += f": {', '.join(dropped[:8])}{' and more' if len(dropped) > 8 else ''}." if dropped else "."
    html = table_html(
        shown.select("term", "nes", "es", "pval", "fdr", "screen_z", "used"),
        headers={
            "nes": "NES",
            "es": "ES",
            "pval": "p",
            "fdr": "FDR",
            "screen_z": "screen z",
            "used": "genes used",
        },
        formats={"nes": fixed(2), "es": fixed(2), "screen_z": fixed(1)},
        caption=caption,
    )
    return Section(f"Pathways of {name}", html, width="half")


def dose_curves(
    sig_info: pl.DataFrame, hits: pl.DataFrame, most: int
) -> list[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Return name, doses (uM, rising) and effects of the strongest perturbations with several doses."""
    keys = ["cmap_name", "pert_type", "cell_iname", "pert_time"]
    dosed = sig_info.filter(pl.col("pert_dose") > 0)
    wide = dosed.group_by(["pert_id", *keys]).agg(n=pl.col("pert_dose").n_unique()).filter(pl.col("n") > 1)
    by_id = hits.select("sig_id", "rank").join(sig_info, on="sig_id", how="left", maintain_order="left")
    ranked = by_id.join(wide, on=["pert_id", *keys], how="semi", nulls_equal=True, maintain_order="left")
    ranked = ranked.unique(subset=["pert_id", *keys], keep="first", maintain_order=True)
    curves = []
    for row in ranked.head(most).iter_rows(named=True):
        same = [pl.col(name).eq_missing(row[name]) for name in ("pert_id", *keys)]
        points = dosed.filter(*same).sort("pert_dose")
        name = condition_name({**row, "pert_dose": None})
        curves.append((name, points["pert_dose"].to_numpy(), points["effect_size"].to_numpy()))
    return curves

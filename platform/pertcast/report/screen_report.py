"""The report of a screen: the strongest hits first, then how far they can be believed, then the details."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
import polars as pl

from pertcast.naming import condition_name
from pertcast.report import screen_details, screen_figures
from pertcast.report.page import Section, badge_html, figure_html, list_html, paragraph_html, render_page
from pertcast.report.screen_function import gene_function
from pertcast.report.screen_results import ScreenResults
from pertcast.report.tables import csv_link, fixed, format_number, table_html

_MOST_HITS: Final = 15
_MOST_DOWNLOADED: Final = 1_000
_MOST_GENES: Final = 3
_GENE_SEPARATOR: Final = ";"


def screen_report(results: ScreenResults) -> str:
    """Return the report as one self-contained HTML document."""
    names = [condition_name(row) for row in results.hits.iter_rows(named=True)]
    sections = [
        _answer(results, names),
        _ranks(results, names),
        _spread(results, names),
        _hit_table(results, names),
        screen_details.heatmap(results, names),
        screen_details.best_hit(results, names),
        *screen_details.enrichment(results, names),
        *screen_details.neighbors(results, names),
        screen_details.doses(results),
        *gene_function(results.function),
        _trust(results),
        _limits(results),
    ]
    return render_page(
        title=results.title, provenance=results.provenance, sections=sections, footer=results.footer
    )


def _answer(results: ScreenResults, names: Sequence[str]) -> Section:
    best = results.hits.row(0, named=True)
    if best["effect_size"] == 0:
        text = "The model predicts no response for any condition: nothing can be ranked."
        return Section("", paragraph_html(text, lead=True), tone="care")
    seen = results.hits["flag"].str.starts_with("extrapolation").fill_null(True)
    tone, word = ("care", "extrapolation") if seen[0] else ("good", "seen in training")
    text = (
        f"Strongest predicted effect: {names[0]}, {format_number(best['effect_size'])} {results.unit} "
        f"(rms over {len(results.genes):,} genes)"
    )
    if best["n_deg"] is not None:
        text += f", {best['n_deg']:,} genes beyond 2 predicted sd"
    badge = badge_html(word, tone)  # type: ignore[arg-type]
    note = (
        f"{results.hits.height:,} conditions ranked by predicted effect; {int(seen.sum()):,} of them "
        "extrapolate beyond the training data. These are forecasts, not measurements."
    )
    return Section("", f'<p class="lead">{badge} {escape(text)}.</p>{paragraph_html(note, muted=True)}')


def _ranks(results: ScreenResults, names: Sequence[str]) -> Section:
    figure = screen_figures.rank_plot(results.hits, names, results.unit)
    shown = len(screen_figures.thinned(results.hits.height))
    subtitle = f"{shown:,} of {results.hits.height:,} conditions shown; hollow: extrapolation"
    html = figure_html(figure, 290, "Effect size of every condition by rank")
    return Section("Rank plot", html, subtitle, width="half")


def _spread(results: ScreenResults, names: Sequence[str]) -> Section:
    if results.hits.is_empty() or results.sig_info["pred_sd"].null_count():
        text = (
            "This bundle predicts no spread, so an effect cannot be held against it. n_deg is left empty. "
            "No p-value stands in for it."
        )
        return Section("Effect against spread", paragraph_html(text), width="half", tone="care")
    spread = results.sig_info.select("sig_id", "pred_sd")
    hits = results.hits.join(spread, on="sig_id", how="left", maintain_order="left")
    figure = screen_figures.spread_plot(hits, names, results.unit)
    html = figure_html(figure, 290, "Effect size against the model's own spread")
    subtitle = "spread: predicted sd of single profiles, not an error of the mean; hollow: extrapolation"
    return Section("Effect against spread", html, subtitle, width="half")


def _hit_table(results: ScreenResults, names: Sequence[str]) -> Section:
    top = results.hits.head(_MOST_HITS)
    table = top.select(
        "rank",
        pl.Series("condition", names[: top.height]),
        "effect_size",
        "n_deg",
        pl.Series("top_up", [_few_genes(text) for text in top["top_up"]]),
        pl.Series("top_down", [_few_genes(text) for text in top["top_down"]]),
        pl.Series("trust", [_badge(flag) for flag in top["flag"]]),
        top.select("sig_id").join(results.sig_info, on="sig_id", how="left", maintain_order="left")[
            "nn_train_dist"
        ],
    )
    headers = {
        "effect_size": f"effect ({results.unit})",
        "n_deg": "genes > 2 sd",
        "top_up": "most increased",
        "top_down": "most decreased",
        "nn_train_dist": "distance",
    }
    downloaded = results.hits.head(_MOST_DOWNLOADED)
    caption = (
        f"{top.height} of {results.hits.height:,} conditions; all of them in hits.csv, the first "
        f"{downloaded.height:,} also in this page's csv. Effect: root mean square of the predicted response "
        "over genes. p_value and fdr are empty: no calibration data was given to this screen, and a "
        "deterministic forecast has no replicates to take them from. Distance: to the nearest training "
        "perturbation."
    )
    html = table_html(table, headers=headers, raw_columns=["trust"], caption=caption)
    return Section("Hits", html + csv_link(downloaded, "top_hits.csv"))


def _few_genes(text: str | None) -> str:
    """Return the first genes of a list, and how many more there are."""
    genes = [gene for gene in (text or "").split(_GENE_SEPARATOR) if gene]
    more = f" + {len(genes) - _MOST_GENES}" if len(genes) > _MOST_GENES else ""
    return ", ".join(genes[:_MOST_GENES]) + more


def _badge(flag: str | None) -> str:
    if flag is None:
        return badge_html("unknown", "care")
    return badge_html(flag.split(":")[0], "good" if flag == "seen in training" else "care")


def _trust(results: ScreenResults) -> Section:
    info = results.sig_info
    counts = results.hits["flag"].fill_null("not known").value_counts(sort=True, name="conditions")
    counts = counts.sort("conditions", "flag", descending=[True, False])
    html = table_html(counts, headers={"flag": "applicability"})
    distance = info["nn_train_dist"].drop_nulls().to_numpy()
    if len(distance):
        html += paragraph_html(
            "Distance to the nearest training perturbation: median "
            f"{format_number(float(np.median(distance)))}, largest {format_number(float(np.max(distance)))}."
        )
    known = {name: value for name, value in results.metrics.items() if value is not None}
    if known:
        rows = pl.DataFrame({"metric": list(known), "held out": list(known.values())})
        html += table_html(
            rows, formats={"held out": fixed(3)}, caption="Of this bundle, on held-out conditions."
        )
        return Section("Can it be believed?", html, width="half")
    html += paragraph_html(
        "This bundle carries no held-out metrics: nothing here says whether it beats a baseline. Run "
        "`pertcast evaluate` on its run before believing a hit."
    )
    return Section("Can it be believed?", html, width="half", tone="care")


def _limits(results: ScreenResults) -> Section:
    items = [
        "No false-discovery rate: effect sizes are ranked, not tested. Weak and absent effects look alike.",
        "Ranks compare predictions with predictions; a large predicted effect is not a replicated one.",
        "Extrapolated conditions (hollow, marked) lie outside what the held-out metrics were measured on.",
        f"Only the {len(results.genes):,} genes of the training data; sets are judged by these genes alone.",
        "Profiles are stored as float16; effects, scores and top genes were computed before rounding.",
    ]
    if results.n_refused:
        items.append(f"{results.n_refused:,} rows of the list could not be predicted: see refused.csv.")
    if results.n_repeated:
        items.append(f"{results.n_repeated:,} rows of the list repeat another row and count once.")
    return Section("What this does not show", list_html(items), tone="care")

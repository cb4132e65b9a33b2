"""The report of a screen: the strongest hits first, then how far they can be believed, then the details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.analysis.enrichment import ranked_order, running_sum
from pertcast.analysis.gene_sets import SetIndex
from pertcast.report import screen_figures
from pertcast.report.page import Section, badge_html, figure_html, list_html, paragraph_html, render_page
from pertcast.report.tables import fixed, format_number, table_html

_MOST_HITS: Final = 50
_MOST_CURVES: Final = 6
_MOST_SETS: Final = 3
_MOST_NEIGHBORS: Final = 8
_TYPE_WORDS: Final = {
    "trt_cp": "",
    "trt_sh": "knock-down",
    "trt_xpr": "knock-out",
    "trt_act": "activation",
    "trt_oe": "over-expression",
    "trt_lig": "cytokine",
}


@dataclass(frozen=True)
class ScreenResults:
    """What the report of a screen is made from.

    Attributes
    ----------
    title, provenance, footer
        First line, second line, last line.
    unit
        Unit of a response, such as "z-score" or "log2 difference".
    genes
        Names of the G genes.
    sig_info
        One row a condition, in the order of the profiles.
    hits
        Ranked conditions, `pertcast.analysis.hits.HIT_COLUMNS`.
    profiles
        sig_id -> response (G,) of the reported hits, best first.
    sd
        (G,) predicted standard deviation of the first hit, or None where the bundle knows none.
    sets
        Gene sets, or None.
    enrichment
        Enrichment of the reported hits: sig_id, term, es, nes, pval, fdr, size, lead_genes; or None.
    neighbors
        sig_id, neighbor_sig_id, tail, rank, cosine.
    n_refused, n_repeated
        Rows of the list left out because they cannot be predicted, or say the same as another.
    metrics
        Held-out metrics of the bundle by name; empty where it was not evaluated.
    """

    title: str
    provenance: str
    footer: str
    unit: str
    genes: tuple[str, ...]
    sig_info: pl.DataFrame
    hits: pl.DataFrame
    profiles: Mapping[str, NDArray[np.float32]]
    sd: NDArray[np.float32] | None
    sets: SetIndex | None
    enrichment: pl.DataFrame | None
    neighbors: pl.DataFrame
    n_refused: int
    n_repeated: int
    metrics: Mapping[str, float | None]


def condition_name(row: Mapping[str, object]) -> str:
    """Write a condition for people: "TP53 knock-out, A549", "vorinostat 10 uM, MCF7, 24 h"."""
    words = [str(row["cmap_name"]), _TYPE_WORDS.get(str(row["pert_type"]), str(row["pert_type"]))]
    if row.get("pert_dose") is not None:
        words.append(f"{row['pert_dose']:.4g} uM")
    name = " ".join(word for word in words if word) + f", {row['cell_iname']}"
    return name if row.get("pert_time") is None else f"{name}, {row['pert_time']:.4g} h"


def screen_report(results: ScreenResults) -> str:
    """Return the report as one self-contained HTML document."""
    names = [condition_name(row) for row in results.hits.iter_rows(named=True)]
    sections = [
        _answer(results, names),
        _ranks(results, names),
        _spread(results, names),
        _hit_table(results, names),
        _heatmap(results, names),
        _best_hit(results, names),
        *_enrichment(results, names),
        *_neighbors(results, names),
        _doses(results),
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
    html = figure_html(figure, 400, "Effect size of every condition by rank")
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
    html = figure_html(figure, 400, "Effect size against the model's own spread")
    subtitle = "spread: predicted sd of single profiles, not an error of the mean; hollow: extrapolation"
    return Section("Effect against spread", html, subtitle, width="half")


def _hit_table(results: ScreenResults, names: Sequence[str]) -> Section:
    top = results.hits.head(_MOST_HITS)
    badges = [_badge(flag) for flag in top["flag"]]
    table = top.select(
        "rank",
        pl.Series("condition", names[: top.height]),
        "effect_size",
        "n_deg",
        "top_up",
        "top_down",
        pl.Series("trust", badges),
    )
    headers = {
        "effect_size": f"effect ({results.unit})",
        "n_deg": "genes > 2 sd",
        "top_up": "most increased",
        "top_down": "most decreased",
    }
    caption = (
        f"{top.height} of {results.hits.height:,} conditions; all of them in hits.csv. Effect: root mean "
        "square of the predicted response over genes. p_value and fdr are empty: no calibration data was "
        "given to this screen, and a deterministic forecast has no replicates to take them from."
    )
    html = table_html(table, headers=headers, raw_columns=["trust"], caption=caption, download="top_hits.csv")
    return Section("Hits", html)


def _badge(flag: str | None) -> str:
    if flag is None:
        return badge_html("unknown", "care")
    return badge_html(flag, "good" if flag == "seen in training" else "care")


def _heatmap(results: ScreenResults, names: Sequence[str]) -> Section:
    matrix = np.stack(list(results.profiles.values()))
    figure = screen_figures.hit_heatmap(matrix, names[: len(matrix)], results.genes, results.unit)
    n_genes = min(40, len(results.genes))
    subtitle = (
        f"{len(matrix)} strongest conditions; {n_genes} of {len(results.genes):,} genes that move most "
        "in any of them; colours end at the 98 % quantile"
    )
    html = figure_html(figure, 140 + 22 * len(matrix), "Responses of the strongest conditions")
    return Section("What the top hits do", html, subtitle)


def _best_hit(results: ScreenResults, names: Sequence[str]) -> Section:
    mean = next(iter(results.profiles.values()))
    if results.sd is not None:
        figure = screen_figures.response_plot(mean, results.sd, results.genes, results.unit)
        subtitle = f"all {len(mean):,} genes; coloured beyond 2 predicted sd of single profiles"
    else:
        figure = screen_figures.response_bars(mean, results.genes, results.unit)
        subtitle = f"the largest responses of {len(mean):,} genes; this bundle predicts no spread"
    html = figure_html(figure, 400, f"Response of every gene to {names[0]}")
    return Section(f"Response to {names[0]}", html, subtitle, width="half")


def _enrichment(results: ScreenResults, names: Sequence[str]) -> list[Section]:
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


def _running_sums(results: ScreenResults, table: pl.DataFrame, name: str) -> Section:
    assert results.sets is not None
    profile = next(iter(results.profiles.values()))
    rank_of = np.argsort(ranked_order(profile[None, :])[0])
    curves = []
    for term in table["term"]:
        members = results.sets.members_of(results.sets.names.index(term))
        curves.append((term, running_sum(profile, members), np.sort(rank_of[members])))
    figure = screen_figures.running_sum_plot(curves)
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


def _neighbors(results: ScreenResults, names: Sequence[str]) -> list[Section]:
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


def _doses(results: ScreenResults) -> Section:
    curves = dose_curves(results.sig_info, results.hits, _MOST_CURVES)
    if not curves:
        text = "No perturbation of this screen was predicted at two doses. Give --doses 0.1,1,10 for curves."
        return Section("Dose response", paragraph_html(text), width="half")
    html = figure_html(screen_figures.dose_plot(curves, results.unit), 400, "Effect size by dose")
    subtitle = f"the {len(curves)} strongest perturbations; predicted points joined, no curve is fitted"
    return Section("Dose response", html, subtitle, width="half")


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

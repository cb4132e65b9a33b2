"""The first and the last section of a screen's report: what was found, and what it does not show."""

from __future__ import annotations

from html import escape
from types import MappingProxyType
from typing import Final

from pertcast.report.page import Section, list_html, paragraph_html
from pertcast.report.screen.results import ScreenResults
from pertcast.report.screen.results_parts import Significance
from pertcast.report.screen.words import (
    is_calibrated,
    is_ranked_by_effect,
    trust_badge,
    verb,
    why_uncalibrated,
)
from pertcast.report.tables import format_number
from pertcast.report.theme import Tone

_ABSENT: Final = MappingProxyType(
    {
        "significance": (
            "False-discovery rate",
            "Nothing calibrates this bundle by measured inactive conditions, so p_value and fdr are empty.",
        ),
        "enrichment": (
            "Pathways",
            "No gene sets were given. Add --gmt FILE to score every condition against gene sets.",
        ),
        "selectivity": (
            "Same perturbation across cell lines",
            "Every perturbation was predicted in one cell line. Give --cells A,B to compare them.",
        ),
        "doses": (
            "Dose response",
            "No perturbation was predicted at two doses. Give --doses 0.1,1,10 for curves.",
        ),
        "map": ("Map of profiles", "There are too few profiles, or they do not differ."),
    }
)
"""Part of a report -> its title, and why a screen usually has none."""


def verdict(results: ScreenResults, best: str) -> Section:
    """Say how many conditions stand out, where that is known, and which one comes first.

    Parameters
    ----------
    results
        The screen.
    best
        Name of the first hit.
    """
    first = results.hits.row(0, named=True)
    if first["effect_size"] == 0 and is_ranked_by_effect(results):
        text = "The model predicts no response for any condition: nothing can be ranked."
        return Section("", paragraph_html(text, lead=True), tone="care")
    if first["score"] == 0 and results.kind == "pairs" and results.signature is None:
        text = "The model predicts that every pair is the sum of its singles: nothing can be ranked."
        return Section("", paragraph_html(text, lead=True), tone="care")
    lines, tone = _counted(results)
    lines.append(f'<p class="lead">{trust_badge(first["flag"])} {escape(_first(results, best))}.</p>')
    return Section("", "".join(lines) + paragraph_html(_scope(results), muted=True), tone=tone)


def _scope(results: ScreenResults) -> str:
    """Say how many conditions there are, and how many of them extrapolate."""
    flags = results.flags
    outside = flags.filter(flags["flag"].str.starts_with("extrapolation").fill_null(False))
    text = (
        f"{results.n_conditions:,} conditions; {outside['conditions'].sum():,} of them extrapolate beyond "
        "the training data"
    )
    unknown = flags.filter(flags["flag"].is_null())["conditions"].sum()
    text += f", for {unknown:,} it is not known. " if unknown else ". "
    return text + "These are forecasts, not measurements."


def _counted(results: ScreenResults) -> tuple[list[str], Tone]:
    """Return the sentence on hits, and the tone of the card."""
    found = results.significance
    if found is None or not is_calibrated(results):
        text = (
            f"Ranked, not tested: {why_uncalibrated(results)}. So no false-discovery rate is known and no "
            "number of hits is claimed."
        )
        return [paragraph_html(text, lead=True)], "plain"
    text = (
        f"{_hits(found)} among the {found.n_calibrated:,} conditions that measured inactive perturbations "
        "calibrate"
    )
    rest = results.n_conditions - found.n_calibrated
    text += f"; {rest:,} others are ranked only." if rest else "."
    return [paragraph_html(text, lead=True)], "good" if found.n_at_10 else "care"


def _hits(found: Significance) -> str:
    count = found.n_at_10
    if not count:
        return "No hit at a false-discovery rate of 10 %"
    word = "hit" if count == 1 else "hits"
    return f"{count:,} {word} at a false-discovery rate of 10 %, {found.n_at_5:,} of them at 5 %,"


def _first(results: ScreenResults, best: str) -> str:
    row = results.hits.row(0, named=True)
    effect = f"{format_number(row['effect_size'])} {results.unit} (rms over {len(results.genes):,} genes)"
    if results.signature is not None:
        text = f"{_superlative(results)}: {best}, {results.signature.score} {format_number(row['score'])}"
        text += f", predicted effect {effect}"
    elif results.kind == "pairs":
        text = f"Largest predicted excess over the sum of its singles: {best}, "
        text += f"{format_number(row['score'])} {results.unit}; the pair's effect is {effect}"
    else:
        text = f"Strongest predicted effect: {best}, {effect}"
    if row["n_deg"] is not None:
        text += f", {row['n_deg']:,} genes beyond 2 predicted sd"
    if row["fdr"] is not None:
        text += f", FDR {format_number(row['fdr'])}"
    return text


def _superlative(results: ScreenResults) -> str:
    return "Best mimic of the signature" if verb(results) == "mimic" else "Best reversal of the signature"


def signature(results: ScreenResults) -> list[Section]:
    """Say what the screen was asked for, and how much of it the profiles can answer."""
    asked = results.signature
    if asked is None:
        return []
    share = asked.n_used / asked.n_given if asked.n_given else 0.0
    text = (
        f"Conditions are ranked by how well they {asked.objective} {asked.name}: {asked.score} of the "
        f"predicted profile with the signature. {asked.n_used:,} of its {asked.n_given:,} genes are used."
    )
    html = paragraph_html(text)
    if asked.unused:
        html += list_html([f"{count:,} genes: {reason}" for reason, count in asked.unused.items()])
    note = "Whether a score this good arises by chance is not tested: p-values, where shown, are of effects."
    html += paragraph_html(note, muted=True)
    return [Section("What was asked for", html, tone="plain" if share >= 0.5 else "care")]


def absent_parts(results: ScreenResults) -> list[Section]:
    """Say which parts of a report this screen has none of, and what it takes."""
    has_part = {
        "significance": results.significance is not None,
        "enrichment": results.enrichment is not None and results.sets is not None,
        "selectivity": results.selectivity is not None and bool(results.selectivity.names),
        "doses": results.doses is not None and not results.doses.fits.is_empty(),
        "map": results.map is not None and results.map.points.height > 1,
    }
    items = [
        f"{title}. {results.absent.get(part, text)}"
        for part, (title, text) in _ABSENT.items()
        if not has_part[part]
    ]
    return [Section("Not in this screen", list_html(items))] if items else []


def limits(results: ScreenResults) -> Section:
    """List what the screen does not show."""
    items = [
        *_significance_limits(results.significance if is_calibrated(results) else None),
        "Ranks compare predictions with predictions; a large predicted effect is not a replicated one.",
        "Extrapolated conditions (hollow, marked) lie outside what the held-out metrics were measured on.",
        f"Only the {len(results.genes):,} genes of the training data; sets are judged by these genes alone.",
        "Profiles are stored as float16; effects, scores and top genes were computed before rounding.",
    ]
    if results.signature is not None:
        items.append("A reversed signature is a reversed transcription profile, not a cured disease.")
    if results.kind == "pairs":
        items.append(
            "Excess is that of predictions: a model that adds singles predicts none, whatever is true."
        )
    if results.n_refused:
        items.append(f"{_rows(results.n_refused)} of the list could not be predicted: see refused.csv.")
    if results.n_repeated:
        items.append(f"Left out: {_rows(results.n_repeated)} of the list that say the same as another.")
    return Section("What this does not show", list_html(items), tone="care")


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _significance_limits(found: Significance | None) -> list[str]:
    if found is None:
        return [
            "No false-discovery rate: effect sizes are ranked, not tested. Weak and absent effects look "
            "alike."
        ]
    return [
        "A p-value says how often a measured inactive perturbation is predicted to do at least as much. It "
        "holds for conditions like those that calibrate it, and only for these is there one.",
        "A hit has an effect beyond what measurements call inactive; its genes may still be wrong.",
    ]

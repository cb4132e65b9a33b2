"""Sections of a report about dose and time: the answer, curves, EC50, and what is not determined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from pertcast.analysis.association import Interval
from pertcast.analysis.dose_response import MEASURED, DoseResponse
from pertcast.analysis.dose_response.ec50 import STATES, Ec50Agreement
from pertcast.analysis.dose_response.result import FittedCurve, dense_title
from pertcast.report.dose_response_figures import curve_panels, ec50_scatter
from pertcast.report.figures import interval_forest
from pertcast.report.page import Section, figure_html, list_html, paragraph_html
from pertcast.report.tables import fixed, table_html

MOST_PANELS: Final = 6
MOST_ROWS: Final = 40
_AGREEMENT: Final = ("within 2x", "strong", "r log EC50", "size")
_STATES: Final = {
    "identified": "EC50 stated",
    "open": "open on one side",
    "above": "above the top dose",
    "below": "below the lowest dose",
    "flat": "flat",
}


def dose_response_sections(result: DoseResponse, unit: str = "response") -> list[Section]:
    """Return the cards of a result, the answer first.

    Parameters
    ----------
    result
        Of `pertcast.analysis.dose_response.dose_response`.
    unit
        Unit of a response (`pertcast.naming.response_unit`).

    Returns
    -------
    list of Section
        Growth with dose and time; curves of the strongest perturbations; EC50; a table of the curves. Without
        curves, only the first.
    """
    sections = [_answer(result), *_growth(result)]
    if result.curves:
        sections += [_panels(result, unit), _ec50(result), _agreement(result), _table(result)]
    return sections


def _answer(result: DoseResponse) -> Section:
    rows = [
        {
            "": found.title,
            "dose, all curves": found.dose.words(),
            "dose, strong curves": found.dose_strong.words(),
            "time, all series": found.time.words(),
            "time, strong series": found.time_strong.words(),
        }
        for found in result.drift
    ]
    html = paragraph_html(result.sentence(), lead=True)
    html += table_html(
        pl.DataFrame(rows),
        row_classes=["strong" if found.title == result.model else "" for found in result.drift],
        number_columns=tuple(name for name in rows[0] if name),
        caption="Mean Spearman of effect size (root mean square over genes) with dose within perturbation, "
        "context and time, and with time within perturbation, context and dose; 95 % over perturbations. "
        "Strong: upper third by measured effect over all doses (times).",
        download="drift.csv",
    )
    html += list_html(list(result.warnings)) if result.warnings else ""
    return Section("Does the effect grow with dose and time?", html)


def _growth(result: DoseResponse) -> list[Section]:
    """Return a card for dose and one for time, those that there are intervals for."""
    found = (
        ("Growth with dose", "strong curves", [drift.dose_strong for drift in result.drift]),
        ("Growth with time", "strong series", [drift.time_strong for drift in result.drift]),
    )
    drawn = [(title, what, _forest(_titles(result), each, title)) for title, what, each in found]
    return [
        Section(title, html, f"{what}; hollow: holds 0, no growth", width="half")
        for title, what, html in drawn
        if html
    ]


def _titles(result: DoseResponse) -> list[str]:
    return [found.title for found in result.drift]


def _forest(titles: Sequence[str], found: Sequence[Interval], label: str) -> str:
    """Return intervals of the contenders as a figure; nothing where none is defined."""
    kept = [(title, each) for title, each in zip(titles, found, strict=True) if math.isfinite(each.value)]
    if not kept:
        return ""
    bounds = [(each.low, each.high) if math.isfinite(each.low) else (each.value,) * 2 for _, each in kept]
    figure = interval_forest(
        [title for title, _ in kept],
        np.array([each.value for _, each in kept]),
        np.array([low for low, _ in bounds]),
        np.array([high for _, high in bounds]),
        axis_title="mean Spearman",
        counts=[each.n for _, each in kept],
    )
    return figure_html(figure, 100 + 36 * len(kept), label)


def _panels(result: DoseResponse, unit: str) -> Section:
    shown = panels_shown(result)
    rows = -(-len(shown) // 3)
    html = figure_html(curve_panels(result, shown, unit), 120 + 250 * rows, "Dose curves")
    subtitle = (
        "response along the main direction of the perturbation's other measured curves; the strongest curve "
        "of each of the strongest perturbations whose measured EC50 is identified, then others"
    )
    return Section("Curves", html, subtitle)


def panels_shown(result: DoseResponse) -> list[FittedCurve]:
    """Return the strongest curve of each of the strongest perturbations, identified ones first."""
    ranked = sorted(result.curves, key=lambda each: not each.fits[MEASURED].is_identified)
    first: dict[str, FittedCurve] = {}
    for each in ranked:
        first.setdefault(each.curve.pert_id, each)
    return list(first.values())[:MOST_PANELS]


def _ec50(result: DoseResponse) -> Section:
    html = figure_html(ec50_scatter(result), 420, "EC50, generated against measured")
    subtitle = "95 % intervals; hollow: not identified, drawn at the edge of the tested doses where outside"
    return Section("Half-maximal doses", html, subtitle)


def _agreement_numbers(found: Ec50Agreement) -> tuple[float | None, ...]:
    """Return the columns of `_AGREEMENT`; of the measured curves themselves there is nothing to say."""
    if found.title == MEASURED:
        return (None,) * len(_AGREEMENT)
    shares = (found.within_twofold.value, found.within_twofold_strong.value, found.log_pearson.value)
    return tuple(None if math.isnan(each) else each for each in (*shares, found.amplitude))


def _agreement(result: DoseResponse) -> Section:
    rows = [
        {
            "": found.title,
            **dict(zip(_AGREEMENT, _agreement_numbers(found), strict=True)),
            "slope": result.slopes[found.title].words(),
            **{_STATES[state]: found.states[state] for state in STATES},
        }
        for found in result.agreement
    ]
    html = table_html(
        pl.DataFrame(rows),
        formats=dict.fromkeys(_AGREEMENT, fixed(2)),
        row_classes=["strong" if found.title == result.model else "" for found in result.agreement],
        number_columns=("slope",),
        caption="Within 2x: of the curves with an identified measured EC50, those of which nothing is said "
        "that is off by more than twofold. Size: median of generated over measured response at the top dose. "
        "Slope: shared by curves with fewer than five doses. The last columns count curves.",
        download="ec50_agreement.csv",
    )
    return Section("What can be said of EC50", html)


def _table(result: DoseResponse) -> Section:
    dense = dense_title(result.model)
    has_dense = dense in result.slopes
    rows = [
        {
            "perturbation": each.curve.name,
            "where": each.curve.place,
            "effect": each.curve.effect_size,
            "measured EC50 (uM)": each.fits[MEASURED].words(),
            "generated EC50 (uM)": each.fits[result.model].words(),
            **(
                {"on a dense grid": each.fits[dense].words() if dense in each.fits else ""}
                if has_dense
                else {}
            ),
            "direction": each.curve.direction_from,
            "alignment": each.curve.alignment,
        }
        for each in result.curves[:MOST_ROWS]
    ]
    html = table_html(
        pl.DataFrame(rows),
        formats={"effect": fixed(2), "alignment": fixed(2)},
        number_columns=("measured EC50 (uM)", "generated EC50 (uM)", "on a dense grid"),
        caption=f"{len(rows):,} of {len(result.curves):,} curves, strongest first. Alignment: cosine of the "
        "direction with the measured response at the top dose. An EC50 outside the tested doses is not a "
        "number.",
        download="dose_curves.csv",
    )
    return Section("Curve by curve", html)

"""Sections of a screen's report across contexts: cell lines, doses, pairs, and the map of all profiles."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl

from pertcast.analysis.screened_doses import half_maximal_words
from pertcast.analysis.selectivity import LIMITS
from pertcast.naming import condition_name
from pertcast.report.page import Section, figure_html, paragraph_html
from pertcast.report.screen.dose_figures import COLUMNS, DosePanel, dose_panels
from pertcast.report.screen.heatmaps import heatmap
from pertcast.report.screen.panel_sections import panel_section
from pertcast.report.screen.panels import map_panel
from pertcast.report.screen.results import ScreenResults
from pertcast.report.screen.results_parts import DoseCurves, PairResults, Selectivity
from pertcast.report.screen.words import names_of
from pertcast.report.tables import csv_link, fixed, table_html

_MOST_ROWS: Final = 12
_MOST_CELLS: Final = 60
_MOST_CURVES: Final = 6
_SELECTIVITY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "n_contexts": "cell lines",
        "strongest_cell": "strongest in",
        "strongest_effect": "effect there",
        "median_other_effect": "median elsewhere",
        "robust_z": "robust z",
        "tau": "tau",
        "relative_strongest_cell": "strongest for the line",
        "mean_cosine": "mean cosine",
    }
)
_PAIR_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kind": "kind",
        "excess_size": "excess",
        "additive_size": "sum of singles",
        "first_size": "first single",
        "second_size": "second single",
        "relative_excess": "relative excess",
        "c": "c",
        "dominant_single": "dominant",
    }
)
_STATE_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "flat": "flat: no response at any dose",
        "not monotone": "not monotone: no EC50",
        "other shape": "not log-logistic: no EC50",
        "too few doses": "too few doses for a fit",
    }
)


def selectivity(results: ScreenResults) -> list[Section]:
    """Show the perturbations that differ most between cell lines."""
    title = "Same perturbation across cell lines"
    found = results.selectivity
    if found is None or not len(found.names):
        return []
    shown = _strongest_columns(found)
    values = found.effects[:, shown]
    limit = float(np.nanmax(values, initial=0.0)) or 1.0
    cells = [found.cells[column] for column in shown]
    figure = heatmap(values, found.names, cells, colour_title=f"effect ({results.unit})", limits=(0.0, limit))
    subtitle = f"the {len(found.names)} most selective perturbations; blank: not predicted"
    if len(cells) < len(found.cells):
        subtitle += f"; {len(cells)} of {len(found.cells)} cell lines with the largest effects"
    html = figure_html(figure, 160 + 20 * len(found.names), "Predicted effect by perturbation and cell line")
    return [Section(title, html + _selectivity_table(found), subtitle)]


def _strongest_columns(found: Selectivity) -> list[int]:
    if len(found.cells) <= _MOST_CELLS:
        return list(range(len(found.cells)))
    largest = np.nan_to_num(found.effects, nan=0.0).max(axis=0)
    return sorted(int(column) for column in np.argsort(-largest, kind="stable")[:_MOST_CELLS])


def _selectivity_table(found: Selectivity) -> str:
    known = [name for name in _SELECTIVITY_HEADERS if name in found.top.columns]
    names = pl.Series("perturbation", found.names[:_MOST_ROWS], dtype=pl.String)
    html = table_html(
        found.top.head(_MOST_ROWS).select(names, *known),
        headers=_SELECTIVITY_HEADERS,
        formats={name: fixed(2) for name in ("robust_z", "tau", "mean_cosine") if name in known},
        caption=LIMITS,
    )
    return html + csv_link(found.top, "selectivity.csv")


def doses(results: ScreenResults) -> list[Section]:
    """Show effect by dose of the strongest perturbations, fitted where the doses determine a curve."""
    title = "Dose response"
    found = results.doses
    if found is None or found.fits.is_empty():
        return []
    panels = _panels(found)
    rows = -(-len(panels) // COLUMNS)
    html = figure_html(dose_panels(panels, results.unit), 60 + 290 * rows, "Response by dose")
    n_fitted = sum(panel.fit is not None for panel in panels)
    subtitle = (
        f"the {len(panels)} strongest perturbations, response along each curve's main direction; line: "
        f"fitted ({n_fitted} of {len(panels)}); dotted: points joined, no fit"
    )
    return [Section(title, html + _dose_table(found), subtitle)]


def _panels(found: DoseCurves) -> list[DosePanel]:
    fits = found.fits.head(_MOST_CURVES).with_columns(words=half_maximal_words())
    panels = []
    for row in fits.iter_rows(named=True):
        points = found.points.filter(pl.col("curve") == row["curve"]).sort("pert_dose")
        fit = tuple(row[name] for name in ("bottom", "top", "ec50", "slope"))
        panels.append(
            DosePanel(
                name=condition_name({**row, "pert_dose": None}),
                said=_STATE_WORDS.get(row["state"], f"EC50 {row['words']} uM"),
                doses=points["pert_dose"].to_numpy(),
                responses=points["response"].to_numpy(),
                fit=None if None in fit else (fit[0], fit[1], fit[2], fit[3]),
            )
        )
    return panels


def _dose_table(found: DoseCurves) -> str:
    named = found.fits.with_columns(
        perturbation=pl.Series(names_of(found.fits.with_columns(pert_dose=None)), dtype=pl.String)
    )
    shown = named.head(_MOST_ROWS).with_columns(words=half_maximal_words())
    counted = ", ".join(f"{count:,} {state}" for state, count in found.states.iter_rows())
    html = table_html(
        shown.select("perturbation", "n_doses", "words", "slope", "top", "largest_effect_size"),
        headers={
            "n_doses": "doses",
            "words": "EC50 (uM)",
            "slope": "Hill slope",
            "top": "top",
            "largest_effect_size": "largest effect",
        },
        formats={"slope": fixed(2)},
        number_columns=["words"],
        caption=(
            "Predictions have no noise: the ends of an EC50 say what the doses determine, not how sure the "
            "model is; a bound or words where they determine none."
            + (f" All curves: {counted}." if counted else "")
        ),
    )
    return html + csv_link(named, "dose_response.csv")


def pairs(results: ScreenResults) -> list[Section]:
    """Show what pairs do beyond the sum of their singles."""
    found = results.pairs
    if found is None:
        return []
    counts = paragraph_html(found.summary)
    counts += table_html(found.kinds, caption="Kinds of pairs over the whole screen, of predictions.")
    return [
        Section("Pairs by kind", counts + csv_link(found.kinds, "pair_kinds.csv"), width="narrow"),
        _pair_table(found, results.unit),
    ]


def _pair_table(found: PairResults, unit: str) -> Section:
    known = [name for name in _PAIR_HEADERS if name in found.top.columns]
    names = pl.Series("pair", names_of(found.top), dtype=pl.String)
    html = table_html(
        found.top.select(names, *known).head(_MOST_ROWS),
        headers=_PAIR_HEADERS,
        formats={name: fixed(2) for name in ("relative_excess", "c") if name in known},
        caption=(
            f"Sizes: root mean square over genes ({unit}) of the excess, the sum of the singles and each "
            "single. c: projection of the pair on that sum, 1 where it is additive. Singles are predictions "
            "too."
        ),
    )
    return Section("Largest excess", html + csv_link(found.top, "top_pairs.csv"), width="wide")


def profiles_on_a_plane(results: ScreenResults) -> list[Section]:
    """Show where profiles lie beside each other."""
    panel = map_panel(results)
    return [] if panel.figure is None else [panel_section(panel)]

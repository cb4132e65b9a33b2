"""Sections about a latent space: the answer, the map, drift along dose, middle doses, limits."""

from __future__ import annotations

import math

import polars as pl

from pertcast.analysis.latent_space import LatentSpace
from pertcast.analysis.latent_space.result import DRIFT_BAR, not_shown, path_sentence
from pertcast.report.latent_figures import (
    MOST_WALKS,
    between_figure,
    drift_figure,
    map_figure,
    path_figure,
)
from pertcast.report.page import Section, figure_html, list_html, paragraph_html
from pertcast.report.tables import table_html
from pertcast.report.theme import Tone


def latent_sections(result: LatentSpace) -> list[Section]:
    """Return the cards of a report: answer and table, map, and for perturbations with doses their ways."""
    sections = [_answer(result), _map(result)]
    if result.moved is not None:
        sections.append(_moved(result))
    if result.walks:
        sections += [_drift(result), _between(result)]
    if result.path_shape is not None and result.path_shape.n_paths:
        sections.append(_paths(result))
    limits = Section("What a latent space does not show", list_html(not_shown(result)), tone="care")
    return [*sections, limits]


def _answer(result: LatentSpace) -> Section:
    dose = result.drift_of(result.model).dose_strong.value
    tone: Tone = "plain" if math.isnan(dose) else "good" if dose >= DRIFT_BAR else "care"
    rows = [
        {
            "": drift.title,
            "silhouette of cell line": result.silhouette[drift.title].words(),
            "dose, strong": drift.dose_strong.words(),
            "dose, all": drift.dose.words(),
            "time, strong": drift.time_strong.words(),
            "time, all": drift.time.words(),
        }
        for drift in result.drift
    ]
    html = paragraph_html(result.sentence(), lead=True)
    html += table_html(
        pl.DataFrame(rows),
        number_columns=tuple(name for name in rows[0] if name),
        caption="Dose and time: mean Spearman of the distance from the control with dose within "
        "perturbation, cell line and time, and with time within perturbation, cell line and dose; 95 % over "
        "perturbations. "
        f"Strong: upper third by measured distance. {result.conditions.height:,} held-out conditions of "
        f"{result.n_perturbations:,} perturbations, {result.n_dimensions} dimensions.",
        download="latent_space.csv",
    )
    return Section("Latent space", html, result.space, tone=tone)


def _map(result: LatentSpace) -> Section:
    html = figure_html(map_figure(result), 460, "Map of the latent space, measured and generated")
    subtitle = "colour: cell line; size: dose; crosses: controls; axes fitted on what was measured"
    return Section("Map", html, subtitle)


def _moved(result: LatentSpace) -> Section:
    html = figure_html(
        map_figure(result, result.moved), 460, "Measured and generated profiles relative to their controls"
    )
    subtitle = "each condition relative to its own control, at the cross; axes fitted on what was measured"
    return Section("Away from the control", html, subtitle)


def _drift(result: LatentSpace) -> Section:
    html = figure_html(drift_figure(result), 380, "Distance from the control against dose")
    shown = min(MOST_WALKS, len(result.walks))
    subtitle = f"the {shown} strongest of {len(result.walks):,} (perturbation, cell line, time)"
    return Section("Drift with dose", html, subtitle, width="half")


def _between(result: LatentSpace) -> Section:
    html = figure_html(between_figure(result), 380, "Where middle doses lie")
    rows = [
        {
            "": found.title,
            "between, strong": found.share_between.strong.words(),
            "between, all": found.share_between.every.words(),
            "off the way, strong": found.mean_off_axis.strong.words(),
        }
        for found in result.between
    ]
    html += table_html(
        pl.DataFrame(rows),
        number_columns=tuple(name for name in rows[0] if name),
        caption="Share of the doses between lowest and highest whose place is from 0 to 1, and mean distance "
        "from the straight way as a share of its length.",
    )
    return Section("Doses in between", html, "filled: the strongest third", width="half")


def _paths(result: LatentSpace) -> Section:
    html = figure_html(path_figure(result), 340, "The model's way over many doses")
    html += paragraph_html(path_sentence(result.path_shape), muted=True) if result.path_shape else ""
    subtitle = "strongest curves; evenly in log dose, within the tested doses"
    return Section("The model's way over many doses", html, subtitle)

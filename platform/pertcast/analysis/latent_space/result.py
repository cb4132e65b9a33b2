"""What is found of a latent space, as a record, as text for a terminal and as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from pertcast.analysis.association import FloatArray, Interval, plain_numbers
from pertcast.analysis.dose_response.drift import Drift
from pertcast.analysis.latent_space.profiles import MEASURED, LatentPaths
from pertcast.analysis.latent_space.walks import Between, PathShape, Walk
from pertcast.analysis.printing import decimal, sentence_lines, table_lines

SCHEMA_VERSION: Final = 1
DRIFT_BAR: Final = 0.9
"""Mean Spearman of latent drift and dose from which dose counts as kept in the latent space."""


@dataclass(frozen=True)
class LatentMap:
    """Two dimensions to look at: principal axes of what was measured.

    Attributes
    ----------
    sides
        Title -> (N, 2); "control" as well.
    share
        (2,) share of the variance along each axis.
    """

    sides: Mapping[str, FloatArray]
    share: FloatArray


@dataclass(frozen=True)
class LatentSpace:
    """What a latent space keeps of cell lines, doses and times.

    Attributes
    ----------
    space, model
        Which space it is, and who generated.
    conditions
        N rows.
    n_dimensions
        D.
    silhouette
        "measured" and the model -> mean silhouette of the cell line; NaN with one cell line.
    drift
        Of "measured" and of the model: Spearman of the distance from the control with dose and time.
    between
        Of the same: where middle doses lie.
    path_shape, paths
        The model's ways over many doses; None where none were given.
    walks
        The dose walks that curves are drawn from.
    distance
        Title -> (N,) distance from the control.
    map
        Profiles and controls as they lie.
    moved
        The same relative to each condition's own control, on axes of their own: in `map` cell lines lie so
        far apart that nothing else is seen. None where nothing moves.
    """

    space: str
    model: str
    conditions: pl.DataFrame
    n_dimensions: int
    silhouette: Mapping[str, Interval]
    drift: tuple[Drift, ...]
    between: tuple[Between, ...]
    path_shape: PathShape | None
    paths: LatentPaths | None
    walks: tuple[Walk, ...]
    distance: Mapping[str, FloatArray]
    map: LatentMap
    moved: LatentMap | None = None

    @property
    def n_perturbations(self) -> int:
        """Number of perturbations."""
        return self.conditions["pert_id"].n_unique()

    def drift_of(self, title: str) -> Drift:
        """Return the drift of "measured" or of the model."""
        return next(found for found in self.drift if found.title == title)

    def sentence(self) -> str:
        """Say in words what the space keeps."""
        generated, measured = self.silhouette[self.model], self.silhouette[MEASURED]
        said = [f"{_capital(self.space)}."]
        if math.isnan(measured.value):
            said.append("There is one cell line: nothing to tell apart.")
        else:
            said.append(
                f"Cell lines have a silhouette of {generated.value:.2f} generated and {measured.value:.2f} "
                "measured (1 apart, 0 mixed)."
            )
        dose = self.drift_of(self.model).dose_strong
        if math.isnan(dose.value):
            return " ".join([*said, "No perturbation has several doses: there is no dose to follow."])
        keeps = "keep" if dose.value >= DRIFT_BAR else "do not keep"
        said.append(
            f"Generated profiles of strong perturbations {keeps} the order of doses (Spearman of drift and "
            f"dose {dose.value:.2f}, bar {DRIFT_BAR:g}); measured ones "
            f"{self.drift_of(MEASURED).dose_strong.value:.2f}."
        )
        return " ".join(said)

    def lines(self) -> list[str]:
        """Return the result as text for a terminal, a sentence first."""
        lines = sentence_lines(self.sentence())
        lines += sentence_lines(
            f"{self.conditions.height:,} held-out conditions of {self.n_perturbations:,} perturbations in "
            f"{self.conditions['cell_iname'].n_unique():,} cell lines · {self.n_dimensions} dimensions"
        )
        lines += ["", *_silhouettes_and_drift(self)]
        if len(self.between[0].position):
            lines += ["", "Doses between the lowest and the highest", *_between(self)]
        if self.path_shape is not None and self.path_shape.n_paths:
            lines += ["", *sentence_lines(path_sentence(self.path_shape))]
        lines += ["", "What this does not show"]
        for sentence in not_shown(self):
            lines += sentence_lines(sentence, bullet=True)
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; undefined ones are None, coordinates are left out."""
        return {
            "schema": SCHEMA_VERSION,
            "space": self.space,
            "model": self.model,
            "n_dimensions": self.n_dimensions,
            "n_conditions": self.conditions.height,
            "n_perturbations": self.n_perturbations,
            "silhouette": {title: found.to_json() for title, found in self.silhouette.items()},
            "drift": [found.to_json() for found in self.drift],
            "between": [found.to_json() for found in self.between],
            "paths": None if self.path_shape is None else self.path_shape.to_json(),
            "map_share": plain_numbers(self.map.share),
        }


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _silhouettes_and_drift(found: LatentSpace) -> list[str]:
    header = ["", "silhouette", "dose, strong", "dose, all", "time, strong", "time, all"]
    rows = []
    for drift in found.drift:
        each = (drift.dose_strong, drift.dose, drift.time_strong, drift.time)
        rows.append([drift.title, found.silhouette[drift.title].words(2), *(one.words(2) for one in each)])
    note = (
        "Silhouette of the cell line; mean Spearman of the distance from the control with dose within "
        "perturbation, cell line and time, and with time within perturbation, cell line and dose [95 %, over "
        "perturbations]. Strong: upper third by measured distance."
    )
    return [*table_lines(header, rows), *sentence_lines(note)]


def _between(found: LatentSpace) -> list[str]:
    header = ["", "between, strong", "between, all", "position", "off axis, strong", "off axis, all"]
    rows = [
        [
            each.title,
            each.share_between.strong.words(2),
            each.share_between.every.words(2),
            decimal(each.median_position(only_strong=True), 2),
            each.mean_off_axis.strong.words(2),
            each.mean_off_axis.every.words(2),
        ]
        for each in found.between
    ]
    note = (
        "Share of positions along the straight way from 0 (lowest dose) to 1 (highest); median position, "
        "strong; mean distance from the way as a share of its length."
    )
    return [*table_lines(header, rows), *sentence_lines(note)]


def path_sentence(shape: PathShape) -> str:
    """Say how a model's ways over many doses look."""
    return (
        f"Over {shape.n_doses} doses, {shape.n_paths} strongest curves: distance from the control rises with "
        f"dose with a Spearman of {shape.drift.words(2)}, {shape.forward.value:.0%} of the steps go forward, "
        f"and the largest step is {shape.largest_step.words(1)} times the mean one."
    )


def not_shown(found: LatentSpace) -> list[str]:
    """Return the limits of what is found, as sentences."""
    return [
        "Measured profiles carry noise: at low doses their distance from the control is mostly that, which "
        "lowers the measured drift and pushes middle doses off the way; generated means carry none.",
        "A smooth way through a latent space is a property of the model; that it leads to the right place is "
        "the trust report's question.",
        f"The map shows {float(found.map.share.sum()):.0%} of the variance in the space; distances in it are "
        "not those that figures are made from.",
    ]

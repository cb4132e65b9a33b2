"""Dose and time response as a result: curves for figures, sentences for a terminal, JSON for files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pertcast.analysis.association import plain_number, plain_numbers
from pertcast.analysis.dose_response.curves import Curve
from pertcast.analysis.dose_response.drift import Drift
from pertcast.analysis.dose_response.ec50 import STATES, Ec50Agreement
from pertcast.analysis.dose_response.fitted import LogLogisticFit
from pertcast.analysis.dose_response.shared import ScalarCurve, SharedSlope
from pertcast.analysis.printing import decimal, percent, sentence_lines, table_lines

MEASURED: Final = "measured"
_SHOWN_CURVES: Final = 12
_NOTE: Final = (
    "> model; grows: mean Spearman of effect size with dose or time, curve by curve; within 2x: of the "
    "curves with an identified measured EC50; r log: Pearson of log EC50 where both are identified; size: "
    "generated over measured response at the top dose, strong curves; slope: shared by curves of few doses; "
    "stated, open on one side, above or below the tested doses, flat: numbers of curves. [95 %, over "
    "perturbations]"
)


def dense_title(model: str) -> str:
    """Return the title of a model's responses at more doses than were measured."""
    return f"{model}, dense grid"


@dataclass(frozen=True)
class FittedCurve:
    """One perturbation in one context at one time: responses along its direction, and their fits.

    Attributes
    ----------
    curve
        Identity, doses, direction.
    responses
        "measured" and contender -> doses and responses as they were fitted; `dense_title` of the model too
        where it was asked for more doses.
    fits
        The same titles -> the fitted curve.
    """

    curve: Curve
    responses: Mapping[str, ScalarCurve]
    fits: Mapping[str, LogLogisticFit]

    def to_json(self) -> dict[str, Any]:
        """Return identity, responses and fits as plain values."""
        curve = self.curve
        cell, pert_type, pert_id, time = curve.key
        return {
            "cell_iname": cell,
            "pert_type": pert_type,
            "pert_id": pert_id,
            "pert_time": time,
            "name": curve.name,
            "effect_size": plain_number(curve.effect_size),
            "is_strong": curve.is_strong,
            "direction_from": curve.direction_from,
            "alignment": plain_number(curve.alignment),
            "responses": {
                title: {"doses": plain_numbers(found.doses), "responses": plain_numbers(found.responses)}
                for title, found in self.responses.items()
            },
            "fits": {title: fit.to_json() for title, fit in self.fits.items()},
        }


@dataclass(frozen=True)
class DoseResponse:
    """Dose and time response of measured and generated conditions.

    Attributes
    ----------
    model
        Title of the model.
    curves
        Those with enough doses, strongest measured effect first; empty where there are none.
    slopes
        "measured" and contender -> the slope its curves share.
    agreement
        "measured", then every contender, then the model on a dense grid where it was asked for one.
    drift
        "measured", then every contender.
    n_left_out
        Conditions without a dose or with too few beside them.
    seed
        Of the bootstrap.
    warnings
        Sentences about what the figures do not show.
    """

    model: str
    curves: tuple[FittedCurve, ...]
    slopes: Mapping[str, SharedSlope]
    agreement: tuple[Ec50Agreement, ...]
    drift: tuple[Drift, ...]
    n_left_out: int
    seed: int
    warnings: tuple[str, ...]

    def agreement_of(self, title: str) -> Ec50Agreement:
        """Return the agreement of a contender."""
        return next(found for found in self.agreement if found.title == title)

    def drift_of(self, title: str) -> Drift:
        """Return the drift of a contender."""
        return next(found for found in self.drift if found.title == title)

    def sentence(self) -> str:
        """Say the answer in words."""
        drift, truth = self.drift_of(self.model), self.drift_of(MEASURED)
        text = (
            f"The effect of {self.model} grows with dose in strong curves at Spearman "
            f"{drift.dose_strong.words(2)} (measured {truth.dose_strong.words(2)}), with time at "
            f"{drift.time_strong.words(2)} (measured {truth.time_strong.words(2)})"
        )
        found = self.agreement_of(self.model)
        if found.within_twofold.n:
            share, count = percent(found.within_twofold.value), found.within_twofold.n
            text += (
                f"; its EC50 agree with the measured ones within twofold in {share} of the {count:,} curves "
                "where one is identified"
            )
        return f"{text}."

    def lines(self) -> list[str]:
        """Return the result as aligned text: the answer, contenders, strongest curves, what was left out."""
        return [
            *sentence_lines(self.sentence()),
            "",
            *self._drift_lines(),
            "",
            *self._ec50_lines(),
            "",
            *self._curve_lines(),
            "",
            *(line for text in self.warnings for line in sentence_lines(text, bullet=True)),
        ]

    def _drift_lines(self) -> list[str]:
        rows = [
            (
                self._marked(found.title),
                found.dose.words(2),
                found.dose_strong.words(2),
                found.time.words(2),
                found.time_strong.words(2),
            )
            for found in self.drift
        ]
        header = ("effect size grows", "with dose", "strong curves", "with time", "strong")
        return table_lines(header, rows)

    def _ec50_lines(self) -> list[str]:
        header = ("EC50", "within 2x", "strong", "r log", "size", "slope", "stated", *STATES[1:])
        rows = [
            (
                self._marked(found.title),
                *(
                    ("", "", "", "")
                    if found.title == MEASURED
                    else (
                        percent(found.within_twofold.value),
                        percent(found.within_twofold_strong.value),
                        decimal(found.log_pearson.value, 2),
                        decimal(found.amplitude, 2),
                    )
                ),
                decimal(self.slopes[found.title].value, 2),
                *(f"{found.states[state]}" for state in STATES),
            )
            for found in self.agreement
        ]
        return [*table_lines(header, rows), *(f"  {line}" for line in sentence_lines(_NOTE))]

    def _marked(self, title: str) -> str:
        return f"> {title}" if title == self.model else f"  {title}"

    def _curve_lines(self) -> list[str]:
        shown = self.curves[:_SHOWN_CURVES]
        if not shown:
            return ["  No curve has doses enough."]
        header = ["curve", "effect", "measured EC50, uM", "generated EC50, uM"]
        dense = dense_title(self.model)
        header += ["on a dense grid"] if dense in self.slopes else []
        rows = [
            [
                f"{each.curve.name}, {each.curve.place}",
                decimal(each.curve.effect_size, 2),
                each.fits[MEASURED].words(),
                each.fits[self.model].words(),
                *([each.fits[dense].words() if dense in each.fits else ""] if dense in self.slopes else []),
            ]
            for each in shown
        ]
        more = len(self.curves) - len(shown)
        return table_lines(header, rows) + ([f"  and {more:,} more curves"] if more else [])

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values: the same input gives the same text; None where undefined."""
        return {
            "model": self.model,
            "drift": [found.to_json() for found in self.drift],
            "agreement": [found.to_json() for found in self.agreement],
            "slopes": {title: slope.to_json() for title, slope in self.slopes.items()},
            "curves": [found.to_json() for found in self.curves],
            "n_left_out": self.n_left_out,
            "seed": self.seed,
            "warnings": list(self.warnings),
        }

"""The parts of a screen's report that not every screen has, as plain tables and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True)
class Significance:
    """How many conditions stand out of measured inactive perturbations, and for how many that is known.

    Attributes
    ----------
    n_calibrated
        Conditions with a p-value.
    n_at_5, n_at_10
        Conditions with an fdr of at most 5 % and 10 %.
    strata
        A row a calibrated stratum: `STRATUM_COLUMNS` (stratum in words, calibration perturbations,
        conditions, conditions with an fdr of at most 10 %).
    reasons
        Why other conditions have no p-value: `REASON_COLUMNS`.
    """

    n_calibrated: int
    n_at_5: int
    n_at_10: int
    strata: pl.DataFrame
    reasons: pl.DataFrame


@dataclass(frozen=True)
class SignatureQuery:
    """What a screen with an objective was asked for; its hits are ranked by it.

    Attributes
    ----------
    objective
        "mimic" or "reverse".
    name
        What the signature is called, such as the name of its file.
    score
        Name of the score, as people write it; `hits["score"]` is larger for better conditions.
    n_used, n_given
        Genes of the signature that the profiles hold, of those given.
    unused
        Why -> how many genes are not used ("not among the predicted genes", "no gene symbol").
    """

    objective: Literal["mimic", "reverse"]
    name: str
    score: str
    n_used: int
    n_given: int
    unused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DoseCurves:
    """Fits of the strongest perturbations that were predicted at several doses.

    Attributes
    ----------
    fits
        A row a curve, strongest first: `curve` (its number), identity columns, and
        `pertcast.analysis.screened_doses.SCREENED_DOSES_SCHEMA`.
    points
        A row a dose: `curve`, `pert_dose` (uM), `response` (projection on the curve's main direction divided
        by the root of the number of genes, in the response's unit), `effect_size`.
    states
        state, curves: over the whole screen; empty where they were not counted.
    """

    fits: pl.DataFrame
    points: pl.DataFrame
    states: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema={"state": pl.String, "curves": pl.Int64})
    )


@dataclass(frozen=True)
class Selectivity:
    """The perturbations whose predicted effect differs most between cell lines.

    Attributes
    ----------
    top
        Most selective first: identity columns (those it has) and the measures of
        `pertcast.analysis.selectivity`; shown with the columns it brings.
    names, cells
        Readable names of the P <= 30 perturbations and the C cell lines of `effects`.
    effects
        (P, C) effect sizes; NaN where not predicted.
    """

    top: pl.DataFrame
    names: tuple[str, ...]
    cells: tuple[str, ...]
    effects: NDArray[np.floating]


@dataclass(frozen=True)
class PairResults:
    """What pairs do beyond the sum of their singles.

    Attributes
    ----------
    summary
        What the whole screen says, in words (`pertcast.analysis.pair_excess.PairScreenSummary.sentence`).
    kinds
        kind, pairs: over the whole screen.
    top
        Largest excess first: identity columns (those it has) and the measures of
        `pertcast.analysis.pair_excess`; shown with the columns it brings.
    """

    summary: str
    kinds: pl.DataFrame
    top: pl.DataFrame


@dataclass(frozen=True)
class ProfileMap:
    """A plane of predicted profiles.

    Attributes
    ----------
    points
        At most 4,000 rows of `MAP_COLUMNS`: x, y, name, group (such as the cell line).
    share
        Share of the variance on each axis.
    group_title
        What `group` is.
    method
        How the axes were found, in a few words.
    """

    points: pl.DataFrame
    share: tuple[float, float]
    group_title: str = "cell line"
    method: str = "principal components of the predicted profiles shown"

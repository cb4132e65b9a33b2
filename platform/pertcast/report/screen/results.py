"""What the report of a screen is made from: plain tables and arrays, already computed.

Nothing here grows with the number of conditions: the caller brings the first hits, a thinned selection of all
ranks, and counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

from pertcast.analysis.gene_sets import SetIndex
from pertcast.report.screen.columns import (
    DOSE_FIT_COLUMNS,
    DOSE_POINT_COLUMNS,
    ENRICHMENT_COLUMNS,
    FLAG_COLUMNS,
    HIT_COLUMNS_READ,
    MAP_COLUMNS,
    NEIGHBOR_COLUMNS,
    PAIR_KIND_COLUMNS,
    RANKED_COLUMNS,
    REASON_COLUMNS,
    STRATUM_COLUMNS,
)
from pertcast.report.screen.function_section import FunctionOfScreen

MOST_HITS: Final = 1_000
"""Conditions of the table of hits and its download."""
MOST_POINTS: Final = 4_000
"""Points of a figure."""
MOST_ROWS_OF_MATRIX: Final = 30
"""Perturbations of the matrix of effects by cell line."""

ScreenKind = Literal["compounds", "genes", "pairs", "table"]


def thinned(n_points: int, most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Return which of `n_points` ranked points are drawn, from 0: the strongest all, the rest evenly thinned.

    The caller of the report brings exactly these ranks as `ScreenResults.ranked`.
    """
    if n_points <= most:
        return np.arange(n_points)
    strongest = most // 2
    rest = np.linspace(strongest, n_points - 1, most - strongest).round().astype(np.int64)
    return np.concatenate((np.arange(strongest), np.unique(rest)))


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
    kinds
        kind, pairs: over the whole screen.
    top
        Largest excess first: identity columns (those it has) and the measures of
        `pertcast.analysis.pair_excess`; shown with the columns it brings.
    """

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
    kind
        What was screened.
    n_conditions
        Conditions of the whole screen.
    n_refused, n_repeated
        Rows of the list left out because they cannot be predicted, or say the same as another.
    metrics
        Held-out metrics of the bundle by name; empty where it was not evaluated.
    hits
        The first ranked conditions, at most 1,000: `pertcast.analysis.hits.HIT_COLUMNS` with nn_train_dist
        and pred_sd.
    ranked
        `RANKED_COLUMNS` of the ranks that `thinned(n_conditions)` names (plus one), at most 4,000.
    flags
        flag (null where not known), conditions: over the whole screen.
    distance
        Median and largest distance to the nearest training perturbation; None where it is not known.
    profiles
        sig_id -> response (G,) of the reported hits, best first.
    sd
        (G,) predicted standard deviation of the first hit, or None where the bundle knows none.
    neighbors
        `pertcast.analysis.neighbors.NEIGHBOR_SCHEMA` of the reported hits.
    names
        sig_id -> readable name of every neighbour in `neighbors`.
    significance
        None where nothing calibrates effects.
    sets, enrichment
        Gene sets, and `ENRICHMENT_COLUMNS` of the reported hits; None without gene sets.
    doses, selectivity, pairs, signature, map, function
        None where the screen has none.
    absent
        Name of one of these parts -> why the screen has none, in a sentence.
    """

    title: str
    provenance: str
    footer: str
    unit: str
    genes: tuple[str, ...]
    kind: ScreenKind
    n_conditions: int
    n_refused: int
    n_repeated: int
    metrics: Mapping[str, float | None]
    hits: pl.DataFrame
    ranked: pl.DataFrame
    flags: pl.DataFrame
    distance: tuple[float, float] | None
    profiles: Mapping[str, NDArray[np.float32]]
    sd: NDArray[np.float32] | None
    neighbors: pl.DataFrame
    names: Mapping[str, str]
    significance: Significance | None = None
    sets: SetIndex | None = None
    enrichment: pl.DataFrame | None = None
    doses: DoseCurves | None = None
    selectivity: Selectivity | None = None
    pairs: PairResults | None = None
    signature: SignatureQuery | None = None
    map: ProfileMap | None = None
    function: FunctionOfScreen | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.hits, "hits", HIT_COLUMNS_READ, MOST_HITS)
        _require(self.ranked, "ranked", RANKED_COLUMNS, MOST_POINTS)
        _require(self.flags, "flags", FLAG_COLUMNS)
        _require(self.neighbors, "neighbors", NEIGHBOR_COLUMNS)
        if self.significance is not None:
            _require(self.significance.strata, "significance.strata", STRATUM_COLUMNS)
            _require(self.significance.reasons, "significance.reasons", REASON_COLUMNS)
        if self.enrichment is not None:
            _require(self.enrichment, "enrichment", ENRICHMENT_COLUMNS)
        if self.doses is not None:
            _require(self.doses.fits, "doses.fits", DOSE_FIT_COLUMNS)
            _require(self.doses.points, "doses.points", DOSE_POINT_COLUMNS)
        if self.map is not None:
            _require(self.map.points, "map.points", MAP_COLUMNS, MOST_POINTS)
        if self.pairs is not None:
            _require(self.pairs.kinds, "pairs.kinds", PAIR_KIND_COLUMNS)
        if self.selectivity is not None:
            _require_matrix(self.selectivity)
        if self.hits.is_empty() or not self.profiles:
            raise SchemaError("A report of a screen needs at least one hit and the profile of the first one.")


def _require(table: pl.DataFrame, name: str, columns: tuple[str, ...], most: int | None = None) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise SchemaError(
            f"The table {name!r} of a screen's report lacks {', '.join(missing)}; it has "
            f"{', '.join(table.columns)}."
        )
    if most is not None and table.height > most:
        raise SchemaError(
            f"The table {name!r} of a screen's report has {table.height:,} rows, at most {most:,} are shown: "
            "bring the first or the thinned ones."
        )


def _require_matrix(found: Selectivity) -> None:
    wanted = (len(found.names), len(found.cells))
    if found.effects.shape != wanted or len(found.names) > MOST_ROWS_OF_MATRIX:
        raise SchemaError(
            f"Effects by cell line have shape {found.effects.shape}, names and cell lines {wanted}: give one "
            f"row a name, at most {MOST_ROWS_OF_MATRIX}, and one column a cell line."
        )

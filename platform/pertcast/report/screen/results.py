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
from pertcast.report.screen.results_parts import (
    DoseCurves,
    PairResults,
    ProfileMap,
    Selectivity,
    SignatureQuery,
    Significance,
)

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

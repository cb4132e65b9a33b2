"""Which held-out inactive conditions a screened condition may be held against: strata, doses and times.

Perturbations are exchangeable, never the conditions of one. A level is a stratum at one dose and time, or a
stratum whose perturbations are known by their largest score over doses and times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.vocabulary import PAIR_SEPARATOR

FEWEST_CLUSTERS: Final = 19
"""Inactive perturbations that a p-value needs: with fewer it could not reach 1 / 20."""

SAME_DOSE: Final = 0.1
"""Doses (log10) that count as one; a dose so little above the highest calibrated one still counts."""

NEAREST_DOSE: Final = 0.5
"""How far above a screened dose (log10) the calibrated one may lie: half a decade."""

STRATUM: Final = ("cell_iname", "pert_type", "is_seen", "is_combination")
"""What a screened condition must share with those that calibrate it."""

_NAMES: Final = ("pert_id", "targets")

Floats = NDArray[np.float64]
Amount = float | None


class Stratum(NamedTuple):
    """A cell line, a type of perturbation, whether training knows it, whether it is a combination."""

    cell_iname: str | None
    pert_type: str | None
    is_seen: bool
    is_combination: bool


@dataclass(frozen=True)
class Level:
    """Scores of inactive conditions that calibrate alike.

    Attributes
    ----------
    scores
        (M,) ascending.
    at_least
        (M + 1,) sum over perturbations of the share of its conditions from each place on; last 0.
    n_clusters
        K, the number of perturbations.
    share
        (K + 1) / (n + 1), n all perturbations that were labelled alike, active or not.
    text
        What calibrates, in words.
    """

    scores: Floats
    at_least: Floats
    n_clusters: int
    share: float
    text: str

    @classmethod
    def of(cls, scores: Floats, clusters: NDArray[np.int64], n_labelled: int, text: str) -> Level:
        """Make a level of (M,) scores of inactive conditions of perturbations `clusters` (M,).

        `n_labelled` perturbations were labelled alike, these among them.
        """
        _, number, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
        order = np.argsort(scores, kind="stable")
        shares = (1.0 / sizes[number])[order]
        at_least = np.append(np.cumsum(shares[::-1])[::-1], 0.0)
        share = (len(sizes) + 1.0) / (n_labelled + 1.0)
        return cls(scores[order], at_least, len(sizes), share, _told(text, len(sizes), n_labelled))

    def p_values(self, scores: Floats) -> Floats:
        """Return (N,) p-values: (1 + sum over perturbations of the share at or above) / (K + 1)."""
        place = np.searchsorted(self.scores, scores, side="left")
        p_values: Floats = (1.0 + self.at_least[place]) / (self.n_clusters + 1.0)
        return np.where(np.isnan(scores), np.nan, np.minimum(p_values, 1.0))


def _told(text: str, n_inactive: int, n_labelled: int) -> str:
    return f"{text}: {n_inactive} inactive perturbations of {n_labelled}"


def n_inactive_told(calibration: str) -> int | None:
    """Return how many inactive perturbations a level's text tells; None for the reason of no level."""
    found = re.search(r": (\d+) inactive perturbations of \d+$", calibration)
    return int(found.group(1)) if found else None


class StratumLevels:
    """What calibrates one stratum.

    One dose and time with enough inactive perturbations calibrates itself. Elsewhere every perturbation that
    has an inactive condition counts by its largest score over all its doses and times, active or not: the
    score of a screened condition is at most its own perturbation's largest, so that the comparison holds
    whatever doses a screen asks for. Only perturbations that were measured at as high a dose and as late a
    time count.

    Parameters
    ----------
    stratum
        Its name.
    conditions
        M rows: dose, time, cluster, score, is_inactive of all its labelled conditions.
    """

    def __init__(self, stratum: Stratum, conditions: pl.DataFrame) -> None:
        self._name = _named(stratum)
        self._matched = _matched(self._name, conditions)
        self._dose, self._time, self._score = (
            conditions[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            for name in ("dose", "time", "score")
        )
        self._cluster = np.unique(conditions["cluster"].to_numpy(), return_inverse=True)[1].reshape(-1)
        self._is_inactive = np.zeros(self._cluster.max(initial=-1) + 1, dtype=bool)
        self._is_inactive[self._cluster[conditions["is_inactive"].to_numpy()]] = True
        self.n_clusters = int(self._is_inactive.sum())
        self._largest: dict[bytes, Level] = {}

    @property
    def is_calibrated(self) -> bool:
        """Whether there are enough inactive perturbations for a p-value."""
        return self.n_clusters >= FEWEST_CLUSTERS

    def choose(self, dose: Amount, time: Amount) -> Level | str:
        """Return the level for a dose (log10 uM) and time (h), or why there is none."""
        return self._nearest(dose, time) or self._backed_off(dose, time)

    def _nearest(self, dose: Amount, time: Amount) -> Level | None:
        levels = self._matched.get(time, ())
        if dose is None:
            return next((level for known, level in levels if known is None), None)
        near = [
            (abs(known - dose), level)
            for known, level in levels
            if known is not None and -SAME_DOSE <= known - dose <= NEAREST_DOSE
        ]
        return min(near, key=lambda pair: pair[0])[1] if near else None

    def _backed_off(self, dose: Amount, time: Amount) -> Level | str:
        if not self.is_calibrated:
            return f"none: {self.n_clusters} inactive perturbations, {FEWEST_CLUSTERS} are needed"
        reaches_time = _reaches(self._time, time, 0.0)
        if not reaches_time.any():
            return "none: time beyond the calibrated ones"
        labelled = np.unique(self._cluster[reaches_time & _reaches(self._dose, dose, SAME_DOSE)])
        reaching = labelled[self._is_inactive[labelled]]
        if len(reaching) < FEWEST_CLUSTERS:
            return (
                f"none: dose beyond the calibrated ones: {len(reaching)} inactive perturbations were "
                f"measured as high, {FEWEST_CLUSTERS} are needed"
            )
        key = labelled.tobytes()
        if key not in self._largest:
            largest = np.full(len(self._is_inactive), -np.inf)
            np.maximum.at(largest, self._cluster, self._score)
            text = f"{self._name}, each by its largest score over doses and times"
            self._largest[key] = Level.of(largest[reaching], reaching, len(labelled), text)
        return self._largest[key]


def _matched(name: str, conditions: pl.DataFrame) -> dict[Amount, list[tuple[Amount, Level]]]:
    """Return time -> (dose, level) of the doses and times that have enough inactive perturbations."""
    found: dict[Amount, list[tuple[Amount, Level]]] = {}
    for rows in conditions.sort("dose", "time").partition_by("dose", "time", maintain_order=True):
        inactive = rows.filter("is_inactive")
        if inactive["cluster"].n_unique() >= FEWEST_CLUSTERS:
            dose, time = rows["dose"][0], rows["time"][0]
            scores, clusters = inactive["score"].to_numpy(), inactive["cluster"].to_numpy()
            level = Level.of(scores, clusters, rows["cluster"].n_unique(), f"{name}{_at(dose, time)}")
            found.setdefault(time, []).append((dose, level))
    return found


def _reaches(known: Floats, asked: Amount, tolerance: float) -> NDArray[np.bool_]:
    """Return (M,) whether each amount is as large as the asked one; none (NaN) only reaches none."""
    if asked is None:
        return np.isnan(known)
    with np.errstate(invalid="ignore"):
        reaches: NDArray[np.bool_] = known >= asked - tolerance
    return reaches


def keys_of(table: pl.DataFrame) -> pl.DataFrame:
    """Return `STRATUM`, dose (log10 uM, to 2 decimals) and time (h) of each row; no number is null.

    Parameters
    ----------
    table
        cell_iname, pert_type, pert_id, targets, seen_pert, pert_dose in uM, pert_time in hours.
    """
    several = (pl.col(name).cast(pl.String).str.contains(PAIR_SEPARATOR, literal=True) for name in _NAMES)
    dose, time = (pl.col(name).cast(pl.Float64).fill_nan(None) for name in ("pert_dose", "pert_time"))
    return table.select(
        pl.col("cell_iname", "pert_type").cast(pl.String),
        is_seen=pl.col("seen_pert").cast(pl.Boolean),
        is_combination=pl.any_horizontal(each.fill_null(False) for each in several),
        dose=pl.when(dose > 0).then(dose.log10().round(2)),
        time=time.round(2),
    )


def levels_by_stratum(conditions: pl.DataFrame) -> dict[Stratum, StratumLevels]:
    """Sort M labelled conditions into what they calibrate.

    Parameters
    ----------
    conditions
        `keys_of` the conditions, and their cluster (perturbation), score and is_inactive.
    """
    parts = conditions.partition_by(*STRATUM, as_dict=True, maintain_order=True)
    return {Stratum(*key): StratumLevels(Stratum(*key), part) for key, part in parts.items()}


def _named(stratum: Stratum) -> str:
    seen = "perturbations of training" if stratum.is_seen else "perturbations not in training"
    combined = ", combinations" if stratum.is_combination else ""
    return f"{stratum.cell_iname or 'no cell line'}, {stratum.pert_type}, {seen}{combined}"


def _at(dose: Amount, time: Amount) -> str:
    return ("" if dose is None else f", {10**dose:.3g} uM") + ("" if time is None else f", {time:g} h")


def missing_stratum(stratum: Stratum, known: Iterable[Stratum]) -> str:
    """Say what of a stratum is not calibrated: the cell line, the type, or how training knows it."""
    known = tuple(known)
    if not any(each.cell_iname == stratum.cell_iname for each in known):
        return "none: no calibrated conditions in this cell line"
    kept = [each for each in known if each[:2] == stratum[:2]]
    if not kept:
        return "none: no calibrated perturbations of this type in this cell line"
    if not any(each.is_combination == stratum.is_combination for each in kept):
        of = "combinations" if stratum.is_combination else "single perturbations"
        return f"none: no calibrated {of} in this cell line"
    of = "perturbations of training" if stratum.is_seen else "perturbations that training does not know"
    return f"none: the calibration holds no {of} in this cell line"


def distinct_rows(keys: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return the distinct rows of a table, and (N,) the number of each row's."""
    distinct = keys.unique(maintain_order=True)
    numbered = distinct.with_row_index("number")
    joined = keys.join(numbered, on=keys.columns, how="left", nulls_equal=True, maintain_order="left")
    return distinct, joined["number"].to_numpy().astype(np.int64)

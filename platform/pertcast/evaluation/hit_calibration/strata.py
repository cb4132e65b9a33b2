"""Which held-out inactive conditions a screened condition may be held against: strata, doses and times.

Perturbations are exchangeable, never the conditions of one. A level is a stratum at one dose and time, or a
stratum whose perturbations are known by their largest score over doses and times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    text
        What calibrates, in words.
    """

    scores: Floats
    at_least: Floats
    n_clusters: int
    text: str

    @classmethod
    def of(cls, scores: Floats, clusters: NDArray[np.int64], text: str) -> Level:
        """Make a level of (M,) scores of conditions of perturbations `clusters` (M,)."""
        _, number, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
        order = np.argsort(scores, kind="stable")
        shares = (1.0 / sizes[number])[order]
        at_least = np.append(np.cumsum(shares[::-1])[::-1], 0.0)
        return cls(scores[order], at_least, len(sizes), f"{text}: {len(sizes)} inactive perturbations")

    def p_values(self, scores: Floats) -> Floats:
        """Return (N,) p-values: (1 + sum over perturbations of the share at or above) / (K + 1)."""
        place = np.searchsorted(self.scores, scores, side="left")
        p_values: Floats = (1.0 + self.at_least[place]) / (self.n_clusters + 1.0)
        return np.where(np.isnan(scores), np.nan, np.minimum(p_values, 1.0))


@dataclass(frozen=True)
class StratumLevels:
    """What calibrates one stratum.

    Attributes
    ----------
    n_clusters
        Its inactive perturbations.
    matched
        (time, ascending doses and the level of each) where one dose and time has enough perturbations.
    largest
        The level by each perturbation's largest score; None where there are too few perturbations.
    doses, times
        Range of the doses (log10 uM) and times (h) of all its labelled conditions, inactive or not; None
        where they have none. An inactive condition within it is no larger than its perturbation's largest.
    has_no_dose, has_no_time
        Whether conditions without a dose, or time, are among them.
    """

    n_clusters: int
    matched: Mapping[Amount, tuple[tuple[Amount, Level], ...]]
    largest: Level | None
    doses: tuple[float, float] | None
    times: tuple[float, float] | None
    has_no_dose: bool
    has_no_time: bool

    def choose(self, dose: Amount, time: Amount) -> Level | str:
        """Return the level for a dose (log10 uM) and time (h), or why there is none."""
        if self.largest is None:
            return f"none: {self.n_clusters} inactive perturbations, {FEWEST_CLUSTERS} are needed"
        if not _is_covered(time, self.times, self.has_no_time, 0.0):
            return "none: time beyond the calibrated ones"
        if not _is_covered(dose, self.doses, self.has_no_dose, SAME_DOSE):
            return "none: dose beyond the calibrated ones"
        return self._nearest(dose, time) or self.largest

    def _nearest(self, dose: Amount, time: Amount) -> Level | None:
        near = [
            (abs(known - dose), level)
            for known, level in self.matched.get(time, ())
            if dose is not None and known is not None and -SAME_DOSE <= known - dose <= NEAREST_DOSE
        ]
        if near:
            return min(near, key=lambda pair: pair[0])[1]
        alike = [level for known, level in self.matched.get(time, ()) if known is None and dose is None]
        return alike[0] if alike else None


def _is_covered(value: Amount, known: tuple[float, float] | None, has_none: bool, tolerance: float) -> bool:
    """Return whether calibrated conditions reach as far: doses from below, times from both sides."""
    if value is None:
        return has_none
    if known is None:
        return False
    above_lowest = tolerance > 0 or value >= known[0]
    return above_lowest and value <= known[1] + tolerance


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
    return {Stratum(*key): _levels(Stratum(*key), part) for key, part in parts.items()}


def _levels(stratum: Stratum, part: pl.DataFrame) -> StratumLevels:
    inactive = part.filter("is_inactive")
    n_clusters = inactive["cluster"].n_unique()
    largest = None
    matched: dict[Amount, list[tuple[Amount, Level]]] = {}
    if n_clusters >= FEWEST_CLUSTERS:
        highest = inactive.group_by("cluster", maintain_order=True).agg(pl.col("score").max())
        text = f"{_named(stratum)}, each by its largest score over doses and times"
        largest = Level.of(highest["score"].to_numpy(), highest["cluster"].to_numpy(), text)
        for rows in inactive.sort("dose", "time").partition_by("dose", "time", maintain_order=True):
            if rows["cluster"].n_unique() >= FEWEST_CLUSTERS:
                dose, time = rows["dose"][0], rows["time"][0]
                text = f"{_named(stratum)}{_at(dose, time)}"
                level = Level.of(rows["score"].to_numpy(), rows["cluster"].to_numpy(), text)
                matched.setdefault(time, []).append((dose, level))
    return StratumLevels(
        n_clusters=n_clusters,
        matched={time: tuple(levels) for time, levels in matched.items()},
        largest=largest,
        doses=_range(part["dose"]),
        times=_range(part["time"]),
        has_no_dose=part["dose"].null_count() > 0,
        has_no_time=part["time"].null_count() > 0,
    )


def _range(values: pl.Series) -> tuple[float, float] | None:
    known = values.drop_nulls().to_numpy()
    return (float(known.min()), float(known.max())) if len(known) else None


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

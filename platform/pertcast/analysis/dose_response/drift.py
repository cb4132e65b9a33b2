"""Whether the effect grows with dose and time, measured and generated: rank correlations curve by curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from pertcast.analysis.association import (
    FloatArray,
    Interval,
    clustered_mean,
    is_strongest_third,
)
from pertcast.analysis.compared import Values
from pertcast.analysis.dose_response.curves import (
    CURVE_KEY,
    MIN_DOSES,
    groups,
    series_sizes,
    with_dose,
)
from pertcast.effect_size import effect_sizes

_TIME_KEY: Final = ("cell_iname", "pert_type", "pert_id", "pert_dose")
_FEWEST_TIMES: Final = 2
_SIZE_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Drift:
    """Mean Spearman of effect size with dose within (perturbation, context, time), and with time likewise.

    Attributes
    ----------
    title
        "measured", or the contender.
    dose, dose_strong
        Over all curves, and over the strongest third by measured effect size over all doses.
    time, time_strong
        Over all (perturbation, context, dose) with at least two times, and over the strongest third by
        measured effect size over all times; two times give 1 or -1.
    """

    title: str
    dose: Interval
    dose_strong: Interval
    time: Interval
    time_strong: Interval

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        names = ("dose", "dose_strong", "time", "time_strong")
        return {"title": self.title, **{name: getattr(self, name).to_json() for name in names}}


@dataclass(frozen=True)
class _Series:
    """Conditions that differ in one thing, in its order: (K,) rows and values each."""

    rows: tuple[NDArray[np.int64], ...]
    values: tuple[FloatArray, ...]
    cluster: tuple[str, ...]
    is_strong: NDArray[np.bool_]


def rank_drift(sizes: FloatArray, values: FloatArray) -> float:
    """Return Spearman's correlation of effect sizes with doses or times; 0 where the sizes are all equal.

    Sizes that differ by less than a millionth of the largest are equal: rounding is no drift.
    """
    largest = float(sizes.max(initial=0.0)) or 1.0
    ranks = [rankdata(np.round(sizes / largest, _SIZE_DIGITS)), rankdata(values)]
    first, second = (each - each.mean() for each in ranks)
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float(first @ second) / spread if spread > 0 else 0.0


def _series(
    conditions: pl.DataFrame, key: tuple[str, ...], varied: str, fewest: int, measured: Values
) -> _Series:
    values = conditions[varied].cast(pl.Float64).to_numpy().astype(np.float64)
    usable = with_dose(conditions) & np.isfinite(values)
    rows: list[NDArray[np.int64]] = []
    for found in groups(conditions, key).values():
        kept = found[usable[found]]
        if len(np.unique(values[kept])) >= fewest:
            rows.append(kept[np.argsort(values[kept], kind="stable")])
    names = conditions["pert_id"].cast(pl.String).to_list()
    return _Series(
        rows=tuple(rows),
        values=tuple(values[each] for each in rows),
        cluster=tuple(names[each[0]] for each in rows),
        is_strong=is_strongest_third(series_sizes(measured, rows)),
    )


def drifts(
    conditions: pl.DataFrame,
    responses: Mapping[str, Values],
    measured: str,
    *,
    min_doses: int = MIN_DOSES,
    n_draws: int,
    seed: int,
) -> tuple[Drift, ...]:
    """Return the drift of every contender, in the order of `responses`.

    Parameters
    ----------
    conditions
        N rows.
    responses
        Title -> (N, G).
    measured
        The title that says what is strong.
    min_doses
        Distinct doses of a curve.
    n_draws, seed
        Of the bootstrap over perturbations.
    """
    truth = responses[measured]
    by_dose = _series(conditions, CURVE_KEY, "pert_dose", min_doses, truth)
    by_time = _series(conditions, _TIME_KEY, "pert_time", _FEWEST_TIMES, truth)
    found = []
    for title, values in responses.items():
        sizes = effect_sizes(values)
        dose, dose_strong = _means(by_dose, sizes, n_draws, seed)
        time, time_strong = _means(by_time, sizes, n_draws, seed)
        found.append(Drift(title, dose, dose_strong, time, time_strong))
    return tuple(found)


def _means(series: _Series, sizes: FloatArray, n_draws: int, seed: int) -> tuple[Interval, Interval]:
    each = np.array(
        [rank_drift(sizes[rows], values) for rows, values in zip(series.rows, series.values, strict=True)]
    )
    cluster = np.array(series.cluster, dtype=np.str_)
    strong = series.is_strong
    return (
        clustered_mean(each, cluster, n_draws, seed),
        clustered_mean(each[strong], cluster[strong], n_draws, seed),
    )

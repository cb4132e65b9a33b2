"""Dose and time as ways through a latent space: drift that grows, middle doses between, even steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.analysis.association import (
    FloatArray,
    Interval,
    clustered_mean,
    is_strongest_third,
    plain_number,
)
from pertcast.analysis.dose_response.curves import groups
from pertcast.analysis.dose_response.drift import rank_drift
from pertcast.analysis.latent_space.profiles import MEASURED, LatentPaths, LatentProfiles

FEWEST: Final = 2
"""Distinct doses or times of a series; two give 1 or -1."""

_ALONG: Final = {"pert_dose": "pert_time", "pert_time": "pert_dose"}
"""What varies in a series -> what stays."""


@dataclass(frozen=True)
class Walk:
    """The conditions of one perturbation in one cell line that differ in dose alone, or in time alone.

    Attributes
    ----------
    rows
        (K,) conditions, the dose or time rising.
    values
        (K,) doses in uM, or times in hours.
    cluster
        The perturbation.
    name
        Perturbation, cell line, and what stays the same.
    is_strong
        Whether its measured drift (root mean square) is in the upper third of all walks of its kind.
    """

    rows: NDArray[np.int64]
    values: FloatArray
    cluster: str
    name: str
    is_strong: bool


def find_walks(profiles: LatentProfiles, along: str) -> tuple[Walk, ...]:
    """Return the walks along "pert_dose" or "pert_time", in the order of the conditions."""
    table = profiles.conditions
    kinds = ("pert_type",) if "pert_type" in table.columns else ()
    key = ("cell_iname", "pert_id", _ALONG[along], *kinds)
    values = table[along].cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)
    usable = np.isfinite(values) & (values > 0)
    found = []
    for name, members in groups(table, key).items():
        kept = members[usable[members]]
        if len(np.unique(values[kept])) >= FEWEST:
            found.append((name, kept[np.argsort(values[kept], kind="stable")]))
    drift = np.square(profiles.drift(MEASURED))
    strong = is_strongest_third(np.array([np.sqrt(drift[rows].mean()) for _, rows in found]))
    return tuple(
        Walk(rows, values[rows], str(name[1]), _name(name, along), bool(is_strong))
        for (name, rows), is_strong in zip(found, strong, strict=True)
    )


def _name(key: tuple[Any, ...], along: str) -> str:
    unit = "h" if along == "pert_dose" else "uM"
    fixed = "" if key[2] is None else f", {key[2]:.4g} {unit}"
    return f"{key[1]}, {key[0]}{fixed}"


@dataclass(frozen=True, slots=True)
class OverWalks:
    """A mean over walks with its interval: all of them, and the strongest third."""

    every: Interval
    strong: Interval

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {"all": self.every.to_json(), "strong": self.strong.to_json()}


def over_walks(
    values: FloatArray, cluster: Sequence[str], is_strong: Sequence[bool], n_draws: int, seed: int
) -> OverWalks:
    """Return means of (M,) values, resampled by perturbation; NaN are left out."""
    strong = np.array(is_strong, dtype=bool)
    names = np.array(cluster, dtype=np.str_)
    return OverWalks(
        clustered_mean(values, names, n_draws, seed),
        clustered_mean(values[strong], names[strong], n_draws, seed),
    )


def drift_along(drift: FloatArray, walks: Sequence[Walk], n_draws: int, seed: int) -> OverWalks:
    """Return the mean Spearman of the distance from the control with dose (or time) within each walk."""
    each = np.array([rank_drift(drift[walk.rows], walk.values) for walk in walks])
    return over_walks(each, [w.cluster for w in walks], [w.is_strong for w in walks], n_draws, seed)


@dataclass(frozen=True)
class Between:
    """Where middle doses lie on the way from the lowest dose to the highest.

    Attributes
    ----------
    title
        "measured" or the model.
    position
        (M,) place along the straight way: 0 at the lowest dose, 1 at the highest.
    off_axis
        (M,) distance from the straight way, as a share of its length.
    is_strong
        (M,) whether it belongs to a walk of the strongest third.
    share_between
        Share of the positions from 0 to 1.
    mean_off_axis
        Mean of `off_axis`.
    """

    title: str
    position: FloatArray
    off_axis: FloatArray
    is_strong: NDArray[np.bool_]
    share_between: OverWalks
    mean_off_axis: OverWalks

    def median_position(self, only_strong: bool = False) -> float:
        """Return the median position; NaN without any."""
        kept = self.position[self.is_strong] if only_strong else self.position
        return float(np.median(kept)) if len(kept) else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {
            "title": self.title,
            "share_between": self.share_between.to_json(),
            "mean_off_axis": self.mean_off_axis.to_json(),
            "median_position": plain_number(self.median_position()),
            "median_position_strong": plain_number(self.median_position(only_strong=True)),
        }


def _places(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (K - 2,) positions and off-axis shares of the inner of (K, D) points; empty if the ends meet."""
    way = points[-1] - points[0]
    length = float(way @ way)
    if not length > 0:
        return np.empty(0), np.empty(0)
    inner = points[1:-1] - points[0]
    position = inner @ way / length
    aside = inner - position[:, None] * way
    return position, np.sqrt(np.square(aside).sum(axis=1) / length)


def middle_doses(title: str, points: FloatArray, walks: Sequence[Walk], n_draws: int, seed: int) -> Between:
    """Place every dose between the lowest and the highest of its walk; replicate doses count one by one."""
    position: list[FloatArray] = [np.empty(0)]
    off_axis: list[FloatArray] = [np.empty(0)]
    cluster: list[str] = []
    strong: list[bool] = []
    for walk in walks:
        places = _places(points[walk.rows].astype(np.float64))
        position.append(places[0])
        off_axis.append(places[1])
        cluster += [walk.cluster] * len(places[0])
        strong += [walk.is_strong] * len(places[0])
    where, aside = np.concatenate(position), np.concatenate(off_axis)
    inside = ((where >= 0) & (where <= 1)).astype(np.float64)
    return Between(
        title,
        where,
        aside,
        np.array(strong, dtype=bool),
        over_walks(inside, cluster, strong, n_draws, seed),
        over_walks(aside, cluster, strong, n_draws, seed),
    )


@dataclass(frozen=True)
class PathShape:
    """The ways of a model over many doses.

    Attributes
    ----------
    drift
        Mean Spearman of the distance from the control with dose.
    forward
        Share of steps that go on towards the highest dose: 1 is monotone.
    largest_step
        Largest over mean step, evenly spaced in log dose: 1 is even, S - 1 a single jump.
    n_paths, n_doses
        What it is made of.
    """

    drift: Interval
    forward: Interval
    largest_step: Interval
    n_paths: int
    n_doses: int

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        names = ("drift", "forward", "largest_step")
        found = {name: getattr(self, name).to_json() for name in names}
        return {**found, "n_paths": self.n_paths, "n_doses": self.n_doses}


def path_shape(paths: LatentPaths, n_draws: int, seed: int) -> PathShape:
    """Describe the ways of a model; a way that does not move has no steps to describe."""
    wide = paths.points.astype(np.float64)
    steps = np.diff(wide, axis=1)
    lengths = np.sqrt(np.square(steps).sum(axis=2))
    ways = wide[:, -1] - wide[:, 0]
    mean = lengths.mean(axis=1)
    moves = mean > 0
    forward = np.where(moves, (np.einsum("psd,pd->ps", steps, ways) > 0).mean(axis=1), np.nan)
    largest = np.full(len(mean), np.nan)
    np.divide(lengths.max(axis=1), mean, out=largest, where=moves)
    away = np.sqrt(np.square(wide - paths.control[:, None]).sum(axis=2))
    drift = np.array([rank_drift(far, dose) for far, dose in zip(away, paths.doses, strict=True)])
    cluster = np.array(paths.clusters, dtype=np.str_)
    return PathShape(
        drift=clustered_mean(drift, cluster, n_draws, seed),
        forward=clustered_mean(forward, cluster, n_draws, seed),
        largest_step=clustered_mean(largest, cluster, n_draws, seed),
        n_paths=len(paths.names),
        n_doses=paths.doses.shape[1],
    )

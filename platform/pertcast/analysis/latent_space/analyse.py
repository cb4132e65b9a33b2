"""From coordinates to what a latent space keeps: silhouettes, drift, middle doses, paths, and a map."""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast.analysis.association import FloatArray, Interval, clustered_mean
from pertcast.analysis.dose_response.drift import Drift
from pertcast.analysis.latent_space.principal import principal_axes
from pertcast.analysis.latent_space.profiles import LatentPaths, LatentProfiles
from pertcast.analysis.latent_space.result import LatentMap, LatentSpace
from pertcast.analysis.latent_space.silhouette import silhouettes
from pertcast.analysis.latent_space.walks import Walk, drift_along, find_walks, middle_doses, path_shape

N_DRAWS: Final = 2000
CONTROL: Final = "control"


def latent_space(
    profiles: LatentProfiles,
    paths: LatentPaths | None = None,
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> LatentSpace:
    """Find what a latent space keeps of cell lines, doses and times.

    Parameters
    ----------
    profiles
        Measured and generated profiles and their controls, in one space.
    paths
        The model's ways over many doses, in the same space.
    n_draws, seed
        Of the bootstrap over perturbations.

    Raises
    ------
    SchemaError
        All measured profiles and controls lie at one point.
    """
    by_dose, by_time = find_walks(profiles, "pert_dose"), find_walks(profiles, "pert_time")
    distance = {title: profiles.drift(title) for title in profiles.sides}
    return LatentSpace(
        space=profiles.space,
        model=profiles.model,
        conditions=profiles.conditions,
        n_dimensions=profiles.measured.shape[1],
        silhouette={
            title: _silhouette(profiles, points, n_draws, seed) for title, points in profiles.sides.items()
        },
        drift=tuple(_drift(title, far, by_dose, by_time, n_draws, seed) for title, far in distance.items()),
        between=tuple(
            middle_doses(title, points, by_dose, n_draws, seed) for title, points in profiles.sides.items()
        ),
        path_shape=None if paths is None else path_shape(paths, n_draws, seed),
        paths=paths,
        walks=by_dose,
        distance=distance,
        map=_map(profiles),
        moved=_moved(profiles),
    )


def _silhouette(profiles: LatentProfiles, points: FloatArray, n_draws: int, seed: int) -> Interval:
    table = profiles.conditions
    found = silhouettes(points, table["cell_iname"].fill_null("").to_numpy())
    return clustered_mean(found, table["pert_id"].cast(str).fill_null("").to_numpy(), n_draws, seed)


def _drift(
    title: str,
    distance: FloatArray,
    by_dose: tuple[Walk, ...],
    by_time: tuple[Walk, ...],
    n_draws: int,
    seed: int,
) -> Drift:
    dose, time = (drift_along(distance, walks, n_draws, seed) for walks in (by_dose, by_time))
    return Drift(title, dose.every, dose.strong, time.every, time.strong)


def _map(profiles: LatentProfiles) -> LatentMap:
    axes = principal_axes(np.concatenate([profiles.measured, profiles.control]), 2)
    sides = {**profiles.sides, CONTROL: profiles.control}
    return LatentMap(
        {title: _two(axes.project(points)) for title, points in sides.items()}, _share(axes.share)
    )


def _moved(profiles: LatentProfiles) -> LatentMap | None:
    """Return the map of what each side adds to its controls; None where measured profiles add nothing."""
    control = profiles.control.astype(np.float64)
    way = profiles.measured - control
    if not way.any() or np.ptp(way, axis=0).max() == 0:
        return None
    axes = principal_axes(way, 2)
    sides = {title: points - control for title, points in profiles.sides.items()}
    sides[CONTROL] = np.zeros_like(control)
    return LatentMap(
        {title: _two(axes.project(points)) for title, points in sides.items()}, _share(axes.share)
    )


def _two(points: FloatArray) -> FloatArray:
    """Return (N, 2) coordinates; the second is 0 in a space that varies along one axis alone."""
    missing = 2 - points.shape[1]
    return np.pad(points, ((0, 0), (0, missing))) if missing else points


def _share(share: FloatArray) -> FloatArray:
    return np.pad(share, (0, 2 - len(share)))

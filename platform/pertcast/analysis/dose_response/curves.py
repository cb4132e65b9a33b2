"""From conditions to curves: which doses belong together, and one number for the response at each.

The response is projected on one direction a curve, taken from *other* measured curves of the same
perturbation. Noise of the curve itself then cannot look like effect, and the generated responses, projected
on the same direction, gain nothing from having chosen it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

from pertcast.analysis.association import FloatArray, is_strongest_third
from pertcast.analysis.compared import CONDITION_COLUMNS, ComparedResponses, Values
from pertcast.effect_size import effect_sizes

CURVE_KEY: Final = ("cell_iname", "pert_type", "pert_id", "pert_time")
MIN_DOSES: Final = 3

DirectionFrom = Literal["other curves", "own"]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class DenseResponses:
    """Generated responses at doses of one's choice, for a finer curve than was measured.

    Attributes
    ----------
    conditions
        M rows with `CONDITION_COLUMNS`: the curves' identity with any pert_dose above 0 (uM).
    genes
        The G genes, those of the compared responses in their order.
    responses
        (M, G) the model's.
    """

    conditions: pl.DataFrame
    genes: tuple[str, ...]
    responses: Values

    def __post_init__(self) -> None:
        missing = [name for name in CONDITION_COLUMNS if name not in self.conditions.columns]
        if missing:
            raise SchemaError(f"The table of dense conditions lacks {', '.join(missing)}.")
        wanted = (self.conditions.height, len(self.genes))
        if self.responses.shape != wanted:
            raise SchemaError(f"Dense responses have shape {self.responses.shape}, wanted {wanted}.")


@dataclass(frozen=True)
class Curve:
    """The conditions of one perturbation in one context at one time, doses rising.

    Attributes
    ----------
    key
        cell_iname, pert_type, pert_id, pert_time.
    name
        The perturbation for people.
    rows
        (K,) the conditions.
    doses
        (K,) uM.
    effect_size
        Root mean square over genes and doses of the measured response.
    is_strong
        Whether that is in the upper third of all curves. All doses count alike: curves chosen for their
        highest dose would show drift where there is only noise.
    direction
        (G,) unit vector that responses are projected on.
    direction_from
        "other curves" of the perturbation, or "own" where there are none: then noise adds to the measured
        responses.
    alignment
        Cosine of the direction with the measured response at the highest dose.
    """

    key: Key
    name: str
    rows: NDArray[np.int64]
    doses: FloatArray
    effect_size: float
    is_strong: bool
    direction: FloatArray
    direction_from: DirectionFrom
    alignment: float

    @property
    def pert_id(self) -> str:
        """What is resampled together."""
        return str(self.key[2])

    @property
    def place(self) -> str:
        """Cell line and time for people."""
        time = self.key[3]
        return str(self.key[0]) if time is None else f"{self.key[0]}, {time:.4g} h"

    def project(self, responses: FloatArray) -> FloatArray:
        """Return (K,) responses of (K, G) along the curve's direction."""
        projected: FloatArray = responses.astype(np.float64) @ self.direction
        return projected


def groups(conditions: pl.DataFrame, columns: tuple[str, ...]) -> dict[Key, NDArray[np.int64]]:
    """Return the rows of every distinct value of `columns`, in order of first appearance."""
    found: dict[Key, list[int]] = {}
    for row, key in enumerate(conditions.select(columns).iter_rows()):
        found.setdefault(key, []).append(row)
    return {key: np.array(rows, dtype=np.int64) for key, rows in found.items()}


def with_dose(conditions: pl.DataFrame) -> NDArray[np.bool_]:
    """Return (N,) whether a condition has a dose above 0."""
    dosed: NDArray[np.bool_] = conditions["pert_dose"].cast(pl.Float64).fill_null(0.0).to_numpy() > 0
    return dosed


def main_direction(responses: FloatArray) -> FloatArray:
    """Return the unit vector along which (M, G) responses are longest, pointing where they point.

    The first right singular vector of the uncentred matrix: strong responses weigh more. The zero vector
    where all responses are zero.
    """
    wide = responses.astype(np.float64)
    if not np.any(wide):
        return np.zeros(wide.shape[1])
    direction = np.linalg.svd(wide, full_matrices=False)[2][0]
    oriented: FloatArray = -direction if float((wide @ direction).sum()) < 0 else direction
    return oriented


def series_sizes(responses: Values, series: Sequence[NDArray[np.int64]]) -> FloatArray:
    """Return the root mean square over rows and genes of each series of rows of (N, G) responses."""
    squares = np.square(effect_sizes(responses))
    return np.array([float(np.sqrt(squares[rows].mean())) for rows in series])


def find_curves(compared: ComparedResponses, min_doses: int = MIN_DOSES) -> list[Curve]:
    """Return the curves with at least `min_doses` distinct doses, strongest measured effect first."""
    conditions = compared.conditions
    dosed = with_dose(conditions)
    doses = conditions["pert_dose"].cast(pl.Float64).fill_null(0.0).to_numpy()
    family = _families(conditions, dosed)
    found = []
    for key, rows in groups(conditions, CURVE_KEY).items():
        rows = rows[dosed[rows]]
        rows = rows[np.argsort(doses[rows], kind="stable")]
        if len(np.unique(doses[rows])) >= min_doses:
            found.append((key, rows))
    sizes = series_sizes(compared.measured, [rows for _, rows in found])
    strong = is_strongest_third(sizes)
    curves = [
        _curve(compared, key, rows, doses[rows], family[key[1:3]], float(size), bool(is_strong))
        for (key, rows), size, is_strong in zip(found, sizes, strong, strict=True)
    ]
    return sorted(curves, key=lambda curve: (-curve.effect_size, str(curve.key)))


def _families(conditions: pl.DataFrame, dosed: NDArray[np.bool_]) -> Mapping[Key, NDArray[np.int64]]:
    """Return the rows with a dose of every perturbation, in all contexts and at all times."""
    return {key: rows[dosed[rows]] for key, rows in groups(conditions, CURVE_KEY[1:3]).items()}


def _curve(
    compared: ComparedResponses,
    key: Key,
    rows: NDArray[np.int64],
    doses: FloatArray,
    family: NDArray[np.int64],
    effect_size: float,
    is_strong: bool,
) -> Curve:
    others = np.setdiff1d(family, rows)
    direction = main_direction(compared.measured[others]) if len(others) else np.zeros(len(compared.genes))
    has_others = bool(np.any(direction))
    if not has_others:
        direction = main_direction(compared.measured[rows])
    top = compared.measured[rows[-1]].astype(np.float64)
    length = float(np.linalg.norm(top))
    return Curve(
        key=key,
        name=str(compared.conditions["cmap_name"][int(rows[0])] or key[2]),
        rows=rows,
        doses=doses,
        effect_size=effect_size,
        is_strong=is_strong,
        direction=direction,
        direction_from="other curves" if has_others else "own",
        alignment=float(top @ direction) / length if length > 0 else 0.0,
    )

"""Where profiles lie in a latent space: measured, generated, their controls, and paths along dose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from pertcast_data.errors import SchemaError

from pertcast.analysis.association import FloatArray

MEASURED: Final = "measured"
LABELS: Final = ("cell_iname", "pert_id", "pert_dose", "pert_time")
"""Columns that every condition needs; doses in uM, times in hours, null where there is none."""


@dataclass(frozen=True)
class LatentProfiles:
    """N conditions in a space of D dimensions.

    Attributes
    ----------
    conditions
        N rows with `LABELS`; with pert_type and cmap_name where there are several types or other names.
    measured, generated
        (N, D) coordinates of the measured and of the generated profile of each condition.
    control
        (N, D) coordinates of the control that each condition is compared with.
    space
        Which space it is, in words.
    model
        Title of who generated.
    """

    conditions: pl.DataFrame
    measured: FloatArray
    generated: FloatArray
    control: FloatArray
    space: str
    model: str

    def __post_init__(self) -> None:
        missing = [name for name in LABELS if name not in self.conditions.columns]
        if missing:
            raise SchemaError(
                f"The table of latent profiles lacks {', '.join(missing)}; add what is missing."
            )
        if self.measured.ndim != 2 or len(self.measured) != self.conditions.height:
            raise SchemaError(
                f"Measured coordinates have shape {self.measured.shape}, wanted ({self.conditions.height}, "
                "dimensions): one row for each condition."
            )
        for name in (MEASURED, "generated", "control"):
            values = getattr(self, name)
            if values.shape != self.measured.shape or not np.isfinite(values).all():
                raise SchemaError(
                    f"Coordinates {name!r} have shape {values.shape}, wanted {self.measured.shape}, all of "
                    "them finite; give all three in one space."
                )

    @property
    def sides(self) -> dict[str, FloatArray]:
        """Title -> (N, D) coordinates, the measured ones first."""
        return {MEASURED: self.measured, self.model: self.generated}

    def drift(self, title: str) -> FloatArray:
        """Return (N,) distances of a side's profiles from their controls."""
        found: FloatArray = np.sqrt(np.square(self.sides[title] - self.control).sum(axis=1))
        return found


@dataclass(frozen=True)
class LatentPaths:
    """P ways that a model goes as the dose rises, S doses each.

    Attributes
    ----------
    names, clusters
        (P,) name for people and perturbation of each.
    doses
        (P, S) in uM, rising.
    points
        (P, S, D) coordinates.
    control
        (P, D) coordinates of the control.
    """

    names: tuple[str, ...]
    clusters: tuple[str, ...]
    doses: FloatArray
    points: FloatArray
    control: FloatArray

    def __post_init__(self) -> None:
        n = len(self.names)
        shapes = (len(self.clusters), *self.doses.shape[:1], *self.points.shape[:1], *self.control.shape[:1])
        fits = set(shapes) == {n} and self.points.shape[:2] == self.doses.shape and self.points.ndim == 3
        if not fits or self.points.shape[2] != self.control.shape[1]:
            raise SchemaError(
                f"{n} paths have doses {self.doses.shape}, points {self.points.shape} and controls "
                f"{self.control.shape}; wanted (paths, doses), (paths, doses, dimensions) and (paths, "
                "dimensions)."
            )

"""Measured and generated responses of the same conditions: what every analysis of biology is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

Values = NDArray[np.floating[Any]]

CONDITION_COLUMNS: Final = (
    "condition_id",
    "cell_iname",
    "pert_type",
    "pert_id",
    "cmap_name",
    "pert_dose",
    "pert_time",
)
"""What is known of every condition: doses in uM, times in hours, null where there is none."""


@dataclass(frozen=True)
class ComparedResponses:
    """N conditions over G genes, measured and as one or several contenders generate them.

    Attributes
    ----------
    conditions
        N rows with `CONDITION_COLUMNS`.
    genes
        Names of the G genes.
    measured
        (N, G) measured responses: profile minus matched control, or the relative value itself.
    generated
        Title of a contender -> (N, G) its responses; the model first, then baselines.
    control
        (N, G) matched control profiles; all zero for measure "response".
    """

    conditions: pl.DataFrame
    genes: tuple[str, ...]
    measured: Values
    generated: Mapping[str, Values]
    control: Values

    def __post_init__(self) -> None:
        missing = [name for name in CONDITION_COLUMNS if name not in self.conditions.columns]
        if missing:
            raise SchemaError(f"The table of conditions lacks {', '.join(missing)}.")
        wanted = (self.conditions.height, len(self.genes))
        for name, values in {**self.generated, "measured": self.measured, "control": self.control}.items():
            if values.shape != wanted:
                raise SchemaError(f"Responses {name!r} have shape {values.shape}, wanted {wanted}.")

    @property
    def model(self) -> str:
        """Title of the model."""
        return next(iter(self.generated))

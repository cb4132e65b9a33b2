"""What a model was fitted on, in a form that can be checked: the part it claims and a hash of the rows.

A row is named by its number in the store; numbers mean something only beside the store's data hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Role = Literal["features", "scaler", "gene_selection", "basal", "weights", "early_stopping"]
FittedPart = Literal["train", "validation", "controls", "all"]


def row_hash(rows: NDArray[np.integer[Any]]) -> str:
    """Return 32 hexadecimal digits that name a set of rows, whatever their order."""
    numbers = np.unique(np.asarray(rows, dtype=np.int64)).astype("<i8")
    return hashlib.blake2b(numbers.tobytes(), digest_size=16).hexdigest()


class FittedOn(BaseModel):
    """One fitted transform and the rows it was fitted on.

    Attributes
    ----------
    name
        What was fitted: "gene loadings", "basal profiles"...
    role
        What a leak of it would be called.
    part
        The rows that it claims: treated rows of a part of the fold, controls, or everything.
    n_rows, rows_hash
        Number and `row_hash` of the rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Role
    part: FittedPart
    n_rows: int
    rows_hash: str

    @classmethod
    def of(cls, name: str, role: Role, part: FittedPart, rows: NDArray[np.integer[Any]]) -> Self:
        """Note that `name` was fitted on `rows`."""
        distinct = np.unique(rows)
        return cls(name=name, role=role, part=part, n_rows=len(distinct), rows_hash=row_hash(distinct))


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a bundle says of itself.

    Attributes
    ----------
    where
        The bundle, for messages.
    fitted
        Its fitted transforms.
    trained_conditions
        Names of the conditions that its encoder knows as trained.
    """

    where: str
    fitted: tuple[FittedOn, ...] = ()
    trained_conditions: tuple[str, ...] = ()

    @classmethod
    def from_facts(
        cls, where: str, fitted: Iterable[Mapping[str, Any]], trained_conditions: Iterable[str]
    ) -> Self:
        """Read what a bundle's facts hold as plain JSON."""
        read = tuple(FittedOn.model_validate(dict(each)) for each in fitted)
        return cls(where, read, tuple(trained_conditions))

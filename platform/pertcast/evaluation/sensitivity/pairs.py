"""The (compound, cell line) pairs of a comparison: what was measured, and all that could predict it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

from pertcast.evaluation.held_out import FloatArray, IndexArray


@dataclass(frozen=True)
class SensitivityPairs:
    """N pairs of C compounds and L cell lines over G genes.

    Attributes
    ----------
    compounds
        (C,) one name a compound; all salts and stereoisomers of a structure are one.
    lines
        (L,) cell lines.
    compound, line
        (N,) which compound and line a pair is of.
    value
        (N,) float64 measured sensitivity.
    fingerprint
        (C, B) Morgan fingerprints, zeros and ones.
    basal
        (L, G) untreated expression; zeros where the store holds responses only.
    generated
        Title -> (N, G) generated responses: the model's first, then the strongest baseline's.
    measured
        (N, G) measured responses, NaN in rows without; None where nothing was measured.
    is_seen
        (C,) whether the generator had the compound in its training.
    is_near
        (C,) whether the compound's structure is as near to the generator's training as training compounds are
        to each other; None where unknown.
    """

    compounds: tuple[str, ...]
    lines: tuple[str, ...]
    compound: IndexArray
    line: IndexArray
    value: FloatArray
    fingerprint: FloatArray
    basal: FloatArray
    generated: Mapping[str, FloatArray]
    measured: FloatArray | None
    is_seen: NDArray[np.bool_]
    is_near: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n, n_genes = len(self.value), self.basal.shape[1]
        wanted: dict[str, tuple[int, ...]] = {
            "compound": (n,),
            "line": (n,),
            "value": (n,),
            "is_seen": (len(self.compounds),),
        }
        arrays = {name: getattr(self, name) for name in wanted}
        measured = {} if self.measured is None else {"measured": self.measured}
        for name, profiles in {**self.generated, **measured}.items():
            wanted[name], arrays[name] = (n, n_genes), profiles
        for name, shape in wanted.items():
            if arrays[name].shape != shape:
                raise SchemaError(
                    f"Sensitivity pairs: {name!r} has shape {arrays[name].shape}, wanted {shape}. Give "
                    "one row a pair, in one order."
                )
        if not self.generated:
            raise SchemaError("Sensitivity pairs need generated responses of at least one model.")
        if not all(np.isfinite(values).all() for values in (self.value, *self.generated.values())):
            raise SchemaError(
                "Sensitivity pairs hold values or generated responses that are not finite; leave those "
                "pairs out."
            )

    @property
    def n_pairs(self) -> int:
        """N."""
        return len(self.value)

    @property
    def model(self) -> str:
        """Title of the model that generates."""
        return next(iter(self.generated))

    @property
    def is_measured(self) -> NDArray[np.bool_]:
        """(N,) whether a pair's response was measured."""
        if self.measured is None:
            return np.zeros(self.n_pairs, dtype=bool)
        return np.asarray(np.isfinite(self.measured).all(axis=1), dtype=np.bool_)

    def take(self, rows: IndexArray) -> SensitivityPairs:
        """Return some of the pairs; compounds and lines keep their numbers."""
        return replace(
            self,
            compound=self.compound[rows],
            line=self.line[rows],
            value=self.value[rows],
            generated={name: values[rows] for name, values in self.generated.items()},
            measured=None if self.measured is None else self.measured[rows],
        )

    def blocks(self, responses: FloatArray) -> dict[str, FloatArray]:
        """Return what regressions may look at, (N, F) each, with these (N, G) responses.

        "response", "expression" (basal + response), "cell" (basal profile; which line it is where there is
        none), "structure" (fingerprint).
        """
        has_basal = bool(np.any(self.basal))
        cell = self.basal if has_basal else np.eye(len(self.lines))
        found = {
            "response": responses,
            "cell": cell[self.line],
            "structure": self.fingerprint[self.compound],
        }
        if has_basal:
            found["expression"] = self.basal[self.line] + responses
        return found

"""Fitted steps: what the training rows decided, as plain arrays, and how a row goes through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.preparation.blocks import Values, as_dense, csr_parts, library_sizes
from pertcast_data.store.densify import log1p

Facts = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class FittedLogNormalise:
    """Library sizes to `target_sum`, log1p.

    Attributes
    ----------
    target_sum
        What a library is scaled to.
    counted
        (G,) bool, genes that count towards a library.
    """

    target_sum: float
    counted: NDArray[np.bool_]

    def transform(self, values: Values) -> Values:
        """Return log1p(x / library x target_sum), float32; an empty row stays empty."""
        totals = library_sizes(values, None if self.counted.all() else self.counted)
        scales = (self.target_sum / np.where(totals > 0, totals, np.inf)).astype(np.float32)
        entries = csr_parts(values)
        if entries is None:
            return log1p(as_dense(values) * scales[:, None])
        data, indices, indptr = entries
        data = log1p(data * np.repeat(scales, np.diff(indptr)))
        return sparse.csr_matrix((data, indices, indptr), shape=values.shape)

    def parts(self) -> tuple[Facts, Arrays]:
        """Return numbers and arrays, for a file."""
        return {"target_sum": self.target_sum}, {"counted": self.counted}

    @classmethod
    def of_parts(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedLogNormalise:
        """Return what `parts` gave."""
        return cls(float(facts["target_sum"]), arrays["counted"].astype(np.bool_))


@dataclass(frozen=True, eq=False)
class FittedGenes:
    """The genes that a step keeps.

    Attributes
    ----------
    kept
        (K,) int64, places among the genes before the step, ascending.
    """

    kept: NDArray[np.int64]

    def transform(self, values: Values) -> Values:
        """Return the kept columns."""
        chosen = values[:, self.kept]
        if sparse.issparse(chosen):
            chosen.sort_indices()  # type: ignore[union-attr]
        return chosen

    def parts(self) -> tuple[Facts, Arrays]:
        """Return numbers and arrays, for a file."""
        return {}, {"kept": self.kept}

    @classmethod
    def of_parts(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedGenes:
        """Return what `parts` gave."""
        return cls(arrays["kept"].astype(np.int64))


@dataclass(frozen=True, eq=False)
class FittedRobustZ:
    """Levels of each cell line's training controls, for plates that have too few of their own.

    Attributes
    ----------
    lines
        Names of the L cell lines.
    centre, mad
        (L, G) float32, median and median absolute deviation.
    """

    lines: tuple[str, ...]
    centre: NDArray[np.float32]
    mad: NDArray[np.float32]

    def parts(self) -> tuple[Facts, Arrays]:
        """Return numbers and arrays, for a file."""
        return {"lines": list(self.lines)}, {"centre": self.centre, "mad": self.mad}

    @classmethod
    def of_parts(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedRobustZ:
        """Return what `parts` gave."""
        return cls(tuple(facts["lines"]), arrays["centre"], arrays["mad"])


FittedStep: TypeAlias = FittedLogNormalise | FittedGenes | FittedRobustZ


def row_steps(fitted: Sequence[FittedStep]) -> tuple[FittedLogNormalise | FittedGenes, ...]:
    """Return the steps that look at one row at a time, in order."""
    return tuple(step for step in fitted if not isinstance(step, FittedRobustZ))


def gene_steps(fitted: Sequence[FittedStep]) -> tuple[FittedGenes, ...]:
    """Return the steps that keep genes, in order: what brings raw counts to the genes of the moment."""
    return tuple(step for step in fitted if isinstance(step, FittedGenes))


def kept_genes(fitted: Sequence[FittedStep], n_genes: int) -> NDArray[np.int64]:
    """Return the places of the genes that are left, among all `n_genes` of the store."""
    places = np.arange(n_genes, dtype=np.int64)
    for step in gene_steps(fitted):
        places = places[step.kept]
    return places

"""What a regression may look at, as design matrices: linear blocks, kernels, and products of kernels.

A kernel becomes columns by Nystroem's method (Williams & Seeger 2001): K(x, L) U s^-1/2 with landmarks L
among the training pairs and K(L, L) = U s U'; exact where every training pair is a landmark. Ridge on these
columns is kernel ridge, and several parts side by side are a sum of kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy.spatial.distance import cdist

from pertcast.evaluation.held_out import FloatArray, IndexArray

KernelName = Literal["linear", "gaussian", "tanimoto"]

MOST_LANDMARKS: Final = 400
_LEAST_EIGENVALUE: Final = 1e-10

Blocks = Mapping[str, FloatArray]
"""Name -> (N, F)."""


@dataclass(frozen=True)
class Part:
    """A kernel on each of some blocks, multiplied where there are several; a linear part has one block."""

    kernels: tuple[tuple[str, KernelName], ...]


@dataclass(frozen=True)
class Design:
    """Parts side by side, each scaled to a mean squared length of 1 over the training pairs."""

    title: str
    parts: tuple[Part, ...]

    @property
    def blocks(self) -> frozenset[str]:
        """Blocks that are looked at."""
        return frozenset(block for part in self.parts for block, _ in part.kernels)


def part(*kernels: tuple[str, KernelName]) -> Part:
    """Return a part from (block, kernel) pairs."""
    return Part(kernels)


_RESPONSE, _CELL = part(("response", "linear")), part(("cell", "linear"))
_STRUCTURE, _LIKENESS = part(("structure", "linear")), part(("structure", "tanimoto"))

OF_EXPRESSION: Final = (
    Design("response", (_RESPONSE,)),
    Design("expression", (part(("expression", "linear")),)),
    Design("response + line", (_RESPONSE, _CELL)),
    Design("response (kernel) + line", (part(("response", "gaussian")), _CELL)),
    Design("response x line", (_RESPONSE, _CELL, part(("response", "gaussian"), ("cell", "gaussian")))),
)
OF_STRUCTURE: Final = (Design("bits", (_STRUCTURE,)), Design("Tanimoto", (_LIKENESS,)))
OF_CELL: Final = (Design("basal", (_CELL,)), Design("basal (kernel)", (part(("cell", "gaussian")),)))
OF_STRUCTURE_AND_CELL: Final = (
    Design("bits + line", (_STRUCTURE, _CELL)),
    Design("Tanimoto + line", (_LIKENESS, _CELL)),
    Design("bits x line", (_STRUCTURE, _CELL, part(("structure", "tanimoto"), ("cell", "gaussian")))),
)


def columns(
    design: Design, blocks: Blocks, train: IndexArray, test: IndexArray
) -> tuple[FloatArray, FloatArray]:
    """Return the design matrices (n_train, F) and (n_test, F) of a design; nothing is fitted on test pairs.

    Parameters
    ----------
    design
        What is looked at.
    blocks
        Of all N pairs.
    train, test
        Pairs.

    Returns
    -------
    tuple
        Centred on the training pairs; parts that do not vary there have no columns.
    """
    found = [_part_columns(each, blocks, train, test) for each in design.parts]
    fitted = np.concatenate([part[0] for part in found], axis=1)
    asked = np.concatenate([part[1] for part in found], axis=1)
    return fitted, asked


def _part_columns(
    each: Part, blocks: Blocks, train: IndexArray, test: IndexArray
) -> tuple[FloatArray, FloatArray]:
    found: tuple[FloatArray, FloatArray]
    (block, kernel), *others = each.kernels
    if kernel == "linear" and not others:
        found = blocks[block][train].astype(np.float64), blocks[block][test].astype(np.float64)
    else:
        found = _nystroem(each, blocks, train, test)
    mean = found[0].mean(axis=0)
    fitted, asked = found[0] - mean, found[1] - mean
    size = float(np.sqrt(np.square(fitted).sum(axis=1).mean()))
    if size <= 1e-9 * max(1.0, float(np.abs(mean).max(initial=0.0))):
        return np.zeros((len(train), 0)), np.zeros((len(test), 0))
    return fitted / size, asked / size


def _nystroem(
    each: Part, blocks: Blocks, train: IndexArray, test: IndexArray
) -> tuple[FloatArray, FloatArray]:
    count = min(MOST_LANDMARKS, len(train))
    landmarks = train[np.unique(np.linspace(0, len(train) - 1, count).astype(np.int64))]
    smooth = [block for block, kernel in each.kernels if kernel == "gaussian"]
    widths = {block: _bandwidth(blocks[block][landmarks]) for block in smooth}

    def kernel_to_landmarks(rows: IndexArray) -> FloatArray:
        result = np.ones((len(rows), len(landmarks)))
        for block, kernel in each.kernels:
            result *= _kernel(kernel, blocks[block][rows], blocks[block][landmarks], widths.get(block, 1.0))
        return result

    values, vectors = np.linalg.eigh(kernel_to_landmarks(landmarks))
    kept = values > _LEAST_EIGENVALUE * values.max()
    to_columns = vectors[:, kept] / np.sqrt(values[kept])
    return kernel_to_landmarks(train) @ to_columns, kernel_to_landmarks(test) @ to_columns


def _bandwidth(landmarks: FloatArray) -> float:
    """Return the median squared distance between landmarks that differ; 1 where none do."""
    distances = cdist(landmarks, landmarks, "sqeuclidean")
    apart = distances[distances > 0]
    return float(np.median(apart)) if len(apart) else 1.0


def _kernel(name: KernelName, rows: FloatArray, landmarks: FloatArray, width: float) -> FloatArray:
    """Return (n, m) similarities of rows to landmarks, 1 for equal ones (but the linear kernel's)."""
    if name == "gaussian":
        similar: FloatArray = np.exp(-cdist(rows, landmarks, "sqeuclidean") / width)
        return similar
    shared: FloatArray = rows.astype(np.float64) @ landmarks.T.astype(np.float64)
    if name == "linear":
        return shared
    squares = [np.square(values, dtype=np.float64).sum(axis=1) for values in (rows, landmarks)]
    union = squares[0][:, None] + squares[1][None, :] - shared
    tanimoto: FloatArray = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
    return tanimoto

"""Genetic perturbations: which genes are knocked out, knocked down or over-expressed, and how strongly.

A knock-out is the full loss of a gene; a knock-down is part of it; over-expression is roughly its opposite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

GENETIC_KINDS: Final = ("trt_xpr", "trt_sh", "trt_oe")
"""CMap's code of each kind; a condition's `kind` is the place in this tuple."""
KNOCKOUT, KNOCKDOWN, OVEREXPRESSION = range(3)


@dataclass(frozen=True, slots=True)
class GeneticConditions:
    """N genetic perturbations.

    Attributes
    ----------
    context
        (N,) int64, the cell line.
    genes
        (N, 2) int64 gene indices, -1 for the empty place of a single.
    kind
        (N,) int64, place in `GENETIC_KINDS`.
    """

    context: NDArray[np.int64]
    genes: NDArray[np.int64]
    kind: NDArray[np.int64]

    def __len__(self) -> int:
        """Return N, the number of conditions."""
        return len(self.context)


@dataclass(frozen=True, slots=True)
class GeneticEffects:
    """What each kind does, one number a kind in the order of `GENETIC_KINDS`.

    Attributes
    ----------
    strength
        Action on the network in units of a full loss; over-expression is a gain, hence negative.
    coupling
        Correlation of a kind's action with that of the same gene's knock-out, 0 to 1. The rest is the action
        of an accidental second gene (`World.off_target`), as seed effects of short hairpins are.
    own_gene
        log2 change of the gene's own transcript, added to the network's response.
    """

    strength: tuple[float, float, float] = (1.0, 0.6, -0.5)
    coupling: tuple[float, float, float] = (1.0, 0.85, 0.8)
    own_gene: tuple[float, float, float] = (-3.0, -1.6, 1.5)

    def coupled(self, type_coupling: float | None) -> GeneticEffects:
        """Return the same with knock-down and over-expression coupled so to the knock-out; None: itself."""
        if type_coupling is None:
            return self
        return replace(self, coupling=(1.0, type_coupling, type_coupling))

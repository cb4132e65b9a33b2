"""Modules of genes by name, and as a GMT file that every enrichment tool reads.

A module keeps the number that its model gave it: label 0 is "module 01". A label without genes stays in the
count and out of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

LabelArray = NDArray[np.int64]

_FEWEST_DIGITS = 2


@dataclass(frozen=True)
class GeneModules:
    """G genes in K modules; `from_labels` makes one and checks it.

    Attributes
    ----------
    genes
        Names of the G genes.
    labels
        (G,) int64, the module of each, 0..K-1.
    n_modules
        K: the largest label and one.
    """

    genes: tuple[str, ...]
    labels: LabelArray
    n_modules: int

    @classmethod
    def from_labels(cls, genes: Sequence[str], labels: NDArray[np.integer]) -> GeneModules:
        """Return the modules of `genes`.

        Parameters
        ----------
        genes
            Names of the G genes.
        labels
            (G,) integers from 0.

        Raises
        ------
        SchemaError
            There is no gene, or not one whole number from 0 for each.
        """
        found = np.asarray(labels)
        if not len(genes) or found.shape != (len(genes),) or not np.issubdtype(found.dtype, np.integer):
            raise SchemaError(
                f"Labels of shape {found.shape} and type {found.dtype} for {len(genes)} genes: modules need "
                "one whole number for each of at least one gene."
            )
        if found.min() < 0:
            gene = genes[int(np.argmin(found))]
            raise SchemaError(
                f"Gene {gene!r} has the label {int(found.min())}: modules are numbered from 0, and every "
                "gene is in one."
            )
        return cls(tuple(genes), found.astype(np.int64), int(found.max()) + 1)

    @property
    def sizes(self) -> LabelArray:
        """(K,) genes of each module; 0 for labels that no gene has."""
        return np.bincount(self.labels, minlength=self.n_modules).astype(np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the K modules: "module 01", with as many digits as K has."""
        digits = max(_FEWEST_DIGITS, len(str(self.n_modules)))
        return tuple(f"module {number:0{digits}d}" for number in range(1, self.n_modules + 1))

    @property
    def members(self) -> tuple[tuple[str, ...], ...]:
        """Genes of each module, in the order of `genes`."""
        return tuple(
            tuple(self.genes[place] for place in np.flatnonzero(self.labels == module))
            for module in range(self.n_modules)
        )


def gmt_text(modules: GeneModules, descriptions: Sequence[str]) -> str:
    """Return a GMT file's text: a line a module that has genes, with name, description and members.

    Parameters
    ----------
    modules
        K modules.
    descriptions
        K texts; a tab or line break in one becomes a space.

    Raises
    ------
    SchemaError
        A gene's name holds a tab, a line break or a comma, which no GMT file can keep.
    """
    broken = next((gene for gene in modules.genes if any(mark in gene for mark in "\t\r\n,")), None)
    if broken is not None:
        raise SchemaError(
            f"Gene {broken!r} cannot stand in a GMT file: tabs and line breaks separate its fields, a comma "
            "a weight. Rename the gene in the store."
        )
    lines = [
        "\t".join([name, " ".join(description.split()), *members])
        for name, description, members in zip(modules.names, descriptions, modules.members, strict=True)
        if members
    ]
    return "\n".join(lines) + "\n"

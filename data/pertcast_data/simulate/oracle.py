"""Read the truth of an atlas: the noise-free response of each condition, as an oracle would predict it.

Evaluations set it beside a model, as a ceiling or as one more contender.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import FormatError, UnknownGene

Measured = Literal["wells", "cells", "signatures"]
MEASURED: Final[tuple[Measured, ...]] = ("wells", "cells", "signatures")


@dataclass(frozen=True, slots=True)
class Oracle:
    """True responses of the conditions of one kind of data.

    Attributes
    ----------
    genes
        G gene symbols, the columns.
    responses
        Condition id (as a store gives it) -> (G,) float32 response on the scale of a store's reader: log2
        intensity (wells), log1p of counts per 10,000 (cells), z-score (signatures).
    explainable_share
        Variance of the true responses over that of the measured condition means, summed over genes.
    """

    genes: tuple[str, ...]
    responses: dict[str, NDArray[np.float32]]
    explainable_share: float

    def for_genes(self, genes: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
        """Return the responses of these genes, in this order; raises UnknownGene for an unknown one."""
        place = {gene: number for number, gene in enumerate(self.genes)}
        for gene in genes:
            if gene not in place:
                raise UnknownGene(gene, self.genes, "the truth of the atlas")
        columns = [place[gene] for gene in genes]
        return {name: response[columns] for name, response in self.responses.items()}


def load_truth(path: Path | str) -> dict[Measured, Oracle]:
    """Read `truth.npz` of an atlas: what was measured (wells, cells, signatures) -> its oracle.

    Raises
    ------
    FormatError
        If the file is absent, damaged or not the truth of an atlas of this version.
    """
    try:
        with np.load(path) as content:
            return {measured: _oracle(content, measured) for measured in MEASURED}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path} is not the truth file of an atlas ({error}). Name the truth.npz that "
            "`pertcast data simulate` of this version wrote."
        ) from error


def _oracle(content: Any, measured: Measured) -> Oracle:
    genes = content["signatures_genes" if measured == "signatures" else "genes"]
    names, responses = content[f"{measured}_condition_id"].tolist(), content[f"{measured}_response"]
    return Oracle(
        genes=tuple(genes.tolist()),
        responses=dict(zip(names, responses, strict=True)),
        explainable_share=float(content[f"{measured}_explainable_share"]),
    )

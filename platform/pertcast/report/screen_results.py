"""What the report of a screen is made from: plain tables and arrays, already computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.analysis.gene_sets import SetIndex
from pertcast.evaluation.parts import CoMembership


@dataclass(frozen=True)
class FunctionOfScreen:
    """Whether the profiles of a screen tell which genes belong together.

    Attributes
    ----------
    found
        Perturbation type -> what was found over all its screened genes.
    reasons
        Perturbation type -> why nothing was.
    n_measured
        Perturbation type -> screened genes that training measured; of the others features alone are known.
    """

    found: Mapping[str, CoMembership]
    reasons: Mapping[str, str]
    n_measured: Mapping[str, int]


@dataclass(frozen=True)
class ScreenResults:
    """What the report of a screen is made from.

    Attributes
    ----------
    title, provenance, footer
        First line, second line, last line.
    unit
        Unit of a response, such as "z-score" or "log2 difference".
    genes
        Names of the G genes.
    sig_info
        One row a condition, in the order of the profiles.
    hits
        Ranked conditions, `pertcast.analysis.hits.HIT_COLUMNS`.
    profiles
        sig_id -> response (G,) of the reported hits, best first.
    sd
        (G,) predicted standard deviation of the first hit, or None where the bundle knows none.
    sets
        Gene sets, or None.
    enrichment
        Enrichment of the reported hits: sig_id, term, es, nes, pval, fdr, size, lead_genes; or None.
    neighbors
        sig_id, neighbor_sig_id, tail, rank, cosine.
    n_refused, n_repeated
        Rows of the list left out because they cannot be predicted, or say the same as another.
    metrics
        Held-out metrics of the bundle by name; empty where it was not evaluated.
    function
        Gene function of the screened genes, None where it was not asked for.
    """

    title: str
    provenance: str
    footer: str
    unit: str
    genes: tuple[str, ...]
    sig_info: pl.DataFrame
    hits: pl.DataFrame
    profiles: Mapping[str, NDArray[np.float32]]
    sd: NDArray[np.float32] | None
    sets: SetIndex | None
    enrichment: pl.DataFrame | None
    neighbors: pl.DataFrame
    n_refused: int
    n_repeated: int
    metrics: Mapping[str, float | None]
    function: FunctionOfScreen | None = None

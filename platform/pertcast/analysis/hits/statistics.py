"""What a predicted response amounts to: effect size, spread, the genes that move most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.effect_size import effect_sizes

TOP_GENES = 10
"""Genes named in `top_up` and `top_down`."""

DEG_SPREADS = 2.0
"""A gene counts as changed where |mean| exceeds this many predicted standard deviations."""


def condition_statistics(
    mean: NDArray[np.floating], sd: NDArray[np.floating] | None, genes: Sequence[str], n_top: int = TOP_GENES
) -> pl.DataFrame:
    """Summarise each predicted response.

    Parameters
    ----------
    mean
        (N, G) predicted responses.
    sd
        (N, G) predicted standard deviations of single profiles, or None where the bundle knows none.
    genes
        Names of the G genes.
    n_top
        Number of genes named on each side.

    Returns
    -------
    DataFrame
        effect_size: root mean square of the response over genes, in the response's unit; effect_up and
        effect_down: the same with the other sign's genes set to zero; n_deg: genes with |mean| > 2 sd, null
        without sd; pred_sd: root mean square of sd over genes, null without sd; top_up and top_down: the
        genes that rise and fall most, "A;B", only genes of that sign.
    """
    wide = mean.astype(np.float64)
    deg: NDArray[np.int64] | None = None
    spread: NDArray[np.float64] | None = None
    if sd is not None:
        deg = (np.abs(wide) > DEG_SPREADS * sd).sum(axis=1)
        spread = effect_sizes(sd)
    return pl.DataFrame(
        {
            "effect_size": effect_sizes(wide),
            "effect_up": effect_sizes(np.maximum(wide, 0)),
            "effect_down": effect_sizes(np.minimum(wide, 0)),
            "n_deg": deg if deg is not None else [None] * len(mean),
            "pred_sd": spread if spread is not None else [None] * len(mean),
            "top_up": _top_genes(-wide, genes, n_top),
            "top_down": _top_genes(wide, genes, n_top),
        },
        schema_overrides={"n_deg": pl.Int32, "pred_sd": pl.Float64},
    )


def _top_genes(rising: NDArray[np.float64], genes: Sequence[str], n_top: int) -> list[str]:
    """Name the genes with the smallest negative values of each row, smallest first."""
    n_top = min(n_top, rising.shape[1])
    picked = np.sort(np.argpartition(rising, n_top - 1, axis=1)[:, :n_top], axis=1)
    values = np.take_along_axis(rising, picked, axis=1)
    order = np.argsort(values, axis=1, kind="stable")
    picked, values = np.take_along_axis(picked, order, axis=1), np.take_along_axis(values, order, axis=1)
    return [
        ";".join(genes[gene] for gene, value in zip(row, row_values, strict=True) if value < 0)
        for row, row_values in zip(picked, values, strict=True)
    ]

"""One row a perturbation: what its profiles have in common over cell lines, doses and times.

CMap's maximum quantile: of the 67th and the 33rd percentile of the normalised scores the one further from 0
(Subramanian et al., Cell 171, 1437 (2017)); a strong connection in a third of the lines is enough.
"""

from __future__ import annotations

from typing import Final

import polars as pl

HIGH: Final = 0.67
LOW: Final = 0.33
MIMICS: Final = "mimics"
REVERSES: Final = "reverses"


def consensus_table(table: pl.DataFrame) -> pl.DataFrame:
    """Summarise the ranked references of a query by perturbation.

    Parameters
    ----------
    table
        One row a reference: pert_id, pert_type, cell_iname, norm_cs, and cmap_name and library where known.

    Returns
    -------
    DataFrame
        One row a perturbation and type, from the strongest mimic to the strongest reversal: pert_id,
        cmap_name, pert_type, library, n_cells, n_profiles (with a norm_cs), norm_cs (maximum quantile),
        median_norm_cs, word, rank. Perturbations without any norm_cs are left out.
    """
    known = table.filter(pl.col("norm_cs").is_not_null())
    also = [name for name in ("cmap_name", "library") if name in table.columns]
    score = pl.col("norm_cs")
    high, low = score.quantile(HIGH, "linear"), score.quantile(LOW, "linear")
    found = known.group_by("pert_id", "pert_type", maintain_order=True).agg(
        *(pl.col(name).drop_nulls().first() for name in also),
        n_cells=pl.col("cell_iname").n_unique(),
        n_profiles=pl.len(),
        norm_cs=pl.when(high.abs() >= low.abs()).then(high).otherwise(low),
        median_norm_cs=score.median(),
    )
    sign = pl.col("norm_cs").sign()
    word = pl.when(sign > 0).then(pl.lit(MIMICS)).when(sign < 0).then(pl.lit(REVERSES))
    ranked = found.sort(
        ["norm_cs", "pert_type", "pert_id"], descending=[True, False, False], nulls_last=True
    ).with_columns(word=word)
    strength = pl.col("norm_cs").abs().rank("ordinal", descending=True).over("word")
    return ranked.with_columns(rank=strength.cast(pl.Int64))

"""Small sets of profiles whose truth is known: effects, knock-downs, copies and plates that were put in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.quality import Quality, measure_quality
from scipy import sparse


@dataclass
class Profiles:
    """Rows, genes and values."""

    obs: pl.DataFrame
    var: pl.DataFrame
    values: NDArray[Any]
    measure: Any
    normalisation: Any

    def batches(self, rows: int = 512, layout: str = "dense") -> Callable[[], Iterator[Any]]:
        def make() -> Iterator[Any]:
            for start in range(0, len(self.values), rows):
                part = self.values[start : start + rows]
                yield sparse.csr_matrix(part) if layout == "csr" else part

        return make

    def quality(self, rows: int = 512, layout: str = "dense", **options: Any) -> Quality:
        return measure_quality(
            self.obs,
            self.var,
            self.batches(rows, layout),
            measure=self.measure,
            normalisation=self.normalisation,
            **options,
        )


def gene_table(n_genes: int) -> pl.DataFrame:
    return pl.DataFrame({"gene_symbol": [f"GENE{i}" for i in range(n_genes)]})


def bulk(
    *,
    n_genes: int = 200,
    n_conditions: int = 60,
    n_replicates: int = 4,
    n_controls: int = 200,
    signal: float = 1.0,
    noise: float = 0.5,
    seed: int = 0,
) -> Profiles:
    """Compounds on one plate: level 8, controls' noise, an effect of its own for each condition."""
    random = np.random.default_rng(seed)
    base = random.uniform(5, 11, n_genes)
    effects = random.normal(0, signal * noise, (n_conditions, n_genes))
    conditions = np.repeat(np.arange(n_conditions), n_replicates)
    means = np.concatenate([np.zeros((n_controls, n_genes)), effects[conditions]])
    values = base + means + random.normal(0, noise, means.shape)
    names = ["DMSO"] * n_controls + [f"drug{i}" for i in conditions]
    obs = pl.DataFrame(
        {
            "sig_id": [f"well{i}" for i in range(len(values))],
            "cell_iname": "A375",
            "pert_type": ["ctl_vehicle"] * n_controls + ["trt_cp"] * len(conditions),
            "pert_id": names,
            "cmap_name": names,
            "pert_time": 24.0,
            "batch_id": "plate1",
        }
    )
    order = random.permutation(len(values))
    return Profiles(
        obs[order.tolist()],
        gene_table(n_genes),
        values[order].astype(np.float32),
        "expression",
        "log2_intensity",
    )


def knockdowns(
    *, n_genes: int = 120, n_guides: int = 12, n_cells: int = 60, idle: tuple[int, ...] = (3,), seed: int = 0
) -> Profiles:
    """Counts of cells: guide i knocks GENEi down to a tenth, idle ones do nothing, one targets no gene."""
    random = np.random.default_rng(seed)
    rates = random.uniform(2, 12, n_genes)
    guides = np.concatenate([np.full(4 * n_cells, -1), np.repeat(np.arange(n_guides + 1), n_cells)])
    rate = np.repeat(rates[None], len(guides), axis=0)
    for guide in range(n_guides):
        if guide not in idle:
            rate[guides == guide, guide] *= 0.1
    values = random.poisson(rate * random.uniform(0.5, 2, (len(guides), 1)))
    names = ["NTC" if g < 0 else "ELSEWHERE" if g == n_guides else f"GENE{g}" for g in guides]
    obs = pl.DataFrame(
        {
            "sig_id": [f"cell{i}" for i in range(len(guides))],
            "cell_iname": "K562",
            "pert_type": ["ctl_vector" if g < 0 else "trt_sh" for g in guides],
            "pert_id": names,
            "cmap_name": names,
            "targets": [None if g < 0 else name for g, name in zip(guides, names, strict=True)],
            "batch_id": [f"lane{i % 2}" for i in range(len(guides))],
        }
    )
    order = random.permutation(len(values))
    return Profiles(
        obs[order.tolist()], gene_table(n_genes), values[order].astype(np.float32), "expression", "counts"
    )

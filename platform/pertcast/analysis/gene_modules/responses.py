"""Responses of modules: the mean of their genes', each gene in its own unit, and how well they are predicted.

A gene's unit is its root mean square over the measured conditions, the same for every contender: zero stays
zero, and a few loud genes do not speak for their module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from scipy.cluster.hierarchy import leaves_list, linkage

from pertcast.analysis.association import (
    FEWEST_PAIRS,
    UNDEFINED,
    FloatArray,
    Interval,
    Labels,
    clustered_mean,
    plain_number,
    plain_numbers,
)
from pertcast.analysis.gene_modules.modules import LabelArray

_ROUNDING = 1e-9
_BLOCK = 1024


def gene_units(measured: FloatArray) -> FloatArray:
    """Return (G,) the root mean square of each gene over (N, G) measured responses."""
    squares = np.einsum("ng,ng->g", measured, measured, dtype=np.float64)
    units: FloatArray = np.sqrt(squares / max(len(measured), 1))
    return units


def module_responses(
    responses: FloatArray, labels: LabelArray, units: FloatArray | None = None, n_modules: int | None = None
) -> FloatArray:
    """Average the standardised responses of each module's genes.

    Parameters
    ----------
    responses
        (N, G) responses.
    labels
        (G,) module of each gene, 0..K-1.
    units
        (G,) what each gene is divided by; `gene_units` of the responses themselves where None. A gene whose
        unit is zero did not move and counts as 0.
    n_modules
        K; the largest label and one where None.

    Returns
    -------
    ndarray
        (N, K) float64; NaN for modules without genes.

    Raises
    ------
    SchemaError
        Labels or units are not one a gene.
    """
    scale = gene_units(responses) if units is None else np.asarray(units, dtype=np.float64)
    if responses.ndim != 2 or {labels.shape, scale.shape} != {responses.shape[1:]}:
        raise SchemaError(
            f"Responses of shape {responses.shape} with labels of shape {labels.shape} and units of shape "
            f"{scale.shape}: give one label and one unit for each gene."
        )
    count = int(labels.max(initial=-1)) + 1 if n_modules is None else n_modules
    sizes = np.bincount(labels, minlength=count)
    weights = np.zeros((len(labels), count))
    moved = scale > 0
    weights[np.flatnonzero(moved), labels[moved]] = 1.0 / scale[moved]
    weights /= np.maximum(sizes, 1)
    means = np.empty((len(responses), count))
    for start in range(0, len(responses), _BLOCK):
        means[start : start + _BLOCK] = responses[start : start + _BLOCK].astype(np.float64) @ weights
    means[:, sizes == 0] = np.nan
    return means


def clustered_order(rows: FloatArray) -> LabelArray:
    """Return an order of (N, D) rows that puts similar ones side by side (Ward, optimal leaf order)."""
    if len(rows) <= 2 or not rows.shape[1]:
        return np.arange(len(rows), dtype=np.int64)
    order: LabelArray = leaves_list(linkage(rows, "ward", optimal_ordering=True)).astype(np.int64)
    return order


@dataclass(frozen=True)
class ModuleAgreement:
    """How one contender's module responses agree with the measured ones, over N conditions and K modules.

    Attributes
    ----------
    title
        The contender.
    overall
        Mean over conditions of the Pearson over modules; 95 % over perturbations. A contender's undefined
        ones count as 0, unless all are.
    by_condition
        (N,) Pearson over the modules; NaN where one side is constant.
    by_module
        (K,) Pearson over the conditions: whether a module's response tells perturbations apart.
    module_mean
        Mean of `by_module` over the modules that have genes, undefined ones as 0; NaN where all are.
    """

    title: str
    overall: Interval
    by_condition: FloatArray
    by_module: FloatArray
    module_mean: float

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, None where undefined; without the single conditions."""
        return {
            "title": self.title,
            "overall": self.overall.to_json(),
            "module_mean": plain_number(self.module_mean),
            "by_module": plain_numbers(self.by_module),
        }


def module_agreement(
    title: str, said: FloatArray, measured: FloatArray, cluster: Labels, *, n_draws: int, seed: int
) -> ModuleAgreement:
    """Compare module responses with the measured ones, condition by condition and module by module.

    Parameters
    ----------
    title
        The contender.
    said, measured
        (N, K); modules without genes are NaN in both and left out.
    cluster
        (N,) the perturbation of each condition.
    n_draws, seed
        Of the bootstrap over perturbations.
    """
    known = np.isfinite(measured).all(axis=0) & np.isfinite(said).all(axis=0)
    by_condition = row_correlations(said[:, known], measured[:, known])
    of_module = row_correlations(said[:, known].T, measured[:, known].T)
    by_module = np.full(measured.shape[1], np.nan)
    by_module[known] = of_module
    overall, module_mean = UNDEFINED, math.nan
    if np.isfinite(by_condition).any():
        overall = clustered_mean(np.nan_to_num(by_condition), cluster, n_draws, seed)
    if np.isfinite(of_module).any():
        module_mean = float(np.nan_to_num(of_module).mean())
    return ModuleAgreement(title, overall, by_condition, by_module, module_mean)


def row_correlations(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return (N,) the Pearson correlation of each row of two (N, D) arrays.

    NaN with fewer than three columns and where a row is constant up to rounding.
    """
    found = np.full(len(first), np.nan)
    if first.shape[1] < FEWEST_PAIRS:
        return found
    centred = [side - side.mean(axis=1, keepdims=True) for side in (first, second)]
    sizes = [np.sqrt(np.square(side).sum(axis=1)) for side in centred]
    moves = [
        size > _ROUNDING * np.abs(side).max(axis=1) for size, side in zip(sizes, (first, second), strict=True)
    ]
    rows: NDArray[np.bool_] = moves[0] & moves[1]
    products = (centred[0] * centred[1]).sum(axis=1)
    found[rows] = np.clip(products[rows] / (sizes[0] * sizes[1])[rows], -1.0, 1.0)
    return found


def strongest_baseline(contenders: Sequence[ModuleAgreement]) -> ModuleAgreement | None:
    """Return the contender after the first that agrees best; None where none is defined."""
    known = [found for found in contenders[1:] if np.isfinite(found.overall.value)]
    return max(known, key=lambda found: found.overall.value, default=None)

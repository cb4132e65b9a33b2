"""Split-conformal intervals: bounds that hold at their nominal rate for perturbations of another part.

Conditions of one perturbation are no independent evidence, so each perturbation weighs the same however many
conditions it has. From 40 perturbations on one more that was never seen is allowed for (Vovk et al. 2005;
hierarchical data: Lee, Barber and Willett 2023); with fewer, where that allowance would dwarf the level, the
width is the smallest that covers each perturbation by all others at the nominal rate on average. Either
way calibration and new perturbations must be exchangeable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, SchemaError

from pertcast.evaluation.held_out import FloatArray

LEVELS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Nominal levels that intervals are kept for."""

CLUSTERS_PER_GENE: Final = 40
"""From so many calibrating perturbations on every gene has quantiles of its own."""

FEWEST_CLUSTERS: Final = 3
"""With fewer calibrating perturbations nothing can be left out and checked: intervals are infinite."""

_VALUES_AT_ONCE: Final = 1_000_000
_LEAST_SD_SHARE: Final = 1e-3
_GRID: Final = 4001
_REACHES: Final = 201


@dataclass(frozen=True)
class Conformal:
    """Half widths of intervals in units of a local scale.

    The interval of gene g is mean +- quantile x scale, scale the model's standard deviation of this condition
    and gene where it states one, else the gene's root mean square residual.

    Attributes
    ----------
    quantiles
        (L, G) float32 by level of `LEVELS`; infinite where a level is out of reach.
    gene_scale
        (G,) float32 root mean square residuals; all 1 where the model states its own scale.
    least_sd
        (G,) float32: a stated standard deviation below it counts as this; all 0 where there is none.
    uses_sd
        Whether the model's standard deviation is the scale.
    n_clusters
        Perturbations that calibrated.
    is_by_gene
        Whether every gene has quantiles of its own; else one for all genes.
    """

    quantiles: FloatArray
    gene_scale: FloatArray
    least_sd: FloatArray
    uses_sd: bool
    n_clusters: int
    is_by_gene: bool

    @classmethod
    def fit(cls, residual: FloatArray, sd: FloatArray | None, cluster: NDArray[Any]) -> Conformal:
        """Calibrate on conditions that were neither trained on nor are to be judged.

        Parameters
        ----------
        residual
            (N, G) measured minus predicted response.
        sd
            (N, G) standard deviation that the model states, or None.
        cluster
            (N,) label of each condition's perturbation.

        Raises
        ------
        SchemaError
            There are no conditions, shapes differ, or a residual is not finite.
        """
        _check(residual, sd, cluster)
        labels, index = np.unique(cluster, return_inverse=True)
        sizes = np.bincount(index)
        weight = 1 / (len(labels) * sizes[index])
        is_by_gene = len(labels) >= CLUSTERS_PER_GENE
        least: FloatArray = np.zeros(residual.shape[1])
        scale: FloatArray = np.ones(residual.shape[1])
        if sd is None:
            scale, scores = _gene_scale(residual, weight), _scores_without_own(residual, weight, index)
        else:
            least = _least_sd(sd)
            scores = np.abs(residual) / np.maximum(sd, least)
        if is_by_gene:
            reach = [level * (len(labels) + 1) / len(labels) for level in LEVELS]
            quantiles = _quantiles_by_gene(scores, weight, reach)
        else:
            pooled = _quantiles_left_out(scores, index, len(labels))
            quantiles = np.repeat(pooled[:, None], residual.shape[1], axis=1)
        return cls(
            quantiles=quantiles.astype(np.float32),
            gene_scale=scale.astype(np.float32),
            least_sd=least.astype(np.float32),
            uses_sd=sd is not None,
            n_clusters=len(labels),
            is_by_gene=is_by_gene,
        )

    def half_width(self, sd: FloatArray | None, level: float) -> FloatArray:
        """Return half the interval's width, (N, G), or (1, G) where the model states no standard deviation.

        Raises
        ------
        ConfigError
            The level is not one of `LEVELS`, or a standard deviation is missing or not wanted.
        """
        if level not in LEVELS:
            raise ConfigError(
                f"No interval is kept for level {level}; there are: {', '.join(map(str, LEVELS))}."
            )
        if (sd is not None) != self.uses_sd:
            wanted = "with" if self.uses_sd else "without"
            raise ConfigError(
                f"These intervals were calibrated {wanted} the model's standard deviations; "
                f"ask for them {wanted} as well."
            )
        scale = self.gene_scale[None] if sd is None else np.maximum(sd, self.least_sd)
        width: FloatArray = self.quantiles[LEVELS.index(level)] * scale
        return width

    def interval(
        self, mean: FloatArray, sd: FloatArray | None, level: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return lower and upper bounds (N, G) of the measured responses of N conditions.

        Parameters
        ----------
        mean
            (N, G) predicted responses.
        sd
            (N, G) as in `fit`; None where it was None there.
        level
            One of `LEVELS`.
        """
        width = self.half_width(sd, level)
        return mean - width, mean + width

    def to_state(self) -> dict[str, NDArray[Any]]:
        """Return everything as plain arrays."""
        return {
            "quantiles": self.quantiles,
            "gene_scale": self.gene_scale,
            "least_sd": self.least_sd,
            "uses_sd": np.array(self.uses_sd),
            "n_clusters": np.array(self.n_clusters, dtype=np.int64),
            "is_by_gene": np.array(self.is_by_gene),
            "levels": np.array(LEVELS),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Conformal:
        """Restore from `to_state`; raises SchemaError for another set of levels."""
        if tuple(state["levels"].tolist()) != LEVELS:
            raise SchemaError(
                f"These intervals hold levels {state['levels'].tolist()}, not {list(LEVELS)}; calibrate anew."
            )
        return cls(
            quantiles=state["quantiles"],
            gene_scale=state["gene_scale"],
            least_sd=state["least_sd"],
            uses_sd=bool(state["uses_sd"]),
            n_clusters=int(state["n_clusters"]),
            is_by_gene=bool(state["is_by_gene"]),
        )


def _check(residual: FloatArray, sd: FloatArray | None, cluster: NDArray[Any]) -> None:
    if not len(residual) or len(cluster) != len(residual):
        raise SchemaError(
            f"{len(residual)} residuals and {len(cluster)} labels: calibrate on at least one condition, "
            "with one label each."
        )
    if sd is not None and sd.shape != residual.shape:
        raise SchemaError(f"Residuals have shape {residual.shape}, standard deviations {sd.shape}.")
    if not np.isfinite(residual).all() or (sd is not None and not np.isfinite(sd).all()):
        raise SchemaError("A residual or standard deviation is not finite; predict every gene.")


def _least_sd(sd: FloatArray) -> FloatArray:
    least: FloatArray = _LEAST_SD_SHARE * sd.mean(axis=0, dtype=np.float64)
    return np.where(least > 0, least, 1.0)


def _gene_scale(residual: FloatArray, weight: FloatArray) -> FloatArray:
    scale: FloatArray = np.sqrt(weight @ np.square(residual, dtype=np.float64))
    return np.where(scale > 0, scale, 1.0)


def _scores_without_own(residual: FloatArray, weight: FloatArray, index: NDArray[Any]) -> FloatArray:
    """Return (N, G) |residual| over the genes' scale as it is without the own perturbation.

    A new perturbation has no part in the scale that it is measured by, so none may have here.
    """
    n_clusters = int(index.max()) + 1
    if n_clusters == 1:
        return np.full(residual.shape, np.inf, dtype=np.float32)
    squares = np.square(residual, dtype=np.float64)
    own = np.zeros((n_clusters, residual.shape[1]))
    np.add.at(own, index, squares * weight[:, None])
    others = (own.sum(axis=0) - own) * (n_clusters / (n_clusters - 1))
    scale = np.sqrt(np.maximum(others, 0.0))[index]
    size = np.abs(residual)
    undefined = np.where(size > 0, np.inf, 0.0)
    scores: FloatArray = np.divide(size, scale, out=undefined, where=scale > 0)
    return scores


def _quantiles_by_gene(scores: FloatArray, weight: FloatArray, reach: list[float]) -> FloatArray:
    """Return (L, G) smallest scores below which, weighted, lies at least `reach`; infinite where none is."""
    quantiles = np.empty((len(reach), scores.shape[1]))
    step = max(1, _VALUES_AT_ONCE // len(scores))
    for start in range(0, scores.shape[1], step):
        genes = slice(start, start + step)
        order = np.argsort(scores[:, genes], axis=0, kind="stable")
        ordered = np.take_along_axis(scores[:, genes], order, axis=0)
        below = np.cumsum(weight[order], axis=0)
        for level, wanted in enumerate(reach):
            enough = below >= wanted - 1e-9
            first = np.argmax(enough, axis=0)
            found = np.take_along_axis(ordered, first[None], axis=0)[0]
            quantiles[level, genes] = np.where(enough[-1], found, np.inf)
    return quantiles


def _quantiles_left_out(scores: FloatArray, index: NDArray[Any], n_clusters: int) -> FloatArray:
    """Return (L,) quantiles over all genes together, by leaving out one perturbation after the other.

    A quantile is taken at the smallest reach, at least the level, at which the quantiles of all other
    perturbations cover the one left out at that level on average; infinite where no reach does.
    """
    finite = scores[np.isfinite(scores)]
    if n_clusters < FEWEST_CLUSTERS or not len(finite):
        return np.full(len(LEVELS), np.inf)
    grid = np.unique(np.quantile(finite, np.linspace(0, 1, _GRID)))
    below = np.stack([_share_below(scores[index == cluster], grid) for cluster in range(n_clusters)])
    everyone = below.mean(axis=0)
    others = (n_clusters * everyone - below) / (n_clusters - 1)
    return np.array([_smallest(level, grid, below, everyone, others) for level in LEVELS])


def _share_below(scores: FloatArray, grid: FloatArray) -> FloatArray:
    found: FloatArray = np.searchsorted(np.sort(scores, axis=None), grid, side="right") / scores.size
    return found


def _smallest(
    level: float, grid: FloatArray, below: FloatArray, everyone: FloatArray, others: FloatArray
) -> float:
    """Return the smallest threshold of `grid` (T,) whose left-out coverage is `level`; infinite for none.

    `below` and `others` are (K, T) shares of the scores of a perturbation, and of all others, up to each
    threshold; `everyone` is (T,).
    """
    clusters = np.arange(len(below))
    for reach in np.linspace(level, 1.0, _REACHES):
        enough = others >= reach - 1e-9
        covered = below[clusters, np.argmax(enough, axis=1)]
        if enough[:, -1].all() and covered.mean() >= level:
            return float(grid[np.argmax(everyone >= reach - 1e-9)])
    return np.inf

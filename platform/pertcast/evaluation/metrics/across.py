"""Metrics over conditions: one number for a prediction, from two columns of facts that each condition has.

The columns are those of `pertcast.evaluation.cells.cell_scores.CellScores.facts`; a bootstrap over
conditions takes the same rows of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.metrics.gene_lists import spearman
from pertcast.evaluation.rowwise import pearson

_FEWEST: Final = 3


@dataclass(frozen=True)
class AcrossMetric:
    """One metric; higher is better, 1 is perfect and 0 without information.

    Attributes
    ----------
    name, title, source
        As of `Metric`.
    true, predicted
        Names of the two columns of facts.
    compare
        ``compare(true (N,), predicted (N,)) -> float``; its docstring holds the formula.
    """

    name: str
    title: str
    source: str
    true: str
    predicted: str
    compare: Callable[[FloatArray, FloatArray], float]

    @property
    def formula(self) -> str:
        """The first line of the function's docstring."""
        return (self.compare.__doc__ or "").strip().splitlines()[0]

    def score(self, facts: Mapping[str, FloatArray]) -> float:
        """Score the facts of N conditions; NaN where the metric is undefined."""
        true, predicted = facts[self.true], facts[self.predicted]
        both = ~(np.isnan(true) | np.isnan(predicted))
        return self.compare(true[both], predicted[both])


def pearson_edistance(true: FloatArray, predicted: FloatArray) -> float:
    """corr over conditions of the E-distance to controls of predicted and of true cells; NaN below three."""  # noqa: D403
    if len(true) < _FEWEST:
        return float("nan")
    return float(pearson(predicted[None].astype(np.float64), true[None].astype(np.float64))[0])


def spearman_significant(true: FloatArray, predicted: FloatArray) -> float:
    """Rank correlation over conditions of the numbers of significant genes, where the truth has any."""
    some = true > 0
    return spearman(predicted[some], true[some])


_ALL: Final = (
    AcrossMetric(
        "pearson_edistance",
        "r E-distance",
        "cell-eval 0.8.2",
        "true_e_distance",
        "predicted_e_distance",
        pearson_edistance,
    ),
    AcrossMetric(
        "de_spearman_sig",
        "DE count rho",
        "cell-eval 0.8.2",
        "true_significant_genes",
        "predicted_significant_genes",
        spearman_significant,
    ),
)

ACROSS: Final[Mapping[str, AcrossMetric]] = MappingProxyType({metric.name: metric for metric in _ALL})
"""Name -> metric over conditions."""

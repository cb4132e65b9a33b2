"""Scores of single profiles on the absolute scale: p measured and q predicted."""

from __future__ import annotations

from typing import Final

from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.metrics.metric import higher_is_better, lower_is_better
from pertcast.evaluation.rowwise import by_rows, mean_squared_error, pearson, r_squared


def well_pearson(prediction: FloatArray, profiles: FloatArray) -> FloatArray:
    """corr over genes of predicted and measured profile, absolute scale."""  # noqa: D403
    return by_rows(pearson, prediction, profiles)


def well_r2(prediction: FloatArray, profiles: FloatArray) -> FloatArray:
    """1 - sum (p - q)^2 / sum (p - mean p)^2 over genes, p measured and q predicted, absolute scale."""
    return by_rows(r_squared, prediction, profiles)


def well_mse(prediction: FloatArray, profiles: FloatArray) -> FloatArray:
    """Mean over genes of (p - q)^2, p measured and q predicted, absolute scale."""
    return by_rows(mean_squared_error, prediction, profiles)


WELL_METRICS: Final = (
    higher_is_better("well_pearson", "well r", well_pearson, level="well"),
    higher_is_better("well_r2", "well R2", well_r2, uninformative=None, level="well"),
    lower_is_better("well_mse", "well MSE", well_mse, level="well"),
)

"""Evaluations as jobs: runs and their folds, bundles on external stores, predictions of other tools."""

from pertcast_jobs.evaluate.pooling import (
    can_be_pooled,
    compare,
    groups,
    pool,
    pool_folds,
    pool_seeds,
    side_by_side,
)
from pertcast_jobs.evaluate.runs import evaluate_run
from pertcast_jobs.evaluate.saving import Evaluation

__all__ = [
    "Evaluation",
    "can_be_pooled",
    "compare",
    "evaluate_run",
    "groups",
    "pool",
    "pool_folds",
    "pool_seeds",
    "side_by_side",
]

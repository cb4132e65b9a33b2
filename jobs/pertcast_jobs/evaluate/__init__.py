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
from pertcast_jobs.evaluate.several import evaluate_runs, expand, pool_and_compare

__all__ = [
    "Evaluation",
    "can_be_pooled",
    "compare",
    "evaluate_run",
    "evaluate_runs",
    "expand",
    "groups",
    "pool",
    "pool_and_compare",
    "pool_folds",
    "pool_seeds",
    "side_by_side",
]

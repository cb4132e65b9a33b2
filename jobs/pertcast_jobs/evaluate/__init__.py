"""Evaluations as jobs: runs and their folds, bundles on external stores, predictions of other tools."""

from pertcast_jobs.evaluate.runs import Evaluation, can_be_pooled, evaluate_run, pool_folds, side_by_side

__all__ = ["Evaluation", "can_be_pooled", "evaluate_run", "pool_folds", "side_by_side"]

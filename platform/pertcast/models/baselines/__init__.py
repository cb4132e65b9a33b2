"""Baselines: what a trained model must beat, each an ordinary ResponseModel.

All are solved from one set of sums over the training rows (`statistics.ConditionMeansStage`).
"""

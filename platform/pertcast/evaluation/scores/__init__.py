"""Scores of every contender on every condition, pooled over folds and seeds; permuted labels."""

"""Populations of cells scored against each other, for every contender."""

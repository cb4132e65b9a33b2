"""Populations of cells that are scored against each other: measured ones, and those that are predicted.

A source hands out one condition at a time, so that memory is bounded by the largest condition.
"""

from __future__ import annotations

from typing import Protocol

import polars as pl

from pertcast.evaluation.held_out import FloatArray, IndexArray


class MeasuredCells(Protocol):
    """The truth: N conditions and their controls, log-normalised, over G genes."""

    @property
    def conditions(self) -> pl.DataFrame:
        """N rows with `condition_id`, in the order of the held-out table."""
        ...

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the G genes."""
        ...

    @property
    def control_group(self) -> IndexArray:
        """(N,) number of the control population that belongs to each condition."""
        ...

    def cells(self, condition: int) -> FloatArray:
        """Return (n, G) float32 cells of a condition."""
        ...

    def controls(self, group: int) -> FloatArray:
        """Return (m, G) float32 control cells of a group."""
        ...


class PredictedCells(Protocol):
    """A prediction: cells of the same N conditions, over the same genes and on the same scale."""

    def cells(self, condition: int) -> FloatArray:
        """Return (k, G) float32 predicted cells of a condition."""
        ...

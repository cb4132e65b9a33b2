"""What a metric declares about itself, and the word for the level it is scored on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from pertcast.evaluation.held_out import FloatArray

Level = Literal["condition", "well", "cells"]
"""What one value belongs to: a condition's mean response, a single profile, a condition's cells."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name
        Its word in tables, JSON and objectives.
    title
        Short column header.
    level
        "condition": scored on condition means, ``score(prediction (N, G), HeldOut) -> (N,)``.
        "well": scored on single profiles, absolute, ``score(prediction (M, G), profiles (M, G)) -> (M,)``.
        "cells": scored on the cells of one condition, ``score(CellPair) -> float``; one value a condition.
    direction
        Whether higher or lower values are better.
    best
        Value of a perfect prediction.
    uninformative
        Value of a prediction without information: stands in for an undefined value where two predictions
        are compared pair by pair (said so in the report); None where the metric is always defined.
    source
        Where the definition comes from.
    score
        The function; its docstring holds the formula.
    """

    name: str
    title: str
    level: Level
    direction: Literal["higher", "lower"]
    best: float
    uninformative: float | None
    source: str
    score: Callable[..., Any]

    @property
    def formula(self) -> str:
        """The first line of the scoring function's docstring."""
        function = self.score.func if isinstance(self.score, partial) else self.score
        return (function.__doc__ or "").strip().splitlines()[0]

    @property
    def sign(self) -> int:
        """+1 where higher is better, -1 where lower is."""
        return 1 if self.direction == "higher" else -1

    def filled(self, scores: FloatArray) -> FloatArray:
        """Return scores with the uninformative value where they are undefined, for comparisons."""
        if self.uninformative is None:
            return scores
        return np.where(np.isnan(scores), self.uninformative, scores)


COMMON_USE = "common use"


def higher_is_better(
    name: str,
    title: str,
    score: Callable[..., Any],
    source: str = COMMON_USE,
    uninformative: float | None = 0.0,
    level: Level = "condition",
) -> Metric:
    """Return a metric whose best value is 1."""
    return Metric(name, title, level, "higher", 1.0, uninformative, source, score)


def lower_is_better(
    name: str,
    title: str,
    score: Callable[..., Any],
    source: str = COMMON_USE,
    uninformative: float | None = None,
    level: Level = "condition",
) -> Metric:
    """Return a metric whose best value is 0."""
    return Metric(name, title, level, "lower", 0.0, uninformative, source, score)

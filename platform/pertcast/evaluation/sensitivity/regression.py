"""Predictions of held-out groups: the design and the penalty are chosen inside the training folds alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.sensitivity.designs import Blocks, Design, columns
from pertcast.models.baselines.linear_algebra import RidgeFit, fit_ridge

N_FOLDS: Final = 5


@dataclass(frozen=True)
class CrossFit:
    """Predictions of every pair by a regression that saw no pair of its group.

    Attributes
    ----------
    predicted
        (N,) float64.
    chosen
        (title of a design, in how many folds it was chosen), the most frequent first.
    """

    predicted: FloatArray
    chosen: tuple[tuple[str, int], ...]


def deal_folds(n_groups: int, n_folds: int = N_FOLDS, seed: int = 0) -> IndexArray:
    """Return (n_groups,) the fold of each group: all folds of equal size, or one apart."""
    order = np.random.default_rng(seed).permutation(n_groups)
    folds = np.empty(n_groups, dtype=np.int64)
    folds[order] = np.arange(n_groups) % min(n_folds, max(1, n_groups))
    return folds


def cross_fit(
    designs: Sequence[Design], blocks: Blocks, value: FloatArray, group: IndexArray, fold: IndexArray
) -> CrossFit:
    """Predict every fold from the others.

    In each fold's training pairs every design is fitted by ridge with its own penalty, and the one that
    predicts left-out groups best (exactly, see `fit_ridge`) is kept; the fold itself has no say.

    Parameters
    ----------
    designs
        Candidates; those that look at a block that is not there are passed over.
    blocks
        Name -> (N, F).
    value
        (N,) what is predicted.
    group
        (N,) compounds or lines: never split.
    fold
        (N,) fold of each pair; equal within a group.
    """
    usable = [design for design in designs if design.blocks <= set(blocks)]
    predicted, chosen = np.empty(len(value)), Counter[str]()
    for number in np.unique(fold):
        train, test = (np.flatnonzero(found) for found in (fold != number, fold == number))
        fitted = [_fit(design, blocks, value, group, train, test) for design in usable]
        best = min(fitted, key=lambda candidate: candidate.error)
        predicted[test] = best.predicted
        chosen[best.title] += 1
    return CrossFit(predicted, tuple(chosen.most_common()))


@dataclass(frozen=True)
class _Candidate:
    title: str
    error: float
    predicted: FloatArray


def _fit(
    design: Design, blocks: Blocks, value: FloatArray, group: IndexArray, train: IndexArray, test: IndexArray
) -> _Candidate:
    fitted, asked = columns(design, blocks, train, test)
    response = torch.from_numpy(value[train, None])
    ridge = fit_ridge(torch.from_numpy(fitted), response, torch.from_numpy(group[train]))
    error = float((response - ridge.left_out).square().mean())
    return _Candidate(design.title, error if math.isfinite(error) else math.inf, _predict(ridge, asked))


def _predict(ridge: RidgeFit, asked: FloatArray) -> FloatArray:
    found = ridge.intercept + (torch.from_numpy(asked) - ridge.offset) @ ridge.coefficients
    predicted: FloatArray = found[:, 0].numpy()
    return predicted


def training_means(value: FloatArray, fold: IndexArray, pool: IndexArray | None = None) -> FloatArray:
    """Return (N,) the mean of the other folds' pairs, or of those of the same pool where it has any.

    Parameters
    ----------
    value
        (N,) measured.
    fold
        (N,) fold of each pair.
    pool
        (N,) lines (where compounds are held out) or compounds (where lines are).
    """
    predicted = np.empty(len(value))
    for number in np.unique(fold):
        train, test = fold != number, np.flatnonzero(fold == number)
        predicted[test] = value[train].mean()
        if pool is None:
            continue
        size = int(pool.max()) + 1
        sums, counts = np.bincount(pool[train], value[train], size), np.bincount(pool[train], minlength=size)
        known = test[counts[pool[test]] > 0]
        predicted[known] = sums[pool[known]] / counts[pool[known]]
    return predicted

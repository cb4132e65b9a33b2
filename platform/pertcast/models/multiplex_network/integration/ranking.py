"""How well scores put positives before negatives: area under the ROC curve and average precision."""

from __future__ import annotations

import torch
from torch import Tensor


def area_under_curve(positive: Tensor, negative: Tensor) -> float:
    """Return the chance that a positive scores above a negative, ties counted as half (Mann-Whitney).

    Parameters
    ----------
    positive, negative
        (P,) and (Q,) scores, finite.

    Raises
    ------
    ValueError
        One of them is empty.
    """
    _nonempty(positive, negative)
    order = negative.double().sort().values.contiguous()
    scores = positive.double().contiguous()
    below = torch.searchsorted(order, scores, side="left")
    upto = torch.searchsorted(order, scores, side="right")
    return float((below + upto).double().mean() / (2 * len(order)))


def average_precision(positive: Tensor, negative: Tensor) -> float:
    """Return the sum over thresholds of precision times the recall gained; equal scores share a threshold.

    Without ties it is the mean over positives of the precision at their rank. Chance is P / (P + Q).

    Parameters
    ----------
    positive, negative
        (P,) and (Q,) scores, finite.

    Raises
    ------
    ValueError
        One of them is empty.
    """
    _nonempty(positive, negative)
    positive, negative = positive.double().sort().values, negative.double().sort().values
    thresholds, gained = torch.unique_consecutive(positive, return_counts=True)
    true = len(positive) - torch.searchsorted(positive, thresholds, side="left")
    false = len(negative) - torch.searchsorted(negative, thresholds, side="left")
    return float(((true / (true + false)).double() * gained).sum() / len(positive))


def _nonempty(positive: Tensor, negative: Tensor) -> None:
    if not len(positive) or not len(negative):
        raise ValueError(f"{len(positive)} positives and {len(negative)} negatives: nothing to rank.")

"""How strongly the objective goes with each value tried, and how strongly it would by chance alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

FEWEST_TRIALS: Final = 6
"""Below this, 5 % of all orders of the objective cannot be told from the best one."""

_N_PERMUTATIONS: Final = 2000

Ranks = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """Association of the objective with each parameter.

    Attributes
    ----------
    strength
        Parameter -> size of Spearman's rank correlation with the objective; for values without an order the
        correlation ratio of the ranks. 0 none, 1 whole; the strongest first.
    chance
        What the strongest of them reaches in 1 of 20 sweeps in which nothing matters (permutations).
    n_trials
        Trials this is made of.
    """

    strength: Mapping[str, float]
    chance: float
    n_trials: int


def importance(
    values: Sequence[Mapping[str, Any]], objective: Sequence[float], seed: int = 0
) -> Importance | None:
    """Return the association of the objective with what was tried.

    Parameters
    ----------
    values
        N mappings from parameter to value. Parameters that some trials do not have are left out.
    objective
        (N,) results.
    seed
        Of the permutations.

    Returns
    -------
    Importance or None
        None with fewer than `FEWEST_TRIALS` trials, or where no parameter varies.
    """
    n = len(values)
    shared = [key for key in dict.fromkeys(k for v in values for k in v) if all(key in v for v in values)]
    columns = {key: [v[key] for v in values] for key in shared}
    columns = {key: column for key, column in columns.items() if len({str(each) for each in column}) > 1}
    ranks = rankdata(objective)
    if n < FEWEST_TRIALS or not columns or np.ptp(ranks) == 0:
        return None
    random = np.random.default_rng(seed)
    orders = np.stack([ranks, *(random.permutation(ranks) for _ in range(_N_PERMUTATIONS))])
    strengths = {key: _strength(column, orders) for key, column in columns.items()}
    strongest = np.stack(list(strengths.values()))[:, 1:].max(axis=0)
    found = sorted(strengths, key=lambda key: -strengths[key][0])
    return Importance(
        {key: float(strengths[key][0]) for key in found}, float(np.quantile(strongest, 0.95)), n
    )


def is_number(value: Any) -> bool:
    """Whether a value has a place on a number line."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _strength(column: Sequence[Any], orders: Ranks) -> Ranks:
    """Return (P,) association of one parameter with P orders of the objective's ranks (P, N)."""
    centred = orders - orders.mean(axis=1, keepdims=True)
    total = np.square(centred).sum(axis=1)
    if all(map(is_number, column)):
        own = rankdata(column) - (len(column) + 1) / 2
        correlation: Ranks = np.abs(centred @ own) / np.sqrt(total * np.square(own).sum())
        return correlation
    labels = np.unique([str(value) for value in column], return_inverse=True)[1]
    members = np.eye(labels.max() + 1)[labels]
    between = (np.square(centred @ members) / members.sum(axis=0)).sum(axis=1)
    ratio: Ranks = np.sqrt(between / total)
    return ratio

"""Where a model gains or loses: its advantage over the strongest baseline by kind of condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.evaluation.bootstrap import Estimate, estimates
from pertcast.evaluation.scores.score_board import CLUSTER, EFFECT_SIZE, ScoreBoard
from pertcast.evaluation.trust.members import member_groups, stratum_name
from pertcast.evaluation.trust.type_strata import type_groups

_MOST_CONTEXTS: Final = 8
_FEWEST_CONDITIONS: Final = 4
_SEEN: Final = (
    ("seen_condition", "condition", "not trained on", "trained on as such"),
    ("seen_pert", "perturbation", "new perturbation", "perturbation seen in training"),
    ("seen_cell", "cell line", "new cell line", "cell line seen in training"),
)
"""Column that says what training held, group, and the two names."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """One kind of condition.

    Attributes
    ----------
    group
        What the strata of a group differ in ("effect strength").
    name
        Which of them ("strong effect").
    n_conditions
        Conditions in it.
    gain
        Model minus strongest baseline on the primary metric, with its interval.
    """

    group: str
    name: str
    n_conditions: int
    gain: Estimate


def _halves(
    values: pl.Series, group: str, low_name: str, high_name: str
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    known = ~np.isnan(numbers)
    if not known.any() or np.nanmin(numbers) == np.nanmax(numbers):
        return
    middle = float(np.nanmedian(numbers))
    above = numbers > middle if (numbers[known] > middle).any() else numbers >= middle
    yield group, high_name, known & above
    yield group, low_name, known & ~above


def _memberships(conditions: pl.DataFrame) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    columns = set(conditions.columns)
    yield from _halves(conditions[EFFECT_SIZE], "effect strength", "weak effect", "strong effect")
    if "nn_train_dist" in columns:
        names = ("near training", "far from training")
        yield from _halves(conditions["nn_train_dist"], "similarity to training", *names)
    yield from _seen(conditions)
    yield from type_groups(conditions)
    for n_members, n_unseen, chosen in member_groups(conditions):
        yield "members seen in training", stratum_name(n_members, n_unseen), chosen
    if "n_rows" in columns:
        yield from _halves(conditions["n_rows"], "replicates", "fewer replicates", "more replicates")
    if "cell_iname" in columns:
        names = ("measured in fewer cell lines", "measured in more cell lines")
        yield from _halves(_n_contexts(conditions), "cell lines", *names)
    if "cell_iname" in columns and 1 < conditions["cell_iname"].n_unique() <= _MOST_CONTEXTS:
        for context in sorted(conditions["cell_iname"].unique().to_list()):
            yield "context", context, (conditions["cell_iname"] == context).to_numpy()


def _seen(conditions: pl.DataFrame) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    for column, group, unseen_name, seen_name in _SEEN:
        if column not in conditions.columns or conditions[column].n_unique() < 2:
            continue
        seen = conditions[column].cast(pl.Boolean).fill_null(False).to_numpy()
        yield group, seen_name, seen
        yield group, unseen_name, ~seen


def _n_contexts(conditions: pl.DataFrame) -> pl.Series:
    """Return (N,) in how many cell lines the perturbation of each condition is held out."""
    return conditions.select(pl.col("cell_iname").n_unique().over(CLUSTER)).to_series()


def strata(board: ScoreBoard, metric: str, baseline: str, n_draws: int, seed: int) -> tuple[Stratum, ...]:
    """Return the model's gain over `baseline` in every stratum with at least four conditions, all first."""
    gain, cluster = board.gain(metric, baseline), board.cluster
    everything = np.ones(len(gain), dtype=bool)
    result = []
    for group, name, members in (("all", "all conditions", everything), *_memberships(board.conditions)):
        if members.sum() < _FEWEST_CONDITIONS:
            continue
        (estimate,) = estimates(gain[members][:, None], cluster[members], n_draws, seed)
        result.append(Stratum(group, name, int(members.sum()), estimate))
    return tuple(result)

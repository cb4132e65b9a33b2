"""Conditions by type of perturbation, and by how many other types of the same one training measured.

Knock-down, knock-out and over-expression are questions of their own, and with another type of the same gene
in training each is an easier one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.vocabulary import PERTURBATION_KINDS

from pertcast.evaluation.scores.score_board import ScoreBoard
from pertcast.evaluation.trust.scored_strata import ScoredStratum, n_perturbations, stratum_scores

N_OTHER_TYPES: Final = "n_other_types"
"""Column of a board's conditions: how many other types of the same perturbation training measured."""

_TYPE: Final = "pert_type"
_FEWEST_CONDITIONS: Final = 4


def type_groups(conditions: pl.DataFrame) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield (group, name, (N,) mask) of every type, and of every number of other types measured.

    Nothing of a group where the table does not tell, or all conditions are of one kind.
    """
    for column, group in ((_TYPE, "perturbation type"), (N_OTHER_TYPES, "other types measured")):
        if column not in conditions.columns or conditions[column].drop_nulls().n_unique() < 2:
            continue
        for value in conditions[column].drop_nulls().unique().sort().to_list():
            name = PERTURBATION_KINDS.get(value, value) if column == _TYPE else other_types_name(value)
            yield group, name, (conditions[column] == value).fill_null(False).to_numpy()


def other_types_name(count: int) -> str:
    """Return the name of a stratum: "no other type in training", "2 other types in training"."""
    return f"{count or 'no'} other type{'s' if count > 1 else ''} in training"


def by_type(board: ScoreBoard, n_draws: int, seed: int) -> tuple[ScoredStratum, ...]:
    """Return every stratum of at least four conditions with all contenders and metrics."""
    return tuple(
        ScoredStratum(
            name=name,
            n_conditions=int(chosen.sum()),
            n_perturbations=n_perturbations(board, chosen),
            scores=stratum_scores(board, chosen, n_draws, seed),
        )
        for _, name, chosen in type_groups(board.conditions)
        if chosen.sum() >= _FEWEST_CONDITIONS
    )

"""Singles and combinations by how much of them training has shown: every contender's scores side by side.

"double, 1 unseen" is a question of its own; a mean over all of them depends on how many of each were tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.evaluation.scores.score_board import ScoreBoard
from pertcast.evaluation.trust.scored_strata import ScoredStratum, n_perturbations, stratum_scores

N_MEMBERS: Final = "n_members"
N_UNSEEN: Final = "n_unseen_members"
"""Columns of a board's conditions: perturbations of each, and how many of them training does not show alone.

A single counts as seen where training holds its perturbation at all, in another context, dose or combination.
"""

_NAMES: Final = MappingProxyType({1: "single", 2: "double", 3: "triple"})


@dataclass(frozen=True, slots=True)
class MemberStratum(ScoredStratum):
    """Held-out conditions of as many members, of which training has shown as many.

    Attributes
    ----------
    n_members, n_unseen
        Perturbations of each condition, and how many of them training does not show alone.
    """

    n_members: int
    n_unseen: int


def stratum_name(n_members: int, n_unseen: int) -> str:
    """Return the name of a stratum: "single, unseen", "double, 0 unseen"."""
    if n_members == 1:
        return "single, unseen" if n_unseen else "single, seen"
    return f"{_NAMES.get(n_members, f'{n_members} members')}, {n_unseen} unseen"


def member_groups(conditions: pl.DataFrame) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Yield (members, unseen members, (N,) mask) of every kind of condition, where there are combinations.

    Nothing where the table does not tell, or all conditions are of one kind.
    """
    if not {N_MEMBERS, N_UNSEEN} <= set(conditions.columns):
        return
    kinds = conditions.select(N_MEMBERS, N_UNSEEN).drop_nulls().unique().sort(N_MEMBERS, N_UNSEEN)
    if kinds.height < 2 or int(kinds[N_MEMBERS].to_numpy().max()) < 2:
        return
    for n_members, n_unseen in kinds.iter_rows():
        chosen = (conditions[N_MEMBERS] == n_members) & (conditions[N_UNSEEN] == n_unseen)
        yield n_members, n_unseen, chosen.fill_null(False).to_numpy()


def by_members(board: ScoreBoard, n_draws: int, seed: int) -> tuple[MemberStratum, ...]:
    """Return every stratum with all contenders and metrics; empty where `member_groups` tells none apart."""
    return tuple(
        _stratum(board, (n_members, n_unseen), chosen, n_draws, seed)
        for n_members, n_unseen, chosen in member_groups(board.conditions)
    )


def _stratum(
    board: ScoreBoard, kind: tuple[int, int], chosen: NDArray[np.bool_], n_draws: int, seed: int
) -> MemberStratum:
    return MemberStratum(
        name=stratum_name(*kind),
        n_members=kind[0],
        n_unseen=kind[1],
        n_conditions=int(chosen.sum()),
        n_perturbations=n_perturbations(board, chosen),
        scores=stratum_scores(board, chosen, n_draws, seed),
    )

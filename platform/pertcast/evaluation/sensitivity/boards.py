"""Held-out compounds or cell lines, predicted from everything that could tell, scored on the same pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.sensitivity.designs import (
    OF_CELL,
    OF_EXPRESSION,
    OF_STRUCTURE,
    OF_STRUCTURE_AND_CELL,
)
from pertcast.evaluation.sensitivity.pairs import SensitivityPairs
from pertcast.evaluation.sensitivity.regression import CrossFit, cross_fit, deal_folds, training_means
from pertcast.evaluation.sensitivity.result import (
    ALL,
    CELL,
    FAR,
    FEWEST_GROUPS,
    GENERATED,
    GENERATED_BASELINE,
    KNOWN_MEAN,
    MEAN,
    MEASURED,
    NEAR,
    SEEN,
    STRUCTURE,
    STRUCTURE_AND_CELL,
    UNSEEN,
    Board,
    HeldOutKind,
    HeldOutSensitivity,
    PairPredictions,
    PredictorScore,
)
from pertcast.evaluation.sensitivity.scores import METRICS, Judge, Scored

_WORDS: Final[Mapping[HeldOutKind, tuple[str, str]]] = {
    "compounds": ("compounds", "the line"),
    "lines": ("cell lines", "the compound"),
}
_TITLES: Final[Mapping[str, str]] = {
    ALL: "all pairs",
    UNSEEN: "compounds that the generator never saw",
    SEEN: "compounds that the generator was trained on",
    NEAR: "unseen compounds near the generator's training",
    FAR: "unseen compounds far from the generator's training",
    MEASURED: "pairs whose response was measured",
}


@dataclass(frozen=True)
class Asked:
    """How a comparison is made: folds, resamplings and their seed."""

    n_folds: int
    n_draws: int
    seed: int


def hold_out(pairs: SensitivityPairs, kind: HeldOutKind, asked: Asked) -> HeldOutSensitivity:
    """Compare all predictors on held-out compounds or cell lines.

    Parameters
    ----------
    pairs
        What was measured, and what could predict it.
    kind
        "compounds" for drug-blind, "lines" for cell-blind folds.
    asked
        Folds and resamplings.

    Returns
    -------
    HeldOutSensitivity
        Without figures where there are fewer than 8 groups.
    """
    group = pairs.compound if kind == "compounds" else pairs.line
    distinct, index = np.unique(group, return_inverse=True)
    if len(distinct) < FEWEST_GROUPS:
        return HeldOutSensitivity(kind, len(distinct), 0, withheld=_too_few(len(distinct), kind))
    fold = deal_folds(len(distinct), asked.n_folds, asked.seed)[index]
    fits = _predict_all(pairs, kind, fold)
    boards = [_board(ALL, pairs, kind, fits, np.ones(pairs.n_pairs, dtype=bool), asked)]
    for name, rows in _strata(pairs).items():
        if len(np.unique(group[rows])) >= FEWEST_GROUPS:
            boards.append(_board(name, pairs, kind, fits, rows, asked))
    if not pairs.is_seen[pairs.compound].any():
        boards[0] = replace(boards[0], title="all pairs, of compounds that the generator never saw")
    boards += _measured_board(pairs, kind, fold, asked)
    return HeldOutSensitivity(
        kind,
        len(distinct),
        len(np.unique(fold)),
        boards=tuple(boards),
        predictions=_predictions(pairs, fits),
    )


def _strata(pairs: SensitivityPairs) -> dict[str, NDArray[np.bool_]]:
    """Return the pairs of compounds that the generator saw and did not see, and how near the latter are."""
    is_seen = pairs.is_seen[pairs.compound]
    strata = {}
    if is_seen.any() and not is_seen.all():
        strata = {UNSEEN: ~is_seen, SEEN: is_seen}
    if pairs.is_near is not None:
        is_near = pairs.is_near[pairs.compound]
        if is_near[~is_seen].any() and not is_near[~is_seen].all():
            strata |= {NEAR: ~is_seen & is_near, FAR: ~is_seen & ~is_near}
    return strata


def _too_few(count: int, kind: HeldOutKind) -> str:
    what = _WORDS[kind][0] if count != 1 else _WORDS[kind][0][:-1]
    return (
        f"{count} {what} joined, and {FEWEST_GROUPS} are needed to hold some out and to resample them: no "
        "figure is given."
    )


@dataclass(frozen=True)
class _Fit:
    """A predictor's predictions of some pairs, and the metrics that cannot be defined for it."""

    name: str
    title: str
    fit: CrossFit
    undefined: tuple[str, ...] = ()


def _predict_all(pairs: SensitivityPairs, kind: HeldOutKind, fold: IndexArray) -> list[_Fit]:
    """Return the predictors of all pairs, in the order of the board."""
    group = pairs.compound if kind == "compounds" else pairs.line
    pool = pairs.line if kind == "compounds" else pairs.compound
    fits = []
    for (title, responses), name in zip(
        pairs.generated.items(), (GENERATED, GENERATED_BASELINE), strict=False
    ):
        fit = cross_fit(OF_EXPRESSION, pairs.blocks(responses), pairs.value, group, fold)
        fits.append(_Fit(name, f"Generated: {title}", fit))
    if pairs.measured is not None and pairs.is_measured.all():
        fit = cross_fit(OF_EXPRESSION, pairs.blocks(pairs.measured), pairs.value, group, fold)
        fits.append(_Fit(MEASURED, "Measured expression", fit))
    blocks = pairs.blocks(next(iter(pairs.generated.values())))
    flat = ("pearson_within",)
    for name, title, designs, undefined in (
        (STRUCTURE_AND_CELL, "Fingerprint + cell line", OF_STRUCTURE_AND_CELL, ()),
        (STRUCTURE, "Fingerprint only", OF_STRUCTURE, flat if kind == "lines" else ()),
        (CELL, "Cell line only", OF_CELL, flat if kind == "compounds" else ()),
    ):
        fits.append(_Fit(name, title, cross_fit(designs, blocks, pairs.value, group, fold), undefined))
    known = training_means(pairs.value, fold, pool)
    fits.append(_Fit(KNOWN_MEAN, f"Mean of {_WORDS[kind][1]}", CrossFit(known, ())))
    overall = training_means(pairs.value, fold)
    return [*fits, _Fit(MEAN, "Mean of the training pairs", CrossFit(overall, ()), flat)]


def _board(
    name: str,
    pairs: SensitivityPairs,
    kind: HeldOutKind,
    fits: Sequence[_Fit],
    rows: NDArray[np.bool_],
    asked: Asked,
) -> Board:
    by_compound = kind == "compounds"
    group, pool = (pairs.compound, pairs.line) if by_compound else (pairs.line, pairs.compound)
    overall, known = (_of(name, fits)[rows] for name in (MEAN, KNOWN_MEAN))
    judge = Judge(pairs.value[rows], overall, known, group[rows], pool[rows], asked.n_draws, asked.seed)
    n_pairs = int(rows.sum())
    scored = {each.name: _without(judge.score(each.fit.predicted[rows]), each.undefined) for each in fits}
    return Board(
        name=name,
        title=_TITLES[name],
        n_pairs=n_pairs,
        n_compounds=len(np.unique(pairs.compound[rows])),
        n_lines=len(np.unique(pairs.line[rows])),
        rows=tuple(
            PredictorScore(each.name, each.title, scored[each.name].estimates(n_pairs), each.fit.chosen)
            for each in fits
        ),
        gains={
            each.name: scored[GENERATED].minus(scored[each.name], n_pairs)
            for each in fits
            if each.name != GENERATED
        },
    )


def _of(name: str, fits: Sequence[_Fit]) -> FloatArray:
    return next(each.fit.predicted for each in fits if each.name == name)


def _without(scored: Scored, undefined: Sequence[str]) -> Scored:
    """Drop the metrics of a predictor that cannot vary there: what is left is how the folds differ."""
    if not undefined:
        return scored
    return Scored(
        {name: math.nan if name in undefined else scored.value[name] for name in METRICS},
        {
            name: np.full_like(draws, np.nan) if name in undefined else draws
            for name, draws in scored.draws.items()
        },
    )


def _measured_board(
    pairs: SensitivityPairs, kind: HeldOutKind, fold: IndexArray, asked: Asked
) -> list[Board]:
    """Return the board of the pairs with a measured response, everything fitted on them alone."""
    rows = np.flatnonzero(pairs.is_measured)
    group = (pairs.compound if kind == "compounds" else pairs.line)[rows]
    if len(np.unique(group)) < FEWEST_GROUPS or len(np.unique(fold[rows])) < 2:
        return []
    chosen = pairs.take(rows)
    every = np.ones(len(rows), dtype=bool)
    board = _board(MEASURED, chosen, kind, _predict_all(chosen, kind, fold[rows]), every, asked)
    known = np.unique(chosen.compound)
    if n_seen := int(pairs.is_seen[known].sum()):
        title = f"{board.title} (the generator was trained on {n_seen:,} of the {len(known):,} compounds)"
        board = replace(board, title=title)
    return [board]


def _predictions(pairs: SensitivityPairs, fits: Sequence[_Fit]) -> PairPredictions:
    compounds: FloatArray = np.array(pairs.compounds)[pairs.compound]
    lines: FloatArray = np.array(pairs.lines)[pairs.line]
    return PairPredictions(
        compound=tuple(compounds.tolist()),
        line=tuple(lines.tolist()),
        value=pairs.value,
        predicted={each.name: each.fit.predicted for each in fits},
        is_seen=tuple(pairs.is_seen[pairs.compound].tolist()),
    )

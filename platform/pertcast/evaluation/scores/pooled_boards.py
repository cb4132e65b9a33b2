"""Boards of several runs as one: folds of one split stacked, trainings that differ in their seed averaged.

A condition counts once a fold that holds it out; one of several seeds counts once, with its mean score.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from pertcast_data.errors import SchemaError

from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.scores.score_board import ScoreBoard

Scores = Mapping[str, Mapping[str, FloatArray]]


def _stack(parts: Sequence[Scores]) -> dict[str, dict[str, FloatArray]]:
    return {
        contender: {
            name: np.concatenate([part[contender][name] for part in parts])
            for name in metrics
            if all(name in part[contender] for part in parts)
        }
        for contender, metrics in parts[0].items()
        if all(contender in part for part in parts)
    }


def _stack_seeds(boards: Sequence[ScoreBoard], pooled: Scores) -> dict[str, dict[str, FloatArray]]:
    """Return the (S, N) scores by seed of everybody whom the seed changes in some fold."""
    changed = dict.fromkeys(name for board in boards for name in board.seed_scores if name in pooled)
    return {
        name: {
            metric: np.concatenate([board.by_seed(name, metric) for board in boards], axis=1)
            for metric in pooled[name]
        }
        for name in changed
    }


def pool_boards(boards: Sequence[ScoreBoard], folds: Sequence[str] = ()) -> ScoreBoard:
    """Stack the boards of folds into one; contenders that a board lacks are left out.

    Parameters
    ----------
    boards
        One a fold.
    folds
        Names of the folds, where these are known to be of one split. A condition that several of them hold
        out (draws; a pair in the folds of both its members) then counts once a fold, under its id and the
        fold's name; intervals resample it as one perturbation all the same.

    Raises
    ------
    SchemaError
        Where a condition is held out in two boards that are not told apart (it would count twice), or the
        boards are means over different numbers of training seeds.
    """
    conditions = pl.concat(_told_apart([board.conditions for board in boards], folds), how="diagonal_relaxed")
    doubled = conditions.filter(conditions["condition_id"].is_duplicated())
    if doubled.height:
        raise SchemaError(
            f"Condition {doubled['condition_id'][0]!r} is held out in more than one of the pooled runs; "
            "pool runs of different folds of one split only."
        )
    if len({board.n_seeds for board in boards}) > 1:
        counts = ", ".join(str(board.n_seeds) for board in boards)
        raise SchemaError(
            f"The folds were trained with different numbers of seeds ({counts}); train every fold with the "
            "same seeds, or name the runs to pool."
        )
    scores = _stack([board.scores for board in boards])
    wells = [board.well_scores for board in boards if board.well_scores]
    halves = [board.mean_on_halves for board in boards if board.mean_on_halves]
    all_have_halves = len(halves) == len(boards)
    amplitude = _stack([{"": board.amplitude} for board in boards])[""]
    return ScoreBoard(
        conditions=conditions,
        contenders=tuple(c for c in boards[0].contenders if c.name in scores),
        scores=scores,
        well_cluster=tuple(label for board in boards for label in board.well_cluster),
        well_scores=_stack(wells) if len(wells) == len(boards) else None,
        mean_on_halves=_stack([{"mean": half} for half in halves])["mean"] if all_have_halves else None,
        seeds=boards[0].seeds,
        seed_scores=_stack_seeds(boards, scores),
        cell_facts=_stack([board.cell_facts for board in boards]),
        amplitude=amplitude,
    )


def _told_apart(tables: Sequence[pl.DataFrame], folds: Sequence[str]) -> list[pl.DataFrame]:
    """Add the fold's name to the id of every condition that several tables hold; nothing without names."""
    if not folds:
        return list(tables)
    ids = pl.concat([table["condition_id"] for table in tables])
    repeated = ids.filter(ids.is_duplicated()).unique().implode()
    name = pl.col("condition_id")
    return [
        table.with_columns(
            pl.when(name.is_in(repeated)).then(name + f" (fold {fold})").otherwise(name).alias("condition_id")
        )
        for table, fold in zip(tables, folds, strict=True)
    ]


def _mean_over_seeds(values: FloatArray) -> FloatArray:
    """Return the (N,) means of (S, N) values over the seeds where they are defined; NaN where in none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        means: FloatArray = np.nanmean(values, axis=0)
    return means


def _by_seed(parts: Sequence[Scores]) -> dict[str, dict[str, FloatArray]]:
    """Return contender -> metric -> (S, N) of everybody whom all parts hold."""
    return {
        contender: {
            name: np.stack([part[contender][name] for part in parts])
            for name in metrics
            if all(name in part[contender] for part in parts)
        }
        for contender, metrics in parts[0].items()
        if all(contender in part for part in parts)
    }


def _depends_on_seed(scores: Mapping[str, FloatArray]) -> bool:
    return any(not np.array_equal(v, np.broadcast_to(v[0], v.shape), equal_nan=True) for v in scores.values())


def _averaged(scores: Scores) -> dict[str, dict[str, FloatArray]]:
    return {
        who: {name: _mean_over_seeds(values) for name, values in metrics.items()}
        for who, metrics in scores.items()
    }


def average_seeds(boards: Sequence[ScoreBoard], seeds: Sequence[int]) -> ScoreBoard:
    """Average the boards of trainings that differ in their seed alone; keep every seed's scores beside.

    Parameters
    ----------
    boards
        S boards over the same conditions in the same order.
    seeds
        The S training seeds.

    Raises
    ------
    SchemaError
        Where the boards are over different conditions.
    """
    names = [board.conditions["condition_id"].to_list() for board in boards]
    if any(found != names[0] for found in names):
        raise SchemaError(
            "The runs to average over seeds were judged on different conditions; average runs of one fold of "
            "one split, judged with the same features."
        )
    everyone = _by_seed([board.scores for board in boards])
    wells = [board.well_scores for board in boards if board.well_scores]
    amplitude = _by_seed([{"": board.amplitude} for board in boards])[""]
    first = boards[0]
    return ScoreBoard(
        conditions=first.conditions,
        contenders=tuple(c for c in first.contenders if c.name in everyone),
        scores=_averaged(everyone),
        well_cluster=first.well_cluster,
        well_scores=_averaged(_by_seed(wells)) if len(wells) == len(boards) else None,
        mean_on_halves=first.mean_on_halves,
        seeds=tuple(seeds),
        seed_scores={who: scores for who, scores in everyone.items() if _depends_on_seed(scores)},
        cell_facts=_averaged(_by_seed([board.cell_facts for board in boards])),
        amplitude={who: _mean_over_seeds(values) for who, values in amplitude.items()},
    )

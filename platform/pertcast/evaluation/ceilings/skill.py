"""Skill: how far a model comes from the strongest baseline (0) to the ceiling (1), metric by metric.

The strongest baseline is chosen once, on all conditions, and not anew inside each draw of the bootstrap: the
maximum of several noisy means lies above the best true mean already, and choosing again would add that
excess a second time. What is left of it counts against the model, never for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from pertcast.evaluation.bootstrap import N_DRAWS, bootstrap_means_over_seeds, interval
from pertcast.evaluation.ceilings.ceiling import CEILING_OF_SKILL
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.metrics import Metric
from pertcast.evaluation.parts import Skill
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard

_NO_BASELINE: Final = "No baseline has a value of this metric."
_NO_CEILING: Final = "What a perfect prediction would score in this metric is not known here."


def skill_of(
    gain: FloatArray,
    room: FloatArray,
    cluster: IndexArray,
    *,
    baseline: str,
    ceiling: str,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Skill:
    """Return mean gain / mean room with its interval.

    Parameters
    ----------
    gain
        (S, N) model minus baseline by training seed, positive where the model is better.
    room
        (N,) ceiling minus baseline. Conditions where either is NaN are left out of both.
    cluster
        (N,) conditions that are drawn together.
    baseline, ceiling
        Their names.
    n_draws, seed
        Of the bootstrap: gain and room of one draw are over the same conditions.
    """
    undefined = np.isnan(gain).any(axis=0) | np.isnan(room)
    gain, room, cluster = gain[:, ~undefined], room[~undefined], cluster[~undefined]
    if not len(room):
        return _undefined(baseline, ceiling, _NO_CEILING)
    both = np.stack([gain, np.broadcast_to(room, gain.shape)], axis=2)
    draws = bootstrap_means_over_seeds(both, cluster, n_draws, seed)
    lowest_room, _ = interval(draws[:, 1])
    if not lowest_room > 0:
        return _undefined(baseline, ceiling, f"The ceiling does not lie demonstrably above {baseline}.")
    ratios = np.divide(draws[:, 0], draws[:, 1], out=np.full(len(draws), np.nan), where=draws[:, 1] > 0)
    return Skill(float(gain.mean() / room.mean()), *interval(ratios), baseline, ceiling)


def _undefined(baseline: str, ceiling: str, reason: str) -> Skill:
    return Skill(np.nan, np.nan, np.nan, baseline, ceiling, reason)


def _strongest(board: ScoreBoard, metric: Metric, known: FloatArray) -> Contender | None:
    """Return the baseline that the model gains least over, on the conditions that have a ceiling."""
    gains = {}
    for baseline in board.of_role("baseline"):
        gain = board.gain_by_seed(metric.name, baseline.name)[:, ~np.isnan(known)]
        if not np.isnan(board.scores[baseline.name][metric.name]).all() and not np.isnan(gain).all():
            gains[baseline] = float(np.nanmean(gain))
    return min(gains, key=lambda each: (gains[each], each.name)) if gains else None


def _room(board: ScoreBoard, metric: Metric, baseline: str, ceiling: FloatArray) -> FloatArray:
    below = metric.filled(board.scores[baseline][metric.name])
    room: FloatArray = metric.sign * (ceiling - below)
    return room


def _skill(board: ScoreBoard, metric: Metric, ceiling: str, n_draws: int, seed: int) -> Skill:
    reached = board.scores.get(ceiling, {}).get(metric.name)
    has_ceiling = reached is not None and not np.isnan(reached).all()
    known = reached if reached is not None and has_ceiling else np.zeros(board.conditions.height)
    baseline = _strongest(board, metric, known)
    if baseline is None or not has_ceiling:
        name, reason = (baseline.name, _NO_CEILING) if baseline else ("", _NO_BASELINE)
        return _undefined(name, ceiling, reason)
    return skill_of(
        board.gain_by_seed(metric.name, baseline.name),
        _room(board, metric, baseline.name, known),
        board.cluster,
        baseline=baseline.name,
        ceiling=ceiling,
        n_draws=n_draws,
        seed=seed,
    )


def skills(
    board: ScoreBoard,
    ceiling: str = CEILING_OF_SKILL,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    metrics: Sequence[Metric] | None = None,
) -> dict[str, Skill]:
    """Return the skill of the board's model in every metric (or those given), undefined with a reason.

    Undefined scores of model or baseline count as in `ScoreBoard.gain`. Undefined is the skill where there is
    no baseline or no ceiling, and where the 95 % interval of ceiling minus baseline holds 0.
    """
    chosen = board.metrics if metrics is None else metrics
    return {metric.name: _skill(board, metric, ceiling, n_draws, seed) for metric in chosen}

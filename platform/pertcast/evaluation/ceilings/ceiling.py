"""What could be reached: replicates as predictions of each other, and the noise-free truth itself.

Split halves share no measurement, but half of few replicates is no ceiling; what the noise-free truth would
score against the measured one is. The dynamic range fraction of a metric, (duplicate - mean) / (perfect -
mean), says how far it can tell a good prediction from the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np

from pertcast.evaluation.ceilings.denoise import denoised_responses, reliability
from pertcast.evaluation.ceilings.replicate_noise import ReplicateNoise
from pertcast.evaluation.ceilings.retest import Retest
from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.metrics import Metric, metrics_of_level
from pertcast.evaluation.scores.score_board import Contender, score_conditions

CEILING_OF_SKILL: Final = "perfect"
"""The contender that stands at skill 1."""

RELIABLE_FRACTION: Final = 0.1
"""Metrics with a smaller dynamic range fraction are greyed out: they cannot rank models on this data."""

_SCORED_DRAWS: Final = 1200
_NO_NOISE: Final = (
    "Fewer than 8 held-out rows repeat another of their condition: the noise of the measured responses is "
    "unknown, and so is what a perfect model would score."
)


@dataclass(frozen=True)
class SplitHalves:
    """Responses of the conditions that have replicates, from two disjoint halves of their rows.

    Attributes
    ----------
    index
        (H,) which held-out conditions.
    first, second
        (H, G) responses from one half and from the other, each against its own half of the controls.
    """

    index: IndexArray
    first: FloatArray
    second: FloatArray


def halve(labels: IndexArray, seed: int = 0) -> IndexArray:
    """Deal the rows of each label into halves 0 and 1 at random; a label's halves differ by at most one row.

    Parameters
    ----------
    labels
        (M,) what a row belongs to; -1 for rows that are not dealt.
    seed
        Seed of the deal.

    Returns
    -------
    IndexArray
        (M,) 0 or 1; -1 for rows of label -1 and for labels with a single row.
    """
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(labels)), labels))
    ordered = labels[order]
    starts = (
        np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(labels) else np.empty(0, np.int64)
    )
    counts = np.diff(np.r_[starts, len(labels)])
    position = np.arange(len(labels)) - np.repeat(starts, counts)
    halves = np.where(np.repeat(counts, counts) > 1, position % 2, -1)
    result = np.empty(len(labels), dtype=np.int64)
    result[order] = np.where(ordered < 0, -1, halves)
    return result


class Replicated(Protocol):
    """Whatever holds what replicates say about held-out conditions."""

    @property
    def halves(self) -> SplitHalves:
        """Responses from two halves of the rows."""
        ...

    @property
    def noise(self) -> ReplicateNoise | None:
        """Noise of the mean responses; None without replicates."""
        ...


@dataclass(frozen=True)
class Ceilings:
    """Scores of the ceilings on N held-out conditions.

    Attributes
    ----------
    contenders
        Those that there are, in the order of tables: none without replicates.
    scores
        Contender -> metric -> (N,), NaN where a condition has none.
    mean_on_halves
        Metric -> (N,) scores of the training mean against the half that split halves are scored on.
    remark
        Why a ceiling is missing, or "".
    """

    contenders: tuple[Contender, ...] = ()
    scores: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)
    mean_on_halves: Mapping[str, FloatArray] | None = None
    remark: str = ""


SPLIT_HALF: Final = Contender("split_half", "Split halves", "ceiling")
INTERPOLATED: Final = Contender("interpolated_duplicate", "Interpolated duplicate", "ceiling")
REPEAT: Final = Contender("bootstrap", "Experiment repeated", "ceiling")
PERFECT: Final = Contender("perfect", "Noise-free truth", "ceiling")


def spread_over(
    scores: Mapping[str, FloatArray], index: IndexArray, n_conditions: int
) -> dict[str, FloatArray]:
    """Return (N,) columns with the scores of the conditions at `index`, NaN elsewhere."""
    whole = {name: np.full(n_conditions, np.nan) for name in scores}
    for name, values in scores.items():
        whole[name][index] = values
    return whole


def judged_by_half(halves: SplitHalves, held: HeldOut) -> HeldOut:
    """Return the conditions that have halves, with the second half as their truth.

    Which genes respond is tested on that half alone, whose error is sqrt 2 times that of the whole: the tests
    of the whole have seen the first half, which is the prediction here.
    """
    part = held.take(halves.index, truth=halves.second)
    if held.tests is None:
        return part
    retest = Retest.learn(held.tests, held.truth).take(halves.index)
    return replace(part, tests=retest.of(halves.second / np.sqrt(2)))


def score_ceiling(halves: SplitHalves, held: HeldOut) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Score the first half, and the training mean, against the second half.

    Returns
    -------
    tuple
        Metric -> (N,) scores of the duplicate, and of the training mean; NaN for conditions without halves.
    """
    part = judged_by_half(halves, held)
    duplicate = score_conditions(halves.first, part, "split half")
    mean = score_conditions(part.train_means(slice(None)), part, "training mean")
    n = held.n_conditions
    return spread_over(duplicate, halves.index, n), spread_over(mean, halves.index, n)


def score_interpolated(halves: SplitHalves, held: HeldOut, noise: ReplicateNoise) -> dict[str, FloatArray]:
    """Score the first half, shrunk towards the training mean where it is unreliable, against the second.

    Mejia et al. 2025 mix a technical duplicate with the mean, since a duplicate of few cells is noisier
    than a good forecast. Here the weight of a condition and gene is the share of signal in its first half,
    an empirical-Bayes estimate (`reliability`) to which the second half, the truth, adds nothing.
    """
    part = judged_by_half(halves, held)
    weight = reliability(replace(part, truth=halves.first), noise.take(halves.index).of_halves())
    centre = part.train_means(slice(None))
    mixed = (centre + weight * (halves.first - centre)).astype(np.float32)
    return spread_over(
        score_conditions(mixed, part, "interpolated duplicate"), halves.index, held.n_conditions
    )


def score_perfect(
    held: HeldOut, noise: ReplicateNoise, seed: int = 0, metrics: Sequence[Metric] | None = None
) -> dict[str, FloatArray]:
    """Estimate what the noise-free truth would score against the measured one: metric -> (N,).

    Stand-ins of the noise-free responses (`denoised_responses`) are measured anew, by adding draws of
    noise, and scored as predictions of these measurements; scores are averaged over draws. The measured
    truth itself cannot be the stand-in: it holds its own noise, which would count as signal. Which genes
    respond is tested anew as well (`Retest`).
    """
    centre = denoised_responses(held, noise, seed)
    generator = np.random.default_rng((seed, 1))
    retest = None if held.tests is None else Retest.learn(held.tests, held.truth)

    def measured_anew() -> HeldOut:
        truth = centre + noise.draw(generator)
        return replace(held, truth=truth, tests=None if retest is None else retest.of(truth))

    return _mean_scores(
        [score_conditions(centre, measured_anew(), PERFECT.name, metrics) for _ in range(_n_draws(held))]
    )


def score_repeat(
    held: HeldOut, noise: ReplicateNoise, seed: int = 0, metrics: Sequence[Metric] | None = None
) -> dict[str, FloatArray]:
    """Score the experiment repeated with as many rows, a bootstrap of the measured means: metric -> (N,).

    The measured truth plus a draw of its noise predicts the measured truth. Optimistic for weak effects: the
    noise of the truth itself counts as signal.
    """
    generator = np.random.default_rng((seed, 2))
    return _mean_scores(
        [
            score_conditions(held.truth + noise.draw(generator), held, REPEAT.name, metrics)
            for _ in range(_n_draws(held))
        ]
    )


def _n_draws(held: HeldOut) -> int:
    """More draws where few conditions are averaged over."""
    return int(np.clip(_SCORED_DRAWS // held.n_conditions, 2, 12))


def _mean_scores(draws: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    """Return means over the draws where a score is defined; NaN where it is not in at least half of them.

    A condition where genes respond in one draw of many must not weigh as much as one where they always do.
    """
    means = {}
    for name in draws[0]:
        values = np.stack([draw[name] for draw in draws])
        defined = ~np.isnan(values)
        total = np.where(defined, values, 0.0).sum(axis=0)
        count = defined.sum(axis=0)
        means[name] = np.divide(
            total, count, out=np.full(total.shape, np.nan), where=2 * count >= len(values)
        )
    return means


def score_ceilings(measured: Replicated, held: HeldOut, seed: int = 0) -> Ceilings:
    """Score every ceiling that the replicates allow.

    Parameters
    ----------
    measured
        Split halves and noise of the N conditions of `held`.
    held
        The measured truth.
    seed
        Of the simulated noise.
    """
    halves, noise = measured.halves, measured.noise
    scores: dict[str, dict[str, FloatArray]] = {}
    contenders: list[Contender] = []
    mean_on_halves = None
    if len(halves.index):
        scores[SPLIT_HALF.name], mean_on_halves = score_ceiling(halves, held)
        contenders.append(SPLIT_HALF)
        if noise is not None:
            scores[INTERPOLATED.name] = score_interpolated(halves, held, noise)
            contenders.append(INTERPOLATED)
    if noise is None:
        return Ceilings(tuple(contenders), scores, mean_on_halves, _NO_NOISE)
    scores[REPEAT.name] = score_repeat(held, noise, seed)
    scores[PERFECT.name] = score_perfect(held, noise, seed)
    return Ceilings((*contenders, REPEAT, PERFECT), scores, mean_on_halves)


def dynamic_range(duplicate: Mapping[str, FloatArray], mean: Mapping[str, FloatArray]) -> dict[str, float]:
    """Return metric -> (duplicate - mean) / (perfect - mean), on means over conditions; NaN where undefined.

    An undefined score of the training mean counts as the metric's uninformative value.
    """
    fractions = {}
    for metric in metrics_of_level("condition"):
        if metric.name not in duplicate:
            continue
        has_halves = ~np.isnan(duplicate[metric.name])
        reference = metric.filled(mean[metric.name])
        reached = float(duplicate[metric.name][has_halves].mean()) if has_halves.any() else np.nan
        bottom = float(reference[has_halves].mean()) if has_halves.any() else np.nan
        room = metric.best - bottom
        fractions[metric.name] = (reached - bottom) / room if room != 0 else float("nan")
    return fractions

"""What must be known to read a trust table: undefined values, negative controls, ceilings, weak metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.scores.score_board import ORACLE, Contender, ScoreBoard
from pertcast.evaluation.trust.direction import opposite_notes
from pertcast.evaluation.trust.result import TrustFacts

Gains = Mapping[str, Mapping[str, Estimate]]

_OF_FEATURES: Final = (
    "it does use the perturbation's features",
    "the features do harm here",
    "the perturbation's features are used",
)
_CONTROL_WORDS: Final = MappingProxyType(
    {
        "labels_permuted": (
            "it tells perturbations apart",
            "what it says of another perturbation fits better",
            "perturbations are told apart",
        )
    }
)
"""Negative control -> what is shown if the model loses by it, if it wins, and if neither."""

_NAMED_LEFT_OUT: Final = 4
_FAR_FROM_TRUE_LENGTH: Final = 1.5
"""Predicted responses this many times longer or shorter than the measured ones are far from their length."""


def left_out_words(board: ScoreBoard, facts: TrustFacts) -> str:
    """Count and name the held-out conditions that nobody could be asked about; "" where there are none."""
    if not facts.left_out:
        return ""
    names = list(dict.fromkeys(facts.left_out))
    more = f" and {len(names) - _NAMED_LEFT_OUT:,} more" if len(names) > _NAMED_LEFT_OUT else ""
    named = f"{'; '.join(names[:_NAMED_LEFT_OUT])}{more}"
    total = board.conditions.height + len(facts.left_out)
    return f"{len(facts.left_out):,} of {total:,} held-out conditions ({named})"


def _control_note(control: Contender, gain: Estimate) -> str:
    shown, harm, nothing = _CONTROL_WORDS.get(control.name, _OF_FEATURES)
    if gain.low > 0:
        return f"{control.title}: the model loses {gain.mean:.3f}, so {shown}."
    if gain.high < 0:
        return f"{control.title}: scores {-gain.mean:.3f} higher; {harm}."
    return f"{control.title}: no distinguishable loss; nothing here shows that {nothing}."


def _undefined(board: ScoreBoard, primary: str) -> list[str]:
    value = get_metric(primary).uninformative
    compared = "comparisons leave them out too" if value is None else f"comparisons count them as {value:g}"
    total = board.conditions.height
    sentences = []
    for contender in board.of_role("model", "baseline"):
        missing = int(np.isnan(board.scores[contender.name][primary]).sum())
        if missing == total:
            sentences.append(f"{contender.title}: {primary} is undefined (constant prediction); {compared}.")
        elif missing:
            sentences.append(
                f"{contender.title}: {primary} is undefined (constant prediction or truth) for {missing} of "
                f"{total} conditions; its mean leaves them out, {compared}."
            )
    return sentences


def _mean_on_shared(board: ScoreBoard, metric: str, *contenders: Contender) -> list[float]:
    """Return the contenders' means over the conditions where all of them are defined; [] where in none."""
    values: FloatArray = np.stack([board.scores[c.name][metric] for c in contenders])
    shared = ~np.isnan(values).any(axis=0)
    return [float(mean) for mean in values[:, shared].mean(axis=1)] if shared.any() else []


def _ceilings(board: ScoreBoard, primary: str, strongest: Contender | None) -> list[str]:
    """Say what lies between the strongest baseline and what could be reached at all."""
    found = {c.name: c for c in board.of_role("ceiling")}
    sign = get_metric(primary).sign
    sentences = []
    for name in (ORACLE, "perfect"):
        if name in found and strongest is not None:
            means = _mean_on_shared(board, primary, found[name], strongest)
            if means and sign * means[0] <= sign * means[1]:
                sentences.append(
                    f"{found[name].title} itself scores {means[0]:.3f} in {primary} against these "
                    f"measurements, {strongest.title} {means[1]:.3f}: nothing is left to be won here."
                )
    if ORACLE in found:
        sentences += _share_of_oracle(board, primary, found[ORACLE], strongest)
    if "split_half" in found and strongest is not None:
        means = _mean_on_shared(board, primary, found["split_half"], strongest)
        if means and sign * means[0] < sign * means[1]:
            sentences.append(
                f"Half of a condition's replicates forecast the other half worse ({primary} {means[0]:.3f}) "
                f"than {strongest.title} does the whole ({means[1]:.3f}): with so few replicates the split "
                "halves are no ceiling."
            )
    return sentences


def _share_of_oracle(
    board: ScoreBoard, primary: str, oracle: Contender, strongest: Contender | None
) -> list[str]:
    if get_metric(primary).direction != "higher":
        return []
    asked = [board.model, *([strongest] if strongest else [])]
    means = _mean_on_shared(board, primary, oracle, *asked)
    if not means or means[0] <= 0:
        return []
    shares = ", ".join(
        f"{c.title} {mean:.3f} ({mean / means[0]:.0%})" for c, mean in zip(asked, means[1:], strict=True)
    )
    return [f"Share of the oracle's {primary} of {means[0]:.3f}: {shares}."]


def _length_is_rewarded(board: ScoreBoard, gains: Gains, strongest: Contender | None) -> list[str]:
    """Say so where distances, but not directions, favour a model whose responses have the wrong length."""
    asked = [f"discrimination_{name}" for name in ("l1", "l2", "cosine")]
    if strongest is None or any(strongest.name not in gains.get(name, {}) for name in asked):
        return []
    ratios = board.amplitude.get(board.model.name, np.empty(0))
    if np.isnan(ratios).all():
        return []
    ratio = float(np.nanmedian(ratios))
    is_far = ratio > _FAR_FROM_TRUE_LENGTH or ratio < 1 / _FAR_FROM_TRUE_LENGTH
    l1, l2, cosine = (gains[name][strongest.name] for name in asked)
    if not is_far or cosine.low > 0 or not (l1.low > 0 or l2.low > 0):
        return []
    return [
        f"The predicted responses are {ratio:.2f} times as long as the measured ones, and the model gains "
        f"over {strongest.title} in discrimination by distance (l1, l2) but not by direction (cosine): such "
        "a gain can come from the length alone."
    ]


def notes(
    board: ScoreBoard,
    primary: str,
    gains: Gains,
    against: str | None,
    unreliable: Sequence[str],
    facts: TrustFacts,
) -> tuple[str, ...]:
    """Return what must be known to read the table, as sentences.

    Parameters
    ----------
    board, facts
        Scores, and where they come from.
    primary
        The metric of the verdict.
    gains
        Metric -> other contender -> model minus other.
    against
        The strongest baseline.
    unreliable
        Metrics without dynamic range.
    """
    strongest = next((c for c in board.contenders if c.name == against), None)
    sentences = list(facts.remarks)
    if facts.left_out:
        sentences.append(
            f"{left_out_words(board, facts)} cannot be predicted and are left out for every contender alike: "
            "no features can be made for a gene that is neither measured nor perturbed in training, or for a "
            "compound without structure."
        )
    sentences += [
        _control_note(c, gains[primary][c.name])
        for c in board.of_role("control")
        if not np.isnan(gains[primary][c.name].mean)
    ]
    sentences += _undefined(board, primary)
    sentences += _ceilings(board, primary, strongest)
    sentences += _length_is_rewarded(board, gains, strongest)
    sentences += opposite_notes(board)
    if unreliable:
        sentences.append(
            f"Too little dynamic range on this data to rank models (below 0.1): {', '.join(unreliable)}."
        )
    nowhere = [c for c in board.metrics if all(np.isnan(s[c.name]).all() for s in board.scores.values())]
    if nowhere:
        sentences.append(
            f"Undefined for every contender here: {', '.join(metric.name for metric in nowhere)}."
        )
    return tuple(sentences)

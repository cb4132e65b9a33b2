"""Sentences that keep a reader from reading too much into a table: notes, and what it does not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.score_board import ScoreBoard
from pertcast.evaluation.strata import Stratum
from pertcast.evaluation.trust_result import TrustFacts

_HELD_OUT: Final = MappingProxyType(
    {
        "unseen_compound": "compounds (by structure); every cell line of the test was seen in training",
        "unseen_perturbation": "perturbation targets; every cell line of the test was seen in training",
        "unseen_context": "cell lines; the perturbations were seen in training in other lines",
        "unseen_pair": "pairs of perturbations",
        "random": "random conditions: other doses, times or cell lines of the same perturbation were seen "
        "in training, so nothing is said about new perturbations",
        "group": "groups given by the user",
        "all": "nothing: the test conditions were trained on, so this is a fit, not a forecast",
    }
)


_NAMED_LEFT_OUT: Final = 4


def _left_out(board: ScoreBoard, facts: TrustFacts) -> str:
    """Count and name the held-out conditions that nobody could be asked about; "" where there are none."""
    if not facts.left_out:
        return ""
    names = list(dict.fromkeys(facts.left_out))
    more = f" and {len(names) - _NAMED_LEFT_OUT:,} more" if len(names) > _NAMED_LEFT_OUT else ""
    named = f"{'; '.join(names[:_NAMED_LEFT_OUT])}{more}"
    total = board.conditions.height + len(facts.left_out)
    return f"{len(facts.left_out):,} of {total:,} held-out conditions ({named})"


def _control_note(title: str, gain: Estimate) -> str:
    if gain.low > 0:
        return f"{title}: the model loses {gain.mean:.3f}, so it does use the perturbation's features."
    if gain.high < 0:
        return f"{title}: scores {-gain.mean:.3f} higher; the features do harm here."
    return f"{title}: no distinguishable loss; nothing here shows that the perturbation's features are used."


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


def _noisy_replicates(
    board: ScoreBoard, primary: str, gains: Mapping[str, Mapping[str, Estimate]]
) -> list[str]:
    """Say so where half the replicates of a condition forecast the other half worse than a baseline does."""
    duplicates = [board.scores[c.name][primary] for c in board.of_role("ceiling")]
    baselines = [c for c in board.of_role("baseline") if not np.isnan(gains[primary][c.name].mean)]
    if not duplicates or not baselines:
        return []
    sign = get_metric(primary).sign
    strongest = min(baselines, key=lambda c: gains[primary][c.name].mean)
    both = ~np.isnan(duplicates[0]) & ~np.isnan(board.scores[strongest.name][primary])
    if not both.any():
        return []
    duplicate, baseline = (
        float(values[both].mean()) for values in (duplicates[0], board.scores[strongest.name][primary])
    )
    if sign * duplicate >= sign * baseline:
        return []
    return [
        f"Half of a condition's replicates forecast the other half worse ({primary} {duplicate:.3f}) than "
        f"{strongest.title} does the whole ({baseline:.3f}): with so few replicates the split halves are no "
        "ceiling."
    ]


def notes(
    board: ScoreBoard,
    primary: str,
    gains: Mapping[str, Mapping[str, Estimate]],
    unreliable: Sequence[str],
    facts: TrustFacts,
) -> tuple[str, ...]:
    """Return what must be known to read the table: undefined values, negative controls, weak metrics."""
    sentences = list(facts.remarks)
    if facts.left_out:
        sentences.append(
            f"{_left_out(board, facts)} cannot be predicted and are left out for every contender alike: no "
            "features can be made for a gene that is neither measured nor perturbed in training, or for a "
            "compound without structure."
        )
    sentences += [
        _control_note(c.title, gains[primary][c.name])
        for c in board.of_role("control")
        if not np.isnan(gains[primary][c.name].mean)
    ]
    sentences += _undefined(board, primary)
    sentences += _noisy_replicates(board, primary, gains)
    if unreliable:
        sentences.append(
            f"Too little dynamic range on this data to rank models (below 0.1): {', '.join(unreliable)}."
        )
    single = [c for c in board.metrics if all(np.isnan(s[c.name]).all() for s in board.scores.values())]
    if single:
        sentences.append(
            f"Undefined for every contender here: {', '.join(metric.name for metric in single)}."
        )
    return tuple(sentences)


def not_shown(
    board: ScoreBoard,
    facts: TrustFacts,
    strata: Sequence[Stratum],
    has_wells: bool,
) -> tuple[str, ...]:
    """Return what the result does not show: everything that was not held out, repeated or measured."""
    sentences = []
    if facts.split_kind in _HELD_OUT:
        sentences.append(f"Held out were {_HELD_OUT[facts.split_kind]}.")
    if facts.left_out:
        sentences.append(f"Nothing is said about {_left_out(board, facts)}: they cannot be predicted.")
    if len(facts.folds) == 1:
        sentences.append(
            f"One fold ({facts.folds[0]}) and one training seed: intervals cover the choice of test "
            "conditions, not the spread between trainings."
        )
    weak = [s.name for s in strata if s.group != "all" and not s.gain.low > 0]
    if weak:
        sentences.append(f"No advantage over the strongest baseline is shown for: {', '.join(weak)}.")
    if not any(c.role == "ceiling" for c in board.contenders):
        sentences.append(
            "No held-out condition has replicates with controls of their own: there is no noise "
            "ceiling, and how far a perfect model could get is unknown."
        )
    if has_wells:
        sentences.append(
            "Correlations of absolute profiles are near 0.9 for any profile of the same cells; "
            "they say that the scale is right, not that the perturbation is understood."
        )
    sentences.append("No external store was scored: another lab, assay or batch may look different.")
    return tuple(sentences)

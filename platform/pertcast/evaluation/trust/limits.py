"""Sentences that keep a reader from reading too much into a table: what it does not show."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from pertcast.evaluation.parts import TrustParts
from pertcast.evaluation.scores.score_board import ScoreBoard
from pertcast.evaluation.trust.notes import left_out_words
from pertcast.evaluation.trust.result import TrustFacts
from pertcast.evaluation.trust.strata import Stratum

FEWEST_SEEDS: Final = 5
"""Fewer trainings than this tell little about the spread between them."""

_HELD_OUT: Final = MappingProxyType(
    {
        "unseen_compound": "compounds (by structure); every cell line of the test was seen in training",
        "unseen_perturbation": "perturbation targets; every cell line of the test was seen in training",
        "unseen_context": "cell lines; the perturbations were seen in training in other lines",
        "unseen_pair": "pairs of perturbations",
        "gears": "genes with all their combinations, and some combinations of the other genes",
        "random": "random conditions: other doses, times or cell lines of the same perturbation were seen "
        "in training, so nothing is said about new perturbations",
        "group": "groups given by the user",
        "all": "nothing: the test conditions were trained on, so this is a fit, not a forecast",
    }
)


def _trainings(board: ScoreBoard, facts: TrustFacts) -> list[str]:
    """Say which choices the intervals do not cover."""
    if facts.origin == "files":
        return ["The predictions are those of one training: its spread over seeds is unknown."]
    where = f"One fold ({facts.folds[0]})" if len(facts.folds) == 1 else ""
    if board.n_seeds >= FEWEST_SEEDS:
        return [f"{where}: what other folds would show is unknown."] if where else []
    if board.n_seeds > 1:
        few = f"{board.n_seeds} training seeds: too few to know the spread between trainings well."
        return [f"{where} and {few}" if where else f"Only {few}"]
    seed = "one training seed" + ("" if len(facts.folds) <= 1 else " a fold")
    return [
        f"{where + ' and ' if where else ''}{seed}: intervals cover the choice of test conditions, not the "
        "spread between trainings."
    ]


def _other_data(facts: TrustFacts) -> str:
    if facts.origin == "external":
        return (
            f"One external store ({facts.store}) was scored; a third lab, assay or batch may look different."
        )
    return "No external store was scored: another lab, assay or batch may look different."


def _cells(board: ScoreBoard) -> list[str]:
    if not any(metric.level == "cells" for metric in board.metrics):
        return []
    return [
        "Tests and distributions over cells take the cells of one culture for independent; they are not, so "
        "the numbers of responding genes are too large (pseudoreplication). They rank genes, no more."
    ]


def _uncertainty(parts: TrustParts) -> list[str]:
    if parts.calibration is None:
        return ["Whether the model's stated uncertainty is true was not measured."]
    if not parts.calibration.exchangeable:
        return [
            parts.calibration.remark
            or "Calibration and test conditions were dealt by different rules: no coverage is promised."
        ]
    return []


def not_shown(
    board: ScoreBoard, facts: TrustFacts, strata: Sequence[Stratum], parts: TrustParts
) -> tuple[str, ...]:
    """Return what the result does not show: everything that was not held out, repeated or measured."""
    sentences = []
    if facts.split_kind in _HELD_OUT:
        sentences.append(f"Held out were {_HELD_OUT[facts.split_kind]}.")
    if facts.left_out:
        sentences.append(f"Nothing is said about {left_out_words(board, facts)}: they cannot be predicted.")
    sentences += [sentence[0].upper() + sentence[1:] for sentence in _trainings(board, facts)]
    weak = [s.name for s in strata if s.group != "all" and not s.gain.low > 0]
    if weak:
        sentences.append(f"No advantage over the strongest baseline is shown for: {', '.join(weak)}.")
    if not any(c.role == "ceiling" for c in board.contenders):
        sentences.append(
            "No held-out condition has replicates with controls of their own: there is no noise "
            "ceiling, and how far a perfect model could get is unknown."
        )
    sentences += _cells(board)
    sentences += _uncertainty(parts)
    if board.well_scores:
        sentences.append(
            "Correlations of absolute profiles are near 0.9 for any profile of the same cells; "
            "they say that the scale is right, not that the perturbation is understood."
        )
    sentences.append(_other_data(facts))
    return tuple(sentences)

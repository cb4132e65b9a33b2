"""Checks that no held-out profile is a copy of a training profile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertcast_data.splits.audit.report import SHOWN, Finding
from pertcast_data.splits.audit.subject import Subject
from pertcast_data.splits.audit.twins import Twins


def exact_copies(subject: Subject, twins: Twins) -> list[Finding]:
    """No held-out profile holds the very values of one in an easier part."""
    crossing = _crossing(subject, twins.exact)
    if not len(crossing):
        return []
    return [_finding(subject, "exact_copies", crossing, "have the very values of profiles in an easier part")]


def near_copies(subject: Subject, twins: Twins) -> list[Finding]:
    """No held-out profile correlates with one in an easier part beyond what replicates show."""
    crossing = _crossing(subject, twins.near)
    if not len(crossing) or twins.likeness is None:
        return []
    exact = {tuple(sorted(pair)) for pair in twins.exact.tolist()}
    crossing = np.array([pair for pair in crossing.tolist() if tuple(sorted(pair)) not in exact], np.int64)
    if not len(crossing):
        return []
    what = (
        f"correlate above {twins.likeness.limit:.4f} with profiles in an easier part (replicates: "
        f"{twins.likeness.replicates:.3f}, nearest strangers: {twins.likeness.strangers:.3f})"
    )
    return [_finding(subject, "near_copies", crossing, what)]


def _crossing(subject: Subject, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pairs, as (harder, easier), whose rows lie in different parts of the fold."""
    rank = {name: number for number, listed in enumerate(subject.parts.values()) for name in listed}
    ids = subject.store.conditions["condition_id"].to_list()
    of_condition = np.array([rank.get(name, -1) for name in ids], np.int64)
    parts = of_condition[subject.store.condition_of_row[pairs]] if len(pairs) else np.zeros((0, 2), np.int64)
    crossing = (parts[:, 0] != parts[:, 1]) & (parts >= 0).all(axis=1)
    harder_first = np.where((parts[:, 0] < parts[:, 1])[:, None], pairs[:, ::-1], pairs)
    chosen: NDArray[np.int64] = harder_first[crossing]
    return chosen


def _finding(subject: Subject, check: str, pairs: NDArray[np.int64], what: str) -> Finding:
    held = len(np.unique(pairs[:, 0]))
    ids = subject.store.conditions["condition_id"].to_list()
    of_row = subject.store.condition_of_row
    examples = tuple(
        f"row {one} ({ids[of_row[one]]}) = row {two} ({ids[of_row[two]]})"
        for one, two in pairs[:SHOWN].tolist()
    )
    message = (
        f"{held} held-out profiles of {subject.where} {what}, e.g. {examples[0]}. Remove the copies and "
        "ingest again, or hold their conditions out together (--aliases, or --kind group with a column that "
        "joins them)."
    )
    return Finding(check, "error", message, examples)

"""Checks that nothing held out is trained on, under its own or another name: one check a likeness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from pertcast_data.splits.audit.crossings import Crossing
from pertcast_data.splits.audit.report import SHOWN, Finding
from pertcast_data.splits.audit.subject import Subject

LIKENESSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "held_out_group": "as well",
        "alias": "under another name of the same gene or cell line (symbol, id, case, hyphen, alias table)",
        "guide_suffix": "under the name of a guide",
        "pair_order": "with its members in another order",
        "salt_form": "as another salt of one compound",
        "stereo": "as a stereoisomer of one compound",
        "tautomer": "as a tautomer of one compound",
        "compound_id": "under another id of one compound",
        "dose_unit": "with its dose or time in another unit",
    }
)
"""Check -> how training knows what is held out."""


def likeness_check(name: str) -> Callable[[Subject], list[Finding]]:
    """Return the check of one likeness."""

    def check(subject: Subject) -> list[Finding]:
        found = [crossing for crossing in subject.crossings if crossing.reason == name]
        return [_finding(subject, name, found)] if found else []

    return check


def _finding(subject: Subject, name: str, found: list[Crossing]) -> Finding:
    first = found[0]
    what = (
        "the same condition under two names"
        if first.is_condition
        else f"a held-out group ({subject.rule.summary})"
    )
    count = f"{len(found)} conditions; the first: " if len(found) > 1 else ""
    message = (
        f"{subject.where} leaks {what}: {count}{first.held!r} is in {first.part}, but what it stands for is "
        f"trained on or validated {LIKENESSES[name]}: {first.known!r}. Make the split anew with "
        "`data split`."
    )
    examples = tuple(f"{one.held} ({one.part}) = {one.known}" for one in found[1 : 1 + SHOWN])
    return Finding(name, "error", message, examples)

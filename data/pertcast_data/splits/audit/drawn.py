"""Checks of splits whose folds are draws: what the manifest says was drawn is tested, and nothing else."""

from __future__ import annotations

from pertcast_data.splits.audit.report import SHOWN, Finding
from pertcast_data.splits.audit.subject import Subject


def drawn_groups(subject: Subject) -> list[Finding]:
    """No drawn group is trained on or validated, and every tested condition belongs to one."""
    drawn = frozenset(subject.split.fold(subject.fold).held_out)
    if not drawn or subject.split.kind == "group":
        return []
    part_of = {name: part for part, listed in subject.parts.items() for name in listed}
    easier: list[str] = []
    foreign: list[str] = []
    for name, groups in zip(subject.identity.treated["condition_id"], subject.groups, strict=True):
        held = sorted(drawn.intersection(groups))
        part = part_of.get(name)
        if held and part in ("train", "validation"):
            easier.append(f"{name!r} is in {part}, but {' and '.join(held)} was drawn for testing")
        if not held and part == "test":
            foreign.append(f"{name!r} is in test, but nothing of it was drawn for testing")
    return [_finding(subject, cases) for cases in (easier, foreign) if cases]


def _finding(subject: Subject, cases: list[str]) -> Finding:
    count = f"{len(cases)} conditions; the first: " if len(cases) > 1 else ""
    message = f"{subject.where}: {count}{cases[0]}. Make the split anew with `data split`."
    return Finding("drawn_groups", "error", message, tuple(cases[1 : 1 + SHOWN]))

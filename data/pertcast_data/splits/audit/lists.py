"""Checks of the lists themselves: the right store, filled parts, every condition in exactly one."""

from __future__ import annotations

from pertcast_data.splits.audit.report import Finding, few
from pertcast_data.splits.audit.subject import Subject


def store_hash(subject: Subject) -> list[Finding]:
    """Require a manifest that was made for this very data."""
    made_for, found = subject.split.data_hash, subject.store.data_hash
    if made_for == found:
        return []
    path = getattr(subject.store, "path", None)
    return [
        Finding(
            "store_hash",
            "error",
            f"The split was made for data {made_for} but the store{f' {path}' if path else ''} holds "
            f"{found}; its condition lists mean nothing there. Make a split of this store with `data split`.",
        )
    ]


def empty_part(subject: Subject) -> list[Finding]:
    """No part is empty, but for the test of a split that holds out nothing."""
    found = []
    for part, listed in subject.parts.items():
        if not listed and (part != "test" or subject.rule.holds_out_test):
            message = f"The {part} part of {subject.where} is empty; make the split with fewer folds."
            found.append(Finding("empty_part", "error", message))
        if part == "test" and listed and not subject.rule.holds_out_test:
            found.append(
                Finding(
                    "empty_part",
                    "error",
                    f"The test part of {subject.where} lists {len(listed)} conditions; it must be empty. "
                    "Make the split anew with `data split`.",
                )
            )
    return found


def condition_lists(subject: Subject) -> list[Finding]:
    """Every treated condition of the store is in exactly one part; controls are in none."""
    conditions = subject.store.conditions
    is_control = dict(conditions.select("condition_id", "is_control").iter_rows())
    part_of: dict[str, str] = {}
    foreign, controls, twice = [], [], []
    for part, listed in subject.parts.items():
        for name in listed:
            if name not in is_control:
                foreign.append(f"Condition {name!r} in {part} of {subject.where} is not in the store.")
            elif is_control[name]:
                controls.append(
                    f"Control {name!r} is listed in {part} of {subject.where}; controls are in no list."
                )
            elif name in part_of:
                twice.append(f"Condition {name!r} is in {part_of[name]} and in {part} of {subject.where}.")
            part_of.setdefault(name, part)
    missing = [name for name, control in is_control.items() if not control and name not in part_of]
    found = [_listed(cases) for cases in (foreign, controls, twice) if cases]
    if missing:
        message = (
            f"{len(missing)} treated conditions are in no part of {subject.where}: {few(missing)}. Make the "
            "split anew with `data split`."
        )
        found.append(Finding("condition_lists", "error", message))
    return found


def _listed(cases: list[str]) -> Finding:
    more = f" So are {len(cases) - 1} more." if len(cases) > 1 else ""
    return Finding(
        "condition_lists",
        "error",
        f"{cases[0]}{more} Make the split anew with `data split`.",
        tuple(cases[1:4]),
    )

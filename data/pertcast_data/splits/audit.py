"""The check that nothing held out is trained on, made from the lists alone and not from how they were dealt.

It therefore finds leaks in manifests of any origin: edited ones, or those of another tool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from pertcast_data.errors import LeakageError
from pertcast_data.splits.identity import condition_names
from pertcast_data.splits.kinds import ConditionStore, get_split_kind

_SHOWN = 3


def audit_fold(
    kind: str,
    group_column: str | None,
    store: ConditionStore,
    parts: Mapping[str, Sequence[str]],
    where: str,
) -> None:
    """Raise LeakageError at the first thing wrong with the parts (train, validation, test) of a fold."""
    rule = get_split_kind(kind)
    treated = store.conditions.filter(~pl.col("is_control"))
    _require_filled(parts, rule.holds_out_test, where)
    _require_partition(parts, store.conditions, where)
    names = treated["condition_id"].to_list()
    same = [(name,) for name in condition_names(treated)]
    _require_unseen(parts, dict(zip(names, same, strict=True)), "the same condition under two names", where)
    groups = rule.members(treated, store, group_column)
    what = f"a held-out group ({rule.summary})"
    _require_unseen(parts, dict(zip(names, groups, strict=True)), what, where)


def _require_filled(parts: Mapping[str, Sequence[str]], holds_out_test: bool, where: str) -> None:
    for part, listed in parts.items():
        if not listed and (part != "test" or holds_out_test):
            raise LeakageError(f"The {part} part of {where} is empty; make the split with fewer folds.")
        if part == "test" and listed and not holds_out_test:
            raise LeakageError(f"The test part of {where} lists {len(listed)} conditions; it must be empty.")


def _require_partition(parts: Mapping[str, Sequence[str]], conditions: pl.DataFrame, where: str) -> None:
    controls = dict(conditions.select("condition_id", "is_control").iter_rows())
    part_of: dict[str, str] = {}
    for part, listed in parts.items():
        for name in listed:
            if name not in controls:
                raise LeakageError(f"Condition {name!r} in {part} of {where} is not in the store.")
            if controls[name]:
                raise LeakageError(
                    f"Control {name!r} is listed in {part} of {where}; controls are in no list."
                )
            if name in part_of:
                raise LeakageError(f"Condition {name!r} is in {part_of[name]} and in {part} of {where}.")
            part_of[name] = part
    missing = [name for name, is_control in controls.items() if not is_control and name not in part_of]
    if missing:
        raise LeakageError(f"{len(missing)} treated conditions are in no part of {where}: {_few(missing)}.")


def _require_unseen(
    parts: Mapping[str, Sequence[str]], groups: Mapping[str, tuple[str, ...]], what: str, where: str
) -> None:
    """Require of every held-out condition a group that no easier part knows."""
    seen = {group: name for name in parts["train"] for group in groups[name]}
    for part in ("validation", "test"):
        for name in parts[part]:
            if all(group in seen for group in groups[name]):
                other = [seen[group] for group in groups[name]] or ["(it belongs to no group)"]
                raise LeakageError(
                    f"{where} leaks {what}: {name!r} is in {part}, but what it stands for is trained on or "
                    f"validated as {_few(other)}. Make the split anew with `data split`."
                )
        seen |= {group: name for name in parts[part] for group in groups[name]}


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(repr(name) for name in listed[:_SHOWN]) + more

"""Deal the groups of a store to folds: test, validation, training, disjoint by group and reproducible."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl

from pertcast_data.errors import ConfigError
from pertcast_data.splits.kinds import ConditionStore, Members, SplitKind, get_split_kind
from pertcast_data.splits.split import Fold, Split

VALIDATION_SHARE: Final = 1 / 8
PURPOSES: Final = MappingProxyType({"train": "train on", "validation": "validate on", "test": "test on"})


def make_split(
    store: ConditionStore,
    kind: str,
    n_folds: int = 4,
    seed: int = 0,
    group_column: str | None = None,
) -> Split:
    """Make a split of a store's treated conditions; controls stay outside and belong to everyone.

    Each group is tested in exactly one fold. One eighth of the groups left in a fold, at least one,
    validates. With kind "unseen_perturbation" a pair is tested in the folds of both its members.

    Parameters
    ----------
    store
        The store to split.
    kind
        A name of `SPLIT_KINDS`.
    n_folds
        Number of folds, at least 2; kind "all" always has one.
    seed
        Deals the groups; the same store, kind and seed give the same split.
    group_column
        Column of the profiles' table to split by, for kind "group" only.

    Raises
    ------
    ConfigError
        If the kind is unknown, options do not fit it, or there are fewer groups than it needs.
    SchemaError
        If the group column is absent or differs among replicates of a condition.
    LeakageError
        If groups of a user's column put one condition under two names on both sides.
    """
    rule = get_split_kind(kind)
    if group_column is not None and kind != "group":
        raise ConfigError(f"group_column is for kind 'group', not for {kind!r}; leave it out.")
    if n_folds < 2 and rule.holds_out_test:
        raise ConfigError(f"A split needs at least 2 folds, not {n_folds}.")
    treated = store.conditions.filter(~pl.col("is_control"))
    members = rule.members(treated, store, group_column)
    deals = _deal_groups(rule, members, n_folds, seed)
    names = treated["condition_id"].to_list()
    folds = tuple(_fold(names, members, test, validation) for test, validation in deals)
    split = Split(kind=kind, seed=seed, data_hash=store.data_hash, folds=folds, group_column=group_column)
    for number in range(len(folds)):
        split.check(store, number)
    return split


def _deal_groups(
    rule: SplitKind, members: Members, n_folds: int, seed: int
) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Return the test and validation groups of each fold."""
    groups = sorted({group for names in members for group in names})
    n_folds = n_folds if rule.holds_out_test else 1
    always_trained = any(not names for names in members)
    _require_enough(rule, len(groups), n_folds, 1 if always_trained else 2)
    random = np.random.default_rng(seed)
    order = [groups[place] for place in random.permutation(len(groups))]
    deals = []
    for fold in range(n_folds):
        test = frozenset(order[fold::n_folds] if rule.holds_out_test else ())
        # A group whose every condition also has a tested group cannot validate.
        open_groups = {group for names in members if test.isdisjoint(names) for group in names}
        left = [group for group in order if group in open_groups]
        chosen = random.permutation(len(left))[: max(1, round(VALIDATION_SHARE * len(left)))]
        deals.append((test, frozenset(left[place] for place in chosen)))
    return deals


def _require_enough(rule: SplitKind, n_groups: int, n_folds: int, n_left: int) -> None:
    """Require that every fold has a group to test and leaves `n_left` groups beside the tested ones."""
    largest_test = -(-n_groups // n_folds) if rule.holds_out_test else 0
    if n_groups < n_folds or n_groups - largest_test < n_left:
        raise ConfigError(
            f"A {rule.name} split holds out {rule.summary}. Groups of that kind in the store: {n_groups}; "
            f"{n_folds} folds would test up to {largest_test} at a time and must leave {n_left} for training "
            "and validation. Use another number of folds or another kind."
        )


def _fold(names: list[str], members: Members, test: frozenset[str], validation: frozenset[str]) -> Fold:
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for name, groups in zip(names, members, strict=True):
        if not test.isdisjoint(groups):
            parts["test"].append(name)
        elif not validation.isdisjoint(groups):
            parts["validation"].append(name)
        else:
            parts["train"].append(name)
    empty = [part for part, listed in parts.items() if not listed and (part != "test" or test)]
    if empty:
        raise ConfigError(
            f"A fold would have no conditions to {' and '.join(PURPOSES[part] for part in empty)}, because "
            "combinations tie its groups together. Use another number of folds, seed or kind."
        )
    return Fold(train=tuple(parts["train"]), validation=tuple(parts["validation"]), test=tuple(parts["test"]))

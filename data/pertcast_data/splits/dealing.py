"""How groups are dealt to the folds that test them: by number, or by size where groups differ much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

Deal = Callable[[Sequence[str], Counter[str], int], list[frozenset[str]]]
"""(groups in drawn order, conditions of each, number of folds) -> the groups that each fold tests."""


def deal_evenly(groups: Sequence[str], sizes: Counter[str], n_folds: int) -> list[frozenset[str]]:
    """Give each fold every n-th group: equal numbers of groups."""
    return [frozenset(groups[fold::n_folds]) for fold in range(n_folds)]


def deal_by_size(groups: Sequence[str], sizes: Counter[str], n_folds: int) -> list[frozenset[str]]:
    """Give each group, the largest first, to the fold with the fewest conditions: nearly equal folds."""
    dealt: list[set[str]] = [set() for _ in range(n_folds)]
    load = [0] * n_folds
    for group in sorted(groups, key=lambda name: -sizes[name]):
        lightest = load.index(min(load))
        dealt[lightest].add(group)
        load[lightest] += sizes[group]
    return [frozenset(each) for each in dealt]

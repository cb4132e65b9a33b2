"""What a split holds out: one small rule a kind, in an immutable registry.

A rule names the groups each condition belongs to. A condition is held out when any of its groups is; one
without a group is always trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
import polars as pl

from pertcast_data.errors import ConfigError, SchemaError, nearest_known
from pertcast_data.splits.identity import (
    COMPOUND_TYPE,
    compound_names,
    condition_names,
    perturbation_members,
)
from pertcast_data.vocabulary import PAIR_SEPARATOR

Members = list[tuple[str, ...]]


class ConditionStore(Protocol):
    """What a split needs of a store; `pertcast_data.store.ExpressionStore` is one."""

    @property
    def conditions(self) -> pl.DataFrame:
        """One row a condition."""
        ...

    @property
    def obs(self) -> pl.DataFrame:
        """One row a profile, with condition_id."""
        ...

    @property
    def condition_of_row(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """(n_rows,) condition_index of each profile."""
        ...

    @property
    def data_hash(self) -> str:
        """Hash of the stored data."""
        ...


@dataclass(frozen=True, slots=True)
class SplitKind:
    """A rule of what is held out together.

    Attributes
    ----------
    name, summary
        For the registry and for people.
    members
        (treated conditions, store, group column or None) -> the groups of each condition.
    holds_out_test
        False where every condition but a validation share is trained on.
    """

    name: str
    summary: str
    members: Callable[[pl.DataFrame, ConditionStore, str | None], Members]
    holds_out_test: bool = True


def _by_compound(treated: pl.DataFrame, store: ConditionStore, column: str | None) -> Members:
    names = compound_names(treated)
    is_compound = treated["pert_type"] == COMPOUND_TYPE
    return [(name,) if compound else () for name, compound in zip(names, is_compound, strict=True)]


def _by_perturbation(treated: pl.DataFrame, store: ConditionStore, column: str | None) -> Members:
    return perturbation_members(treated)


def _by_context(treated: pl.DataFrame, store: ConditionStore, column: str | None) -> Members:
    return [(cell,) for cell in treated["cell_iname"]]


def _by_pair(treated: pl.DataFrame, store: ConditionStore, column: str | None) -> Members:
    members = perturbation_members(treated)
    return [(PAIR_SEPARATOR.join(names),) if len(names) > 1 else () for names in members]


def _by_condition(treated: pl.DataFrame, store: ConditionStore, column: str | None) -> Members:
    return [(name,) for name in condition_names(treated)]


def _by_column(treated: pl.DataFrame, store: ConditionStore, column: str | None) -> Members:
    if column is None:
        raise ConfigError("A split by group needs a column of the profiles' table: give group_column.")
    if column not in store.obs.columns:
        hint = ", ".join(nearest_known(column, store.obs.columns) or store.obs.columns)
        raise SchemaError(f"The store has no column {column!r} to split by; known: {hint}.")
    values = store.obs.group_by("condition_id").agg(pl.col(column).unique().cast(pl.String).alias("groups"))
    groups_of = dict(values.iter_rows())
    members: Members = []
    for name in treated["condition_id"]:
        groups = groups_of[name]
        if len(groups) != 1 or groups[0] is None:
            raise SchemaError(
                f"Column {column!r} has {'no value' if None in groups else f'{len(groups)} values'} for "
                f"condition {name!r}; replicates of a condition must share one group. Choose another column."
            )
        members.append((groups[0],))
    return members


SPLIT_KINDS: Final[Mapping[str, SplitKind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            SplitKind("unseen_compound", "compounds by structure (InChIKey-14, else pert_id)", _by_compound),
            SplitKind(
                "unseen_perturbation",
                "perturbed genes and compounds; a pair is held out with either of its members",
                _by_perturbation,
            ),
            SplitKind("unseen_context", "cell lines", _by_context),
            SplitKind("unseen_pair", "combinations; singles are always trained on", _by_pair),
            SplitKind("random", "conditions at random, for reference only", _by_condition),
            SplitKind("group", "values of a column of the profiles' table", _by_column),
            SplitKind(
                "all",
                "nothing: one fold that trains on all but a validation share of conditions",
                _by_condition,
                holds_out_test=False,
            ),
        )
    }
)
"""Name -> what is held out together."""


def get_split_kind(name: str) -> SplitKind:
    """Return a kind by name; raises ConfigError naming the nearest known ones."""
    if name in SPLIT_KINDS:
        return SPLIT_KINDS[name]
    hint = nearest_known(name, SPLIT_KINDS) or list(SPLIT_KINDS)
    raise ConfigError(f"Unknown kind of split {name!r}. Did you mean {' or '.join(hint)}?")

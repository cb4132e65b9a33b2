"""Deal the groups of a store to folds: test, validation, training, disjoint by group and reproducible."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from pertcast_data.errors import ConfigError
from pertcast_data.splits.alias_table import Aliases
from pertcast_data.splits.audit import audit
from pertcast_data.splits.blocks import Blocks, read_blocks
from pertcast_data.splits.identity import COMPOUND_TYPE, ConditionStore, Identity
from pertcast_data.splits.kinds import Grouping, Members, SplitKind, get_split_kind
from pertcast_data.splits.seen import seen_members
from pertcast_data.splits.split import CONTROL_COLUMNS, Controls, Fold, Split

VALIDATION_SHARE: Final = 1 / 8
PURPOSES: Final = MappingProxyType({"train": "train on", "validation": "validate on", "test": "test on"})


def make_split(
    store: ConditionStore,
    kind: str,
    n_folds: int = 4,
    seed: int = 0,
    group_column: str | None = None,
    *,
    blocks: Path | str | None = None,
    block_distance: int = 1,
    aliases: Aliases = (),
    controls: Controls = "shared",
) -> Split:
    """Make a split of a store's treated conditions.

    Each group is tested in exactly one fold. One eighth of the groups left in a fold, at least one,
    validates. With kinds "unseen_perturbation" and "blocked" a pair is tested in the folds of all its
    members.

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
    blocks, block_distance
        File of what belongs together, and the edges over which it does, for kind "blocked" only: see
        `read_blocks`.
    aliases
        (alias, name) pairs of genes, compounds or cell lines, beyond what the store itself tells.
    controls
        "shared": controls stay outside and belong to everyone. "separate": controls of tested groups are not
        trained with; for kinds "group" and "unseen_context" only.

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
    _require_fitting(rule, n_folds, group_column, blocks, controls)
    _require_useful_numbers(rule, seed, block_distance)
    identity = Identity.of(store, aliases)
    found: Blocks = ()
    if blocks is not None:
        found = read_blocks(blocks, _perturbed_genes(identity), identity.genes.canonical, block_distance)
    members = rule.members(Grouping(store, identity, group_column, found))
    deals = _deal_groups(rule, members, n_folds, seed)
    names = identity.treated["condition_id"].to_list()
    split = Split(
        kind=kind,
        seed=seed,
        data_hash=store.data_hash,
        folds=tuple(_fold(identity, names, members, test, validation) for test, validation in deals),
        group_column=group_column,
        blocks=found,
        aliases=tuple(aliases),
        controls=controls,
    )
    for number in range(len(split.folds)):
        audit(split, store, number, identity=identity).require_clean()
    return split


def _require_fitting(
    rule: SplitKind, n_folds: int, group_column: str | None, blocks: Path | str | None, controls: Controls
) -> None:
    if group_column is not None and rule.name != "group":
        raise ConfigError(f"--group-column is for kind 'group', not for {rule.name!r}; leave it out.")
    if (blocks is not None) != (rule.name == "blocked"):
        raise ConfigError(
            "A blocked split needs a file of blocks: edges, a .gmt or a table gene,block (--blocks FILE)."
            if blocks is None
            else f"A file of blocks is for kind 'blocked', not for {rule.name!r}; leave it out."
        )
    if controls == "separate" and rule.name not in CONTROL_COLUMNS:
        raise ConfigError(
            f"Separate controls need groups that controls belong to: kinds {' and '.join(CONTROL_COLUMNS)}, "
            f"not {rule.name!r}. Leave --controls out."
        )
    if n_folds < 2 and rule.holds_out_test:
        raise ConfigError(f"A split needs at least 2 folds, not {n_folds}.")


def _require_useful_numbers(rule: SplitKind, seed: int, block_distance: int) -> None:
    if seed < 0:
        raise ConfigError(f"A seed of {seed} deals nothing; give 0 or more.")
    if block_distance != 1 and rule.name != "blocked":
        raise ConfigError(
            f"--block-distance {block_distance} is for kind 'blocked', not for {rule.name!r}; leave it out."
        )


def _perturbed_genes(identity: Identity) -> list[str]:
    pairs = zip(identity.members, identity.treated["pert_type"], strict=True)
    return sorted({gene for genes, kind in pairs if kind != COMPOUND_TYPE for gene in genes})


def _deal_groups(
    rule: SplitKind, members: Members, n_folds: int, seed: int
) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Return the test and validation groups of each fold."""
    sizes = Counter(group for names in members for group in names)
    groups = sorted(sizes)
    n_folds = n_folds if rule.holds_out_test else 1
    always_trained = any(not names for names in members)
    _require_enough(rule, len(groups), n_folds, 1 if always_trained else 2)
    random = np.random.default_rng(seed)
    order = [groups[place] for place in random.permutation(len(groups))]
    tests = rule.deal(order, sizes, n_folds) if rule.holds_out_test else [frozenset[str]()]
    deals = []
    for test in tests:
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
            f"Kind {rule.name} holds out {rule.summary}. Groups of that kind in the store: {n_groups}; "
            f"{n_folds} folds would test up to {largest_test} at a time and must leave {n_left} for training "
            "and validation. Use another number of folds or another kind."
        )


def _fold(
    identity: Identity,
    names: list[str],
    members: Members,
    test: frozenset[str],
    validation: frozenset[str],
) -> Fold:
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
    seen = seen_members(identity, parts["train"], parts["test"])
    return Fold(**{part: tuple(listed) for part, listed in parts.items()}, seen=seen)

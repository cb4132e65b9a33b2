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
from pertcast_data.splits.drawing import Holdout, Members, TestAmong, candidates, draw_folds, open_groups
from pertcast_data.splits.identity import COMPOUND_TYPE, ConditionStore, Identity
from pertcast_data.splits.kinds import Grouping, SplitKind
from pertcast_data.splits.options import split_rule
from pertcast_data.splits.seen import seen_members
from pertcast_data.splits.split import Controls, Fold, Split

VALIDATION_SHARE: Final = 1 / 8
Dealt = list[tuple[frozenset[str], frozenset[str]]]
"""Test and validation groups of each fold."""

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
    test_share: float | None = None,
    test_groups: int | None = None,
    test_among: TestAmong = "all",
) -> Split:
    """Make a split of a store's treated conditions.

    Each group is tested in exactly one fold; with `test_share`, `test_groups` and kind "gears" each fold is
    a draw of its own instead. One eighth of the groups left in a fold, at least one, validates. With kinds
    "unseen_perturbation" and "blocked" a pair is tested in the folds of all its members.

    Parameters
    ----------
    store
        The store to split.
    kind
        A name of `SPLIT_KINDS`.
    n_folds
        Number of folds, at least 2 (of draws, at least 1); kind "all" always has one.
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
    test_share, test_groups
        Every fold draws this share (between 0 and 1) or number of the groups for its test; a group may be
        tested in several folds. Not for kind "all"; kind "gears" draws a share of 0.25 unless another is
        given.
    test_among
        With "combined" only groups that are measured alone and in a combination are drawn; for kind
        "unseen_perturbation" only.

    Raises
    ------
    ConfigError
        If the kind is unknown, options do not fit it, or there are fewer groups than it needs.
    SchemaError
        If the group column is absent or differs among replicates of a condition.
    LeakageError
        If groups of a user's column put one condition under two names on both sides.
    """
    rule, holdout = split_rule(
        kind,
        n_folds,
        seed,
        group_column,
        blocks=blocks,
        block_distance=block_distance,
        controls=controls,
        test_share=test_share,
        test_groups=test_groups,
        test_among=test_among,
    )
    identity = Identity.of(store, aliases)
    found: Blocks = ()
    if blocks is not None:
        found = read_blocks(blocks, _perturbed_genes(identity), identity.genes.canonical, block_distance)
    members = rule.members(Grouping(store, identity, group_column, found))
    if holdout is None:
        deals = _deal_groups(rule, members, n_folds, seed)
    else:
        deals = _draw_groups(rule, members, holdout, n_folds, seed)
    folds = (_fold(identity, members, test, validation, holdout) for test, validation in deals)
    split = Split(
        kind=kind,
        seed=seed,
        data_hash=store.data_hash,
        folds=tuple(folds),
        group_column=group_column,
        blocks=found,
        aliases=tuple(aliases),
        controls=controls,
        test_share=holdout.share if holdout else None,
        test_groups=holdout.number if holdout else None,
        test_among=test_among,
    )
    for number in range(len(split.folds)):
        audit(split, store, number, identity=identity).require_clean()
    return split


def _perturbed_genes(identity: Identity) -> list[str]:
    pairs = zip(identity.members, identity.treated["pert_type"], strict=True)
    return sorted({gene for genes, kind in pairs if kind != COMPOUND_TYPE for gene in genes})


def _deal_groups(rule: SplitKind, members: Members, n_folds: int, seed: int) -> Dealt:
    """Deal every group to the one fold that tests it."""
    sizes = Counter(group for names in members for group in names)
    groups = sorted(sizes)
    n_folds = n_folds if rule.holds_out_test else 1
    _require_enough(rule, len(groups), n_folds, _fewest_left(members))
    random = np.random.default_rng(seed)
    order = [groups[place] for place in random.permutation(len(groups))]
    tests = rule.deal(order, sizes, n_folds) if rule.holds_out_test else [frozenset[str]()]
    return [(test, _validating(members, test, order, random)) for test in tests]


def _draw_groups(rule: SplitKind, members: Members, holdout: Holdout, n_folds: int, seed: int) -> Dealt:
    """Draw the groups that each fold tests; validation is drawn among the same, with a generator a fold."""
    groups = candidates(members, holdout.among)
    _require_drawable(rule, members, holdout)
    tests = draw_folds(rule.draw, members, holdout, n_folds, seed)
    return [
        (test, _validating(members, test, groups, np.random.default_rng((seed, number))))
        for number, test in enumerate(tests)
    ]


def _validating(
    members: Members, test: frozenset[str], order: list[str], random: np.random.Generator
) -> frozenset[str]:
    left = open_groups(members, test, order)
    chosen = random.permutation(len(left))[: max(1, round(VALIDATION_SHARE * len(left)))]
    return frozenset(left[place] for place in chosen)


def _fewest_left(members: Members) -> int:
    """Return how many groups must be left for training and validation: 1 where some are always trained on."""
    return 1 if any(not names for names in members) else 2


def _require_drawable(rule: SplitKind, members: Members, holdout: Holdout) -> None:
    """Require that a draw finds the groups that it asks for and leaves enough of them."""
    found = candidates(members, holdout.among)
    n_tested, n_left = holdout.count(len(found)), _fewest_left(members)
    if len(found) - n_tested >= n_left:
        return
    where = " that are measured alone and in a combination" if holdout.among == "combined" else ""
    most = len(found) - n_left
    remedy = f"Test at most {most}" if most > 0 else "Use another kind"
    raise ConfigError(
        f"{holdout.words}: kind {rule.name} holds out {rule.summary}. Groups of that kind in the store"
        f"{where}: {len(found)}; {n_tested} would be tested, and {n_left} must be left for training and "
        f"validation. {remedy}."
    )


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
    members: Members,
    test: frozenset[str],
    validation: frozenset[str],
    holdout: Holdout | None,
) -> Fold:
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for name, groups in zip(identity.treated["condition_id"], members, strict=True):
        if not test.isdisjoint(groups):
            parts["test"].append(name)
        elif not validation.isdisjoint(groups):
            parts["validation"].append(name)
        else:
            parts["train"].append(name)
    empty = [part for part, listed in parts.items() if not listed and (part != "test" or test)]
    if empty:
        less = f"Test fewer groups than {holdout.words}" if holdout else "Use another number of folds"
        raise ConfigError(
            f"A fold would have no conditions to {' and '.join(PURPOSES[part] for part in empty)}, because "
            f"combinations tie its groups together. {less}, another seed or another kind."
        )
    return Fold(
        **{part: tuple(listed) for part, listed in parts.items()},
        seen=seen_members(identity, parts["train"], parts["test"]),
        held_out=tuple(sorted(test)) if holdout else (),
    )

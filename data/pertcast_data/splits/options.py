"""Whether the options of a split fit its kind and each other, before a store is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError
from pertcast_data.splits.audit.report import counted
from pertcast_data.splits.drawing import Holdout, TestAmong
from pertcast_data.splits.kinds import SplitKind, get_split_kind
from pertcast_data.splits.split import CONTROL_COLUMNS, Controls

COMBINED_KIND: Final = "unseen_perturbation"


def split_rule(
    kind: str,
    n_folds: int,
    seed: int,
    group_column: str | None,
    *,
    blocks: Path | str | None,
    block_distance: int,
    controls: Controls,
    test_share: float | None,
    test_groups: int | None,
    test_among: TestAmong,
) -> tuple[SplitKind, Holdout | None]:
    """Return a kind of split and how its groups are drawn (None: dealt); reads neither store nor file.

    Parameters are those of `make_split`.

    Raises
    ------
    ConfigError
        If the kind is unknown or options do not fit it.
    """
    rule = get_split_kind(kind)
    holdout = _holdout(rule, test_share, test_groups, test_among)
    _require_fitting(rule, group_column, blocks, controls)
    _require_useful_numbers(rule, n_folds, seed, block_distance, holdout)
    return rule, holdout


def _holdout(rule: SplitKind, share: float | None, number: int | None, among: TestAmong) -> Holdout | None:
    """Return how groups are drawn; None where they are dealt to folds."""
    if share is None and number is None and rule.drawn_share is None:
        if among != "all":
            raise ConfigError(
                f"--test-among {among} says what is drawn; give --test-groups N or --test-share S as well."
            )
        return None
    asked = f"--test-groups {number}" if share is None else f"--test-share {share:g}"
    if not rule.holds_out_test:
        raise ConfigError(f"{asked}: kind {rule.name!r} tests nothing; leave it out or use another kind.")
    if share is not None and number is not None:
        raise ConfigError(f"{asked} and --test-groups {number} say two things; give one of them.")
    if share is not None and not 0 < share < 1:
        raise ConfigError(f"{asked} is no share; give a number between 0 and 1, e.g. 0.3 for 30 %.")
    if number is not None and (number < 1 or rule.drawn_share is not None):
        remedy = "give a share of genes (--test-share)" if rule.drawn_share else "give 1 or more"
        raise ConfigError(f"{asked} cannot be drawn for kind {rule.name!r}; {remedy}.")
    if among != "all" and rule.name != COMBINED_KIND:
        raise ConfigError(
            f"--test-among {among} is for kind {COMBINED_KIND!r}, not for {rule.name!r}; leave it out."
        )
    return Holdout(share if share is not None or number is not None else rule.drawn_share, number, among)


def _require_fitting(
    rule: SplitKind, group_column: str | None, blocks: Path | str | None, controls: Controls
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


def _require_useful_numbers(
    rule: SplitKind, n_folds: int, seed: int, block_distance: int, holdout: Holdout | None
) -> None:
    fewest = 2 if rule.holds_out_test and holdout is None else 1
    if n_folds < fewest and rule.holds_out_test:
        raise ConfigError(f"A split needs at least {counted(fewest, 'fold')}, not {n_folds}.")
    if seed < 0:
        raise ConfigError(f"A seed of {seed} deals nothing; give 0 or more.")
    if block_distance != 1 and rule.name != "blocked":
        raise ConfigError(
            f"--block-distance {block_distance} is for kind 'blocked', not for {rule.name!r}; leave it out."
        )

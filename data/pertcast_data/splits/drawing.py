"""Repeated random holdouts: each fold is one draw of the groups that it tests, by share or by number.

A group may be tested in several folds; what is not drawn trains and validates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from pertcast_data.errors import ConfigError

Members = list[tuple[str, ...]]
TestAmong = Literal["all", "combined"]
Draw = Callable[[Members, "Holdout", np.random.Generator], frozenset[str]]
"""(groups of each condition, how many are tested, generator) -> the groups that one fold tests."""

_MOST_ATTEMPTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Holdout:
    """How many groups each draw tests, and among which.

    Attributes
    ----------
    share
        Share of the groups that may be drawn, between 0 and 1; rounded to whole groups, at least one.
    number
        A fixed number of groups in its place.
    among
        "all" groups, or those that are "combined": measured alone and in a combination as well, so that
        every draw tests singles and combinations of the same groups.
    """

    share: float | None = None
    number: int | None = None
    among: TestAmong = "all"

    @property
    def words(self) -> str:
        """What was asked for, as on the command line."""
        return f"--test-share {self.share:g}" if self.share is not None else f"--test-groups {self.number}"

    def count(self, n_groups: int) -> int:
        """Return how many of `n_groups` groups a draw tests."""
        return self.number if self.number is not None else max(1, round((self.share or 0.0) * n_groups))


def candidates(members: Members, among: TestAmong) -> list[str]:
    """Return the groups that may be drawn, sorted."""
    everyone = {group for names in members for group in names}
    if among == "all":
        return sorted(everyone)
    alone = {names[0] for names in members if len(names) == 1}
    return sorted(alone & {group for names in members if len(names) > 1 for group in names})


def draw_groups(members: Members, holdout: Holdout, random: np.random.Generator) -> frozenset[str]:
    """Draw groups, each with the same chance."""
    groups = candidates(members, holdout.among)
    return _chosen(groups, holdout.count(len(groups)), random)


def draw_genes_then_pairs(members: Members, holdout: Holdout, random: np.random.Generator) -> frozenset[str]:
    """Draw a share of the genes, then the same share of the combinations that hold none of them.

    The rule of the "simulation" split of GEARS (Roohani et al., Nature Biotechnology 2024), which keeps 75 %
    of both for training: every combination with a drawn gene is tested too, so that tested combinations
    have none, one or two members that training shows.

    Parameters
    ----------
    members
        The genes of each condition; of a combination also, last, the combination itself.
    """
    genes = sorted({gene for names in members for gene in (names[:-1] if len(names) > 1 else names)})
    drawn = _chosen(genes, holdout.count(len(genes)), random)
    known = sorted({names[-1] for names in members if len(names) > 1 and drawn.isdisjoint(names)})
    return drawn | (_chosen(known, holdout.count(len(known)), random) if known else frozenset())


def draw_folds(
    draw: Draw, members: Members, holdout: Holdout, n_folds: int, seed: int
) -> list[frozenset[str]]:
    """Return the tested groups of `n_folds` different draws.

    The first draws of a seed are the same whatever the number of folds.

    Raises
    ------
    ConfigError
        There are fewer different draws than folds.
    """
    random = np.random.default_rng(seed)
    found: list[frozenset[str]] = []
    for _ in range(n_folds):
        attempts = (draw(members, holdout, random) for _ in range(_MOST_ATTEMPTS))
        new = next((tested for tested in attempts if tested not in found), None)
        if new is None:
            raise ConfigError(
                f"{holdout.words} allows no more different draws of these groups than {len(found)}, and "
                f"{n_folds} folds are asked for. Use --folds {len(found)}, or another share or number."
            )
        found.append(new)
    return found


def open_groups(members: Members, test: frozenset[str], order: Iterable[str]) -> list[str]:
    """Return the groups, in the order given, that a condition without any tested group belongs to."""
    # A group whose every condition also has a tested group cannot validate.
    free = {group for names in members if test.isdisjoint(names) for group in names}
    return [group for group in order if group in free]


def _chosen(groups: Sequence[str], count: int, random: np.random.Generator) -> frozenset[str]:
    return frozenset(groups[place] for place in random.permutation(len(groups))[:count])

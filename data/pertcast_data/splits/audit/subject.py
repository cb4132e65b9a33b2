"""What the checks look at: a fold of a split, a store, and what a model says it was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pertcast_data.splits.audit.crossings import Crossing, find_crossings
from pertcast_data.splits.drawing import Members
from pertcast_data.splits.identity import ConditionStore, Identity
from pertcast_data.splits.kinds import Grouping, SplitKind, get_split_kind
from pertcast_data.splits.provenance import Provenance

if TYPE_CHECKING:
    from pertcast_data.splits.split import Split


@dataclass(frozen=True)
class Subject:
    """The subject of an audit.

    Attributes
    ----------
    split, fold
        The manifest and the number of the fold.
    store
        What is about to be trained on or judged.
    provenance
        What a model says of itself; None before there is one.
    identity
        Who is who in the store, with the aliases of the manifest.
    """

    split: Split
    fold: int
    store: ConditionStore
    identity: Identity
    provenance: Provenance | None = None

    @property
    def where(self) -> str:
        """The fold and its split, for messages."""
        return f"fold {self.fold} of the {self.split.kind} split"

    @property
    def rule(self) -> SplitKind:
        """What the split holds out."""
        return get_split_kind(self.split.kind)

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """Condition ids by part: train, validation, test."""
        fold = self.split.fold(self.fold)
        return {"train": fold.train, "validation": fold.validation, "test": fold.test}

    @cached_property
    def crossings(self) -> tuple[Crossing, ...]:
        """Held-out conditions that an easier part of the fold knows."""
        return find_crossings(self.identity, self.parts, self.groups)

    @cached_property
    def groups(self) -> Members:
        """Return the groups of each treated condition; none by column, which `plates` checks by rows."""
        if self.split.kind == "group":
            return [()] * self.identity.treated.height
        return self.rule.members(Grouping(self.store, self.identity, None, self.split.blocks))

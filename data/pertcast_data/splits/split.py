"""A split as a manifest: which conditions train, validate and test in each fold, tied to one store's data.

It is a plain JSON file saved beside a run; its own hash and the store's data hash make it checkable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pertcast_data.errors import ConfigError, FormatError, LeakageError
from pertcast_data.splits.audit import AuditReport, audit
from pertcast_data.splits.blocks import Blocks
from pertcast_data.splits.drawing import TestAmong
from pertcast_data.splits.identity import ConditionStore, control_rows
from pertcast_data.splits.provenance import Provenance
from pertcast_data.splits.seen import SeenMembers

Part = Literal["train", "validation", "test"]
PARTS: Final[tuple[Part, ...]] = ("train", "validation", "test")

Controls = Literal["shared", "separate"]
CONTROL_COLUMNS: Final = ("group", "unseen_context")
"""Kinds whose groups controls belong to as well."""

_ADDED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "blocks": [], "aliases": [], "controls": "shared",
        "test_share": None, "test_groups": None, "test_among": "all",
    }
)  # fmt: skip
"""Fields that older manifests do not have: left out where they say nothing, so that old hashes stay true."""
_ADDED_TO_FOLDS: Final = ("seen", "held_out")


class Fold(BaseModel):
    """Condition ids of the three parts, in the store's order; controls are in none.

    Attributes
    ----------
    seen
        For each tested combination, how many of its members training shows alone.
    held_out
        The groups that were drawn for testing, sorted; empty where groups were dealt to folds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seen: SeenMembers = ()
    held_out: tuple[str, ...] = ()


class Split(BaseModel):
    """A manifest of folds.

    Attributes
    ----------
    kind
        A name of `SPLIT_KINDS`.
    seed
        Seed that dealt the groups.
    data_hash
        Hash of the store that it was made for.
    folds
        Condition ids of each fold's parts.
    group_column
        The column split by, for kind "group".
    blocks
        (gene, block) pairs, for kind "blocked".
    aliases
        (alias, name) pairs that the user declared.
    controls
        Whether controls of tested groups are trained with ("shared") or not ("separate").
    test_share, test_groups, test_among
        How many groups each fold tests where folds are draws (`pertcast_data.splits.drawing.Holdout`); share
        and number None where each group is tested in one fold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    seed: int
    data_hash: str
    folds: tuple[Fold, ...]
    group_column: str | None = None
    blocks: Blocks = ()
    aliases: tuple[tuple[str, str], ...] = ()
    controls: Controls = "shared"
    test_share: float | None = None
    test_groups: int | None = None
    test_among: TestAmong = "all"

    @property
    def is_drawn(self) -> bool:
        """Whether each fold is a draw of its own, so that a condition may be tested in several folds."""
        return self.test_share is not None or self.test_groups is not None

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the manifest's content."""
        return hashlib.sha256(_canonical(self._content()).encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        content = self.model_dump(mode="json")
        content["folds"] = [
            {key: value for key, value in fold.items() if key not in _ADDED_TO_FOLDS or value}
            for fold in content["folds"]
        ]
        return {key: value for key, value in content.items() if key not in _ADDED or value != _ADDED[key]}

    def save(self, path: Path | str) -> None:
        """Write the manifest as JSON, by a temporary sibling that is renamed.

        Raises ConfigError where `path` is a folder.
        """
        target = Path(path)
        if target.is_dir():
            raise ConfigError(f"{target} is a folder; name a file to write the split to, e.g. split.json.")
        target.parent.mkdir(parents=True, exist_ok=True)
        content = {"hash": self.hash} | self._content()
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a manifest; raises FormatError where the file is missing, broken or was edited by hand."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            written = content.pop("hash", None) if isinstance(content, dict) else None
            split = cls.model_validate(content)
        except OSError as error:
            raise FormatError(
                f"Cannot read split {path}: {error.strerror}. Make it with `data split`."
            ) from error
        except ValueError as error:
            raise FormatError(
                f"{path} is not a split manifest ({error}). Make it with `data split`."
            ) from error
        if written != split.hash:
            raise FormatError(
                f"Split {path} was changed after it was made: its hash is {split.hash}, it says {written}. "
                "Make it anew with `data split`."
            )
        return split

    def fold(self, number: int) -> Fold:
        """Return a fold; raises ConfigError where there is no such fold."""
        if not 0 <= number < len(self.folds):
            raise ConfigError(f"There is no fold {number}; the split has folds 0 to {len(self.folds) - 1}.")
        return self.folds[number]

    def rows(self, store: ConditionStore, fold: int, part: Part) -> NDArray[np.int64]:
        """Return the treated rows of a part, ascending int64; raises LeakageError for another store."""
        self._require_store(store)
        if part not in PARTS:
            raise ConfigError(f"Unknown part {part!r} of a fold; known: {', '.join(PARTS)}.")
        names = set(getattr(self.fold(fold), part))
        conditions = store.conditions
        chosen = [name in names for name in conditions["condition_id"]]
        indices = conditions["condition_index"].to_numpy()[np.asarray(chosen, dtype=bool)]
        return np.flatnonzero(np.isin(store.condition_of_row, indices)).astype(np.int64)

    def seen(self, fold: int) -> dict[str, int]:
        """Return, for each tested combination of a fold, how many of its members training shows alone."""
        return dict(self.fold(fold).seen)

    @property
    def control_column(self) -> str:
        """Column of the profiles' table that says which group a control belongs to."""
        return self.group_column or "cell_iname"

    def training_controls(self, store: ConditionStore, fold: int) -> NDArray[np.int64] | None:
        """Return the control rows that may be trained with, ascending int64; None where all may.

        With separate controls those of tested groups, and those of no group, are left out.
        """
        self._require_store(store)
        if self.controls == "shared":
            return None
        controls = control_rows(store)
        values = store.obs[self.control_column].cast(pl.String)
        tested = values.gather(self.rows(store, fold, "test")).unique()
        free = (~values.is_in(tested.implode())).fill_null(False).to_numpy()
        allowed: NDArray[np.int64] = controls[free[controls]]
        return allowed

    def audit(self, store: ConditionStore, fold: int, provenance: Provenance | None = None) -> AuditReport:
        """Audit one fold without reading profiles; see `pertcast_data.splits.audit`."""
        return audit(self, store, fold, provenance)

    def check(self, store: ConditionStore, fold: int, provenance: Provenance | None = None) -> AuditReport:
        """Audit one fold against the store that is about to be trained on or judged.

        Checks of profiles (copies across the border) are left to `data split` and `data audit`.

        Parameters
        ----------
        store, fold
            The store, and the number of the fold.
        provenance
            What a model says it was fitted on; None before there is one.

        Returns
        -------
        AuditReport
            Without errors; its warnings belong into reports.

        Raises
        ------
        LeakageError
            If the store is not the one the split was made for, a part is empty, parts overlap or miss a
            treated condition, or anything held out reaches training: `pertcast_data.splits.audit.CHECKS`.
        ConfigError
            If there is no such fold.
        """
        report = self.audit(store, fold, provenance)
        report.require_clean()
        return report

    def _require_store(self, store: ConditionStore) -> None:
        if store.data_hash != self.data_hash:
            raise LeakageError(
                f"The split was made for data {self.data_hash} but the store holds {store.data_hash}; "
                "its condition lists mean nothing there. Make a split of this store with `data split`."
            )


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

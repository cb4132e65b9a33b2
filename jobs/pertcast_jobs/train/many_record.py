"""What many.json says: the trainings of one configuration, a fold and a seed each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pertcast.training.files import write_json
from pertcast_data.errors import ConfigError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pertcast_jobs.run_config import RunConfig

MANIFEST: Final = "many.json"
NETWORKS: Final = "networks"
"""Folder of integrated networks, which the members share."""


class Member(BaseModel):
    """One of the trainings: its folder's name, its fold and its seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fold: int
    seed: int

    @classmethod
    def of(cls, fold: int, seed: int) -> Member:
        """Return the member of a fold and a seed."""
        return cls(name=f"fold{fold}-seed{seed}", fold=fold, seed=seed)

    def config(self, shared: RunConfig) -> RunConfig:
        """Return the member's own configuration: one process trains it, wherever that process is."""
        cluster = shared.cluster.model_copy(
            update={"launcher": "in_process", "num_workers": 1, "min_workers": None}
        )
        return shared.model_copy(
            update={
                "data": shared.data.model_copy(update={"fold": self.fold}),
                "train": shared.train.model_copy(update={"seed": self.seed}),
                "cluster": cluster,
            }
        )


class ManyRuns(BaseModel):
    """What many.json holds.

    Attributes
    ----------
    created
        UTC time, ISO 8601.
    model, data_hash, split_hash, split_kind
        What they have in common.
    config
        The configuration of the first member, as plain JSON.
    members
        By fold, then by seed.
    failed
        Member -> why its last attempt failed; empty while they train.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["pertcast-many"] = "pertcast-many"
    format_version: Literal[1] = 1
    created: str
    model: str
    data_hash: str
    split_hash: str
    split_kind: str
    config: dict[str, Any]
    members: tuple[Member, ...]
    failed: dict[str, str] = Field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write many.json, whole or not at all."""
        write_json(folder / MANIFEST, self.model_dump(mode="json"))


def read_many(path: Path) -> ManyRuns | None:
    """Return what many.json says, or None where there is none; raises ConfigError where it is damaged."""
    manifest = Path(path) / MANIFEST
    if not manifest.is_file():
        return None
    try:
        return ManyRuns.model_validate_json(manifest.read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"{manifest} cannot be read ({error.error_count()} problems, first: {error.errors()[0]['msg']}). "
            "Restore it, or name the runs' folders one by one."
        ) from error

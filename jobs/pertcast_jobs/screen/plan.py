"""What a screen predicts, decided once and in full: library x cell lines x doses x times, in shards.

The plan is a pure function of the library, the options and the bundle; its hash tells whether a folder
holds this very screen, so that an interrupted one is continued and another is never mixed in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from pertcast_jobs.screen.conditions import Conditions, Survey
from pertcast_jobs.screen.library import Refusal, ScreenKind

Objective = Literal["mimic", "reverse"]
RankedBy = Literal["effect_size", "excess_size", "connectivity"]


class ScreenSettings(BaseModel):
    """How a screen is computed; part of the plan's hash.

    Attributes
    ----------
    kind
        "compounds", "genes", "pairs" or "table".
    objective
        Whether conditions are ranked by how well they mimic or reverse a signature; None: by their effect, or
        pairs by their excess.
    score
        How profiles and signature are compared.
    seed
        Seed of sampled predictions and of the reported hits' permutations.
    shard_rows
        Profiles of a shard: one unit of work, one writer.
    batch_size
        Conditions predicted at once, always padded to this number.
    chunk_rows
        Rows of a Zarr chunk, the smallest read.
    min_size
        Fewest genes of a gene set in the gene space.
    permutations
        gseapy's permutations for a reported hit.
    n_reported
        Top hits that get permuted enrichment and figures.
    per_tail
        Neighbours kept on each side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ScreenKind
    objective: Objective | None = None
    score: str | None = None
    seed: int = 0
    shard_rows: int = Field(1024, gt=0, multiple_of=64)
    batch_size: int = Field(256, gt=0)
    chunk_rows: int = Field(64, gt=0)
    min_size: int = Field(5, ge=1)
    permutations: int = Field(1000, ge=10)
    n_reported: int = Field(20, ge=1)
    per_tail: int = Field(25, ge=1)

    @property
    def ranks_by(self) -> RankedBy:
        """What conditions are ranked by."""
        if self.objective is not None:
            return "connectivity"
        return "excess_size" if self.kind == "pairs" else "effect_size"


@dataclass(frozen=True)
class ScreenPlan:
    """A screen, decided.

    Attributes
    ----------
    settings
        How it is computed.
    conditions
        One a profile, in the order of the output.
    survey
        What a pass over them found.
    refused
        Rows of the library that are not predicted.
    inputs
        SHA-256 of what it is computed with: "bundle", and where there are such "gene_sets", "signature" and
        "calibration".
    library_source
        Where the perturbations come from.
    n_perturbations
        Distinct perturbations.
    """

    settings: ScreenSettings
    conditions: Conditions
    survey: Survey
    refused: tuple[Refusal, ...]
    inputs: Mapping[str, str]
    library_source: str
    n_perturbations: int

    @property
    def n_profiles(self) -> int:
        """Number of profiles."""
        return self.survey.n_profiles

    @property
    def bundle_hash(self) -> str:
        """SHA-256 of the bundle."""
        return self.inputs["bundle"]

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_profiles // self.settings.shard_rows)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over everything that decides the output."""
        digest = hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode())
        digest.update(self.survey.digest.encode())
        digest.update(refusal_table(self.refused).write_csv().encode())
        return digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        """Return the plan without its conditions, as plain JSON."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "inputs": dict(self.inputs),
            "library": self.library_source,
            "n_perturbations": self.n_perturbations,
            "n_profiles": self.n_profiles,
            "n_shards": self.n_shards,
            "n_refused": len(self.refused),
        }

    def rows_of(self, shard: int) -> slice:
        """Return the rows of shard number `shard`."""
        start = shard * self.settings.shard_rows
        return slice(start, min(start + self.settings.shard_rows, self.n_profiles))

    def n_rows_of(self, shard: int) -> int:
        """Return the number of rows of shard number `shard`."""
        rows = self.rows_of(shard)
        return int(rows.stop - rows.start)


def refusal_table(refused: Sequence[Refusal]) -> pl.DataFrame:
    """Return refused rows as a table: row, pert_id, field, message, suggestions."""
    return pl.DataFrame(
        {
            "row": [item.row for item in refused],
            "pert_id": [item.pert_id for item in refused],
            "field": [item.field for item in refused],
            "message": [item.message for item in refused],
            "suggestions": [";".join(item.suggestions) for item in refused],
        },
        schema={
            "row": pl.Int64,
            "pert_id": pl.String,
            "field": pl.String,
            "message": pl.String,
            "suggestions": pl.String,
        },
    )

"""What a screen predicts, decided once and in full: library x cell lines x doses x times, in shards.

The plan is a pure function of the library, the options and the bundle; its hash tells whether a folder
holds this very screen, so that an interrupted one is continued and another is never mixed in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from pertcast.encoding.condition_ids import condition_ids
from pertcast_data.errors import SchemaError
from pydantic import BaseModel, ConfigDict, Field

from pertcast_jobs.screen.library import Library, Refusal, ScreenKind

IDENTITY_SCHEMA = {
    "sig_id": pl.String,
    "pert_id": pl.String,
    "cmap_name": pl.String,
    "pert_type": pl.String,
    "cell_iname": pl.String,
    "pert_dose": pl.Float64,
    "pert_dose_unit": pl.String,
    "pert_idose": pl.String,
    "pert_time": pl.Float64,
    "pert_time_unit": pl.String,
    "pert_itime": pl.String,
    "canonical_smiles": pl.String,
    "inchi_key": pl.String,
    "targets": pl.String,
}
"""Columns of a planned condition; `sig_id` is its readable, stable name."""


class ScreenSettings(BaseModel):
    """How a screen is computed; part of the plan's hash.

    Attributes
    ----------
    kind
        "compounds" or "genes".
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
    seed: int = 0
    shard_rows: int = Field(1024, gt=0, multiple_of=64)
    batch_size: int = Field(256, gt=0)
    chunk_rows: int = Field(64, gt=0)
    min_size: int = Field(5, ge=1)
    permutations: int = Field(1000, ge=10)
    n_reported: int = Field(20, ge=1)
    per_tail: int = Field(25, ge=1)


@dataclass(frozen=True, slots=True)
class Grid:
    """What a library is crossed with: cell lines, doses in uM, times in h, and types for unnamed ones."""

    cells: tuple[str, ...]
    doses: tuple[float | None, ...]
    times: tuple[float | None, ...]
    types: tuple[str, ...]


@dataclass(frozen=True)
class ScreenPlan:
    """A screen, decided.

    Attributes
    ----------
    settings
        How it is computed.
    conditions
        `IDENTITY_SCHEMA`, one row a profile, in the order of the output.
    refused
        Rows of the library that are not predicted.
    bundle_hash, gene_sets_hash
        What it is computed with; None without gene sets.
    library_source
        Where the perturbations come from.
    n_perturbations
        Distinct perturbations.
    """

    settings: ScreenSettings
    conditions: pl.DataFrame
    refused: tuple[Refusal, ...]
    bundle_hash: str
    gene_sets_hash: str | None
    library_source: str
    n_perturbations: int

    @property
    def n_profiles(self) -> int:
        """Number of profiles."""
        return self.conditions.height

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_profiles // self.settings.shard_rows)

    @property
    def hash(self) -> str:
        """SHA-256 over everything that decides the output."""
        digest = hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode())
        digest.update(self.conditions.write_csv().encode())
        digest.update(refusal_table(self.refused).write_csv().encode())
        return digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        """Return the plan without its conditions, as plain JSON."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "bundle_hash": self.bundle_hash,
            "gene_sets_hash": self.gene_sets_hash,
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


def cross(library: Library, grid: Grid) -> pl.DataFrame:
    """Cross a library with cell lines, types, doses and times; what a row states itself stays as stated.

    Returns
    -------
    DataFrame
        `IDENTITY_SCHEMA` and `row`, sorted by cell line, type, library row, dose and time, without repeats.

    Raises
    ------
    SchemaError
        There is nothing to predict.
    """
    table = library.frame
    choices = {
        "cell_iname": grid.cells,
        "pert_type": grid.types,
        "pert_dose": grid.doses,
        "pert_time": grid.times,
    }
    for name, values in choices.items():
        options = pl.DataFrame(
            {f"{name}_option": list(values)}, schema={f"{name}_option": table.schema[name]}
        )
        is_open = pl.col(name).is_null()
        opened = (
            table.filter(is_open)
            .join(options, how="cross")
            .with_columns(pl.col(f"{name}_option").alias(name))
        )
        table = pl.concat([table.filter(~is_open), opened.drop(f"{name}_option")])
    if table.is_empty():
        raise SchemaError(f"{library.source} leaves nothing to predict. List at least one perturbation.")
    order = ("cell_iname", "pert_type", "row", "pert_dose", "pert_time")
    return _named(table.sort(order, nulls_last=False, maintain_order=True))


def _named(table: pl.DataFrame) -> pl.DataFrame:
    """Add names and units; rows that name the same condition count once."""
    named = table.with_columns(
        condition_ids(table),
        cmap_name=pl.coalesce("cmap_name", "pert_id"),
        pert_dose_unit=_unit_where("pert_dose", "uM"),
        pert_time_unit=_unit_where("pert_time", "h"),
        pert_idose=_amount(table, "pert_dose", "uM"),
        pert_itime=_amount(table, "pert_time", "h"),
    )
    columns = [pl.col(name).cast(dtype) for name, dtype in IDENTITY_SCHEMA.items()]
    return named.select(*columns, "row").unique(subset="sig_id", keep="first", maintain_order=True)


def _unit_where(column: str, unit: str) -> pl.Expr:
    return pl.when(pl.col(column).is_not_null()).then(pl.lit(unit))


def _amount(table: pl.DataFrame, column: str, unit: str) -> pl.Expr:
    """Write "10 uM", null where there is none."""
    values = table[column]
    texts = {value: f"{value:.6g} {unit}" for value in values.unique().drop_nulls()}
    return pl.col(column).replace_strict(texts, default=None, return_dtype=pl.String)


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

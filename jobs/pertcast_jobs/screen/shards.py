"""The shard engine: predict one shard, summarise it, score it, write it. The same for every executor.

A shard's bytes depend on the plan and the bundle alone: batches are padded to one size, one thread
computes, and enrichment and effect sizes are taken before profiles are rounded to float16.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import zarr
from numpy.typing import NDArray
from pertcast.analysis.enrichment import enrichment_scores
from pertcast.analysis.gene_sets import SetIndex
from pertcast.analysis.hits import condition_statistics
from pertcast.predictor import PredictedConditions, Predictor
from pertcast_data.errors import CorruptBundle
from pertcast_data.store.manifest import ShardRecord
from pertcast_data.store.zarr_layout import create_array, create_dense_group, open_array, write_array_shard
from pertcast_data.vocabulary import Measure

from pertcast_jobs.screen.other_types import OtherTypes
from pertcast_jobs.screen.plan import IDENTITY_SCHEMA, ScreenPlan, ScreenSettings
from pertcast_jobs.screen.workspace import PROFILES, Workspace, write_atomically

APPLICABILITY_SCHEMA = {
    "seen_pert": pl.Boolean,
    "seen_cell": pl.Boolean,
    "nn_train_dist": pl.Float64,
    "is_in_domain": pl.Boolean,
}
ES_COLUMN = "enrichment_scores"
_LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What a worker needs to compute shards; small and picklable, so that it travels to any executor.

    Attributes
    ----------
    out
        The screen's folder.
    bundle
        The bundle's folder.
    settings
        How the screen is computed.
    sets
        Gene sets over the bundle's genes, or None.
    layers
        Layers stored beside the responses, from `layers_of`.
    model_id
        Short name of the bundle, written into sig_info.
    device
        Where the model computes.
    """

    out: str
    bundle: str
    settings: ScreenSettings
    sets: SetIndex | None
    layers: tuple[str, ...]
    model_id: str
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class ShardDone:
    """One finished shard."""

    shard: int
    rows: int


class ShardEngine:
    """Computes shards of one screen; holds the loaded bundle.

    Parameters
    ----------
    task
        What to compute.
    predictor
        The loaded bundle; loaded from `task.bundle` where None.
    """

    def __init__(self, task: ShardTask, predictor: Predictor | None = None) -> None:
        self.task = task
        self.workspace = Workspace(Path(task.out))
        self.predictor = predictor or Predictor.from_bundle(Path(task.bundle), device=task.device)
        self._other_types = OtherTypes.of(self.predictor) if task.settings.kind == "genes" else None

    def run(self, shard: int) -> ShardDone:
        """Compute and write shard number `shard`; its record is written last."""
        settings = self.task.settings
        start = shard * settings.shard_rows
        table = pl.scan_parquet(self.workspace.conditions).slice(start, settings.shard_rows).collect()
        with one_thread():
            records = self._write(shard, table)
        self.workspace.commit(shard, records)
        return ShardDone(shard, table.height)

    def _write(self, shard: int, table: pl.DataFrame) -> list[ShardRecord]:
        settings = self.task.settings
        found = self.predictor.predict(table, seed=settings.seed, batch_size=settings.batch_size)
        mean, sd = found.mean, found.sd
        _require_finite(mean, table)
        statistics = pl.concat(
            [
                table.select(list(IDENTITY_SCHEMA)),
                self._applicability(found.table),
                condition_statistics(mean, sd, self.predictor.genes),
            ],
            how="horizontal",
        ).with_columns(model_id=pl.lit(self.task.model_id), seed=pl.lit(settings.seed, dtype=pl.Int64))
        if self.task.sets is not None:
            scores = enrichment_scores(mean, self.task.sets)
            statistics = statistics.with_columns(
                pl.Series(ES_COLUMN, scores, dtype=pl.Array(pl.Float64, len(self.task.sets)))
            )
        start = shard * settings.shard_rows
        strongest = strongest_profiles(mean, statistics["effect_size"].to_numpy(), start, settings.n_reported)
        return [
            *self._write_profiles(shard, found),
            self.workspace.write_table(self.workspace.statistics_of(shard), statistics),
            self.workspace.write_table(self.workspace.strongest_of(shard), strongest),
        ]

    def _applicability(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return the flags of each condition; the other types of a gene where the bundle knows several."""
        flags = table.select(
            (pl.col(name) if name in table.columns else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in APPLICABILITY_SCHEMA.items()
        )
        return flags if self._other_types is None else flags.with_columns(self._other_types.count(table))

    def _write_profiles(self, shard: int, found: PredictedConditions) -> Iterator[ShardRecord]:
        values_of = {"X": found.mean, "layers/sd": found.sd, "layers/expression": found.basal + found.mean}
        root = self.workspace.profiles
        for name in ("X", *(f"layers/{layer}" for layer in self.task.layers)):
            values = values_of[name]
            if values is None:
                raise CorruptBundle(f"{self.task.bundle} predicts a spread for some conditions only.")
            (root / name / "c" / str(shard) / "0").unlink(missing_ok=True)
            half = np.clip(values, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
            record = write_array_shard(root, open_array(root, name), name, shard, half)
            yield ShardRecord(f"{PROFILES}/{record.path}", record.rows, record.bytes, record.crc32)


def strongest_profiles(
    mean: NDArray[np.float32], effect: NDArray[np.float64], first_row: int, count: int
) -> pl.DataFrame:
    """Keep the profiles of largest effect in full precision: row in the screen, profile (G,) float32."""
    rows = np.sort(np.argsort(-effect, kind="stable")[:count])
    return pl.DataFrame(
        {"row": rows + first_row, "profile": mean[rows]},
        schema={"row": pl.Int64, "profile": pl.Array(pl.Float32, mean.shape[1])},
    )


def layers_of(has_sd: bool, measure: Measure) -> tuple[str, ...]:
    """Name the layers of a screen: "sd" where known, "expression" (basal + response) for levels."""
    return (*(("sd",) if has_sd else ()), *(("expression",) if measure == "expression" else ()))


def create_profiles(
    workspace: Workspace, plan: ScreenPlan, genes: tuple[str, ...], layers: tuple[str, ...]
) -> None:
    """Preallocate the profiles: X and the layers, float16, NaN until written."""
    root = workspace.profiles
    if workspace.group_metadata.exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    settings = plan.settings
    layout: dict[str, Any] = {"chunk_rows": settings.chunk_rows, "shard_rows": settings.shard_rows}
    var = pl.DataFrame({"gene_symbol": genes}, schema={"gene_symbol": pl.String})
    create_dense_group(root, plan.n_profiles, len(genes), dtype=np.float16, var=var, **layout)
    array = open_array(root, "X", mode="r")
    for layer in layers:
        create_array(
            zarr.open_group(str(root / "layers"), mode="r+"),
            layer,
            shape=array.shape,
            chunks=array.chunks,
            shards=array.shards or array.chunks,
            dtype=np.float16,
            codec="none",
            fill_value=float("nan"),
            attributes={"encoding-type": "array", "encoding-version": "0.2.0"},
        )
    metadata = (root / "zarr.json").read_bytes()
    write_atomically(workspace.group_metadata, lambda path: path.write_bytes(metadata))


def _require_finite(mean: NDArray[np.float32], table: pl.DataFrame) -> None:
    bad = ~np.isfinite(mean).all(axis=1)
    if bad.any():
        name = table["sig_id"][int(np.flatnonzero(bad)[0])]
        raise CorruptBundle(f"The model predicts values that are not finite for {name}. Train it again.")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread: sums then have one order, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The shard engine: predict one shard, summarise it, score it, write it. The same for every executor.

A shard's bytes depend on the plan and the bundle alone: batches are padded to one size, one thread
computes, and enrichment and effect sizes are taken before profiles are rounded to float16.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pertcast.analysis.connectivity import Signature
from pertcast.analysis.enrichment import ranked_order
from pertcast.analysis.gene_sets import SetIndex
from pertcast.ensemble import load_predictor
from pertcast.predictor import PredictedConditions, Predictor
from pertcast.torch_threads import torch_threads
from pertcast_data.errors import CorruptBundle
from pertcast_data.store.manifest import ShardRecord

from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.profiles import write_profiles
from pertcast_jobs.screen.remote import open_workspace, worker_inputs
from pertcast_jobs.screen.summaries import SCORE, Summaries


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What a worker needs to compute shards; small and picklable, so that it travels to any executor.

    Attributes
    ----------
    out
        The screen's folder.
    bundle
        The bundle's folder.
    others
        Folders of the further members of an ensemble.
    settings
        How the screen is computed.
    sets
        Gene sets over the bundle's genes, or None.
    layers
        Layers stored beside the responses, from `layers_of`.
    model_id
        Short name of the bundle, written into sig_info.
    signature
        What conditions are compared with, or None.
    device
        Where the model computes.
    location
        The place in a bucket that shards are published to; None for a local screen.
    """

    out: str
    bundle: str
    settings: ScreenSettings
    sets: SetIndex | None
    layers: tuple[str, ...]
    model_id: str
    signature: Signature | None = None
    device: str = "cpu"
    location: str | None = None
    others: tuple[str, ...] = ()

    def load(self) -> Predictor:
        """Load the bundle, or the ensemble, where the model computes."""
        return load_predictor([Path(path) for path in (self.bundle, *self.others)], self.device)


@dataclass(frozen=True, slots=True)
class ShardDone:
    """One finished shard: its number, its rows, and what an executor has to say of itself."""

    shard: int
    rows: int
    note: str = ""


class ShardEngine:
    """Computes shards of one screen; holds the loaded bundle.

    Parameters
    ----------
    task
        What to compute.
    predictor
        The loaded bundle; loaded from `task.bundle` where None or on another device than the task's.
    """

    def __init__(self, task: ShardTask, predictor: Predictor | None = None) -> None:
        self.task = task
        self.workspace = open_workspace(Path(task.out), task.location)
        self.workspace.obtain(worker_inputs(task.layers))
        if predictor is None or predictor.device != torch.device(task.device):
            predictor = task.load()
        self.predictor = predictor
        self._summaries = Summaries(
            self.predictor, task.settings, task.sets, task.signature, model_id=task.model_id
        )

    def run(self, shard: int) -> ShardDone:
        """Compute and write shard number `shard`; its record is written last."""
        table = self.workspace.read_conditions(shard, self.task.settings.shard_rows)
        with torch_threads(1):
            records = self._write(shard, table)
        self.workspace.commit(shard, records)
        return ShardDone(shard, table.height)

    def _write(self, shard: int, table: pl.DataFrame) -> list[ShardRecord]:
        settings = self.task.settings
        found = self.predictor.predict(table, seed=settings.seed, batch_size=settings.batch_size)
        _require_finite(found.mean, table)
        order = ranked_order(found.mean)
        statistics = self._summaries.of(table, found, order)
        strongest = strongest_profiles(
            found.mean, statistics[SCORE].to_numpy(), shard * settings.shard_rows, settings.n_reported
        )
        return [
            *write_profiles(self.workspace, shard, self._layers(found), order),
            self.workspace.write_table(self.workspace.statistics_of(shard), statistics),
            self.workspace.write_table(self.workspace.strongest_of(shard), strongest),
        ]

    def _layers(self, found: PredictedConditions) -> dict[str, NDArray[np.float32]]:
        layers = {"X": found.mean}
        for name in self.task.layers:
            values = found.sd if name == "sd" else found.basal + found.mean
            if values is None:
                raise CorruptBundle(f"{self.task.bundle} predicts a spread for some conditions only.")
            layers[name] = values
        return layers


def strongest_profiles(
    mean: NDArray[np.float32], score: NDArray[np.float64], first_row: int, count: int
) -> pl.DataFrame:
    """Keep the profiles of highest score in full precision: row in the screen, profile (G,) float32."""
    rows = np.sort(np.argsort(-score, kind="stable")[:count])
    return pl.DataFrame(
        {"row": rows + first_row, "profile": mean[rows]},
        schema={"row": pl.Int64, "profile": pl.Array(pl.Float32, mean.shape[1])},
    )


def _require_finite(mean: NDArray[np.float32], table: pl.DataFrame) -> None:
    bad = ~np.isfinite(mean).all(axis=1)
    if bad.any():
        name = table["sig_id"][int(np.flatnonzero(bad)[0])]
        raise CorruptBundle(f"The model predicts values that are not finite for {name}. Train it again.")

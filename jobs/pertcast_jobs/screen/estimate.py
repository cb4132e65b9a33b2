"""What a screen will cost, measured on its own first conditions before it is begun.

A real shard is computed in a scratch folder and the search for neighbours is timed on the profiles in it:
what a screen does is measured, not assumed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast.analysis.enrichment import prerank
from pertcast.analysis.neighbors import neighbor_blocks
from pertcast.screens.profile_read import ProfileRead
from pertcast.torch_threads import torch_threads

from pertcast_jobs.screen.conditions import IDENTITY_SCHEMA
from pertcast_jobs.screen.prepare import PreparedScreen
from pertcast_jobs.screen.profiles import create_profiles
from pertcast_jobs.screen.shards import ShardEngine
from pertcast_jobs.screen.workspace import Workspace

_MEASURED_ROWS: Final = 1_024
_WORKER_BYTES: Final = 900_000_000
_PROFILE_COPIES: Final = 6
_BYTES_A_PROFILE: Final = 120
_START_SECONDS: Final = {"in-process": 0.0, "ray-data": 12.0, "serve": 20.0}
_REPORT_SECONDS: Final = 5.0
_ROWS_PER_SECOND: Final = 4e5
"""Rows of enrichment and neighbours written a second: parquet with zstd."""
_HASHED_PER_SECOND: Final = 4e8
_CONDITIONS_PER_SECOND: Final = 6e3
"""Conditions that are named, ranked and listed a second: sig_info, hits and the names of profiles."""
_OVER_PRODUCT: Final = 1.4
"""Time of comparing two tiles of profiles, in products of two tiles: what is selected comes on top."""


@dataclass(frozen=True, slots=True)
class ScreenEstimate:
    """Counts, memory and time of a screen.

    Attributes
    ----------
    n_profiles, n_perturbations, n_cells, n_doses, n_times, n_shards
        What would be predicted.
    n_refused, n_repeated
        Rows of the list that are left out.
    n_genes, n_sets
        Genes of a profile; gene sets tested.
    profiles_per_second
        One worker, measured on this machine: predicted, summarised, scored and written.
    seconds
        Of the whole screen with `workers` workers.
    finishing_seconds
        Of these, what one process takes once all shards are there: tables, neighbours, report.
    workers
        Workers assumed.
    memory_bytes
        Of all workers and the driver, about.
    disk_bytes
        Of the profiles and ranks.
    """

    n_profiles: int
    n_perturbations: int
    n_cells: int
    n_doses: int
    n_times: int
    n_shards: int
    n_refused: int
    n_repeated: int
    n_genes: int
    n_sets: int
    profiles_per_second: float
    seconds: float
    finishing_seconds: float
    workers: int
    memory_bytes: int
    disk_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def estimate(prepared: PreparedScreen, workers: int, executor: str = "ray-data") -> ScreenEstimate:
    """Compute one shard in a scratch folder and scale what its steps take to the whole screen."""
    plan, survey = prepared.plan, prepared.plan.survey
    n_genes, n_sets = len(prepared.predictor.genes), len(prepared.sets) if prepared.sets else 0
    busy = min(workers, plan.n_shards)
    disk = plan.n_profiles * n_genes * 2 * (2 + len(prepared.layers))
    with tempfile.TemporaryDirectory(prefix="pertcast-estimate-") as folder:
        rate, compared = _measure(prepared, Path(folder))
    finishing = _finishing_seconds(prepared, n_sets, compared, disk)
    return ScreenEstimate(
        n_profiles=plan.n_profiles,
        n_perturbations=plan.n_perturbations,
        n_cells=len({cell for cell, _ in survey.groups}),
        n_doses=survey.n_doses,
        n_times=survey.n_times,
        n_shards=plan.n_shards,
        n_refused=len(plan.refused),
        n_repeated=prepared.n_repeated,
        n_genes=n_genes,
        n_sets=n_sets,
        profiles_per_second=rate,
        seconds=_START_SECONDS[executor] + plan.n_profiles / (rate * busy) + finishing,
        finishing_seconds=finishing,
        workers=busy,
        memory_bytes=(busy + (executor != "in-process")) * _WORKER_BYTES
        + busy * _PROFILE_COPIES * plan.settings.shard_rows * n_genes * 4
        + plan.n_profiles * _BYTES_A_PROFILE,
        disk_bytes=disk,
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """Seconds of the search for neighbours among a tile of profiles, and of the tile's bare product."""

    rows: int
    search: float
    product: float

    def seconds(self, n_profiles: NDArray[np.float64]) -> float:
        """Return what strata of so many profiles take: each pair of tiles is multiplied once."""
        tiles = n_profiles / self.rows
        pair = _OVER_PRODUCT * self.product
        return float((tiles**2 / 2 * pair + tiles * max(0.0, self.search - pair / 2)).sum())


def _measure(prepared: PreparedScreen, folder: Path) -> tuple[float, _Compared]:
    """Return profiles a second of one worker, and what a tile of the search for neighbours takes."""
    plan = prepared.plan
    rows = min(_MEASURED_ROWS, plan.n_profiles)
    settings = plan.settings.model_copy(update={"shard_rows": -(-rows // 64) * 64})
    first = plan.conditions.head(rows)
    small = replace(plan, settings=settings, survey=replace(plan.survey, n_profiles=first.height))
    workspace = Workspace(folder / "screen")
    workspace.begin_with(small, prepared.predictor.genes, iter([first.select(list(IDENTITY_SCHEMA))]))
    create_profiles(workspace, small, prepared.predictor.genes, prepared.layers)
    engine = ShardEngine(replace(prepared.task(workspace.path), settings=settings), prepared.predictor)
    with torch_threads(1):
        prepared.predictor.predict(first.head(plan.settings.batch_size), batch_size=plan.settings.batch_size)
    seconds = _best(lambda: engine.run(0))
    read = ProfileRead(workspace.profiles)
    one, every = np.zeros(first.height, dtype=np.int64), np.arange(first.height)
    search = _best(lambda: sum(1 for _ in neighbor_blocks(one, every, read)))
    profiles = torch.from_numpy(read(every))
    with torch_threads(1):
        product = _best(lambda: torch.mm(profiles, profiles.T))
    return first.height / seconds, _Compared(first.height, search, product)


def _finishing_seconds(prepared: PreparedScreen, n_sets: int, compared: _Compared, disk: int) -> float:
    """Return what the tables of the whole screen will take one process."""
    plan = prepared.plan
    groups = np.array(list(plan.survey.groups.values()), dtype=np.float64)
    neighbors = compared.seconds(groups)
    listed = plan.n_profiles / _CONDITIONS_PER_SECOND
    written = plan.n_profiles * (n_sets + 2 * plan.settings.per_tail) / _ROWS_PER_SECOND
    tested = 0.0
    if prepared.sets is not None:
        profile = prepared.predictor.predict(plan.conditions.head(1)).mean[0]
        sets, settings = prepared.sets, plan.settings
        once = _timed(lambda: prerank(profile, prepared.predictor.genes, sets, settings.permutations, 0))
        tested = once * min(settings.n_reported, plan.n_profiles)
    return _REPORT_SECONDS + neighbors + listed + written + tested + disk / _HASHED_PER_SECOND


def _best(step: Callable[[], object]) -> float:
    """Return the shorter of two times: the first also warms up, and a busy machine delays either."""
    return min(_timed(step), _timed(step))


def _timed(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return max(time.perf_counter() - started, 1e-6)

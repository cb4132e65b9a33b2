"""What a screen will cost, measured on a few of its own conditions before it is begun."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pertcast.analysis.enrichment import enrichment_scores, prerank
from pertcast.analysis.hits import condition_statistics

from pertcast_jobs.screen.prepare import PreparedScreen
from pertcast_jobs.screen.shards import one_thread

_WARM_UP_BATCHES = 4
_WORKER_BYTES = 900_000_000
_COSINES_PER_SECOND = 1.5e7
_PROFILE_COPIES = 6
_FIXED_SECONDS = 10.0


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
        One worker, measured on this machine.
    seconds
        Of the whole screen with `workers` workers.
    workers
        Workers assumed.
    memory_bytes
        Of all workers and the driver, about.
    disk_bytes
        Of the profiles.
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
    workers: int
    memory_bytes: int
    disk_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def estimate(prepared: PreparedScreen, workers: int) -> ScreenEstimate:
    """Measure a warm-up of some batches and scale it to the whole screen."""
    plan, survey = prepared.plan, prepared.plan.survey
    rate, prerank_seconds = _measure(prepared)
    n_genes, n_sets = len(prepared.predictor.genes), len(prepared.sets) if prepared.sets else 0
    groups = np.array(list(survey.groups.values()), dtype=np.float64)
    neighbors = float(np.square(groups).sum()) / _COSINES_PER_SECOND
    busy = min(workers, plan.n_shards)
    tested = min(plan.settings.n_reported, plan.n_profiles) if prepared.sets else 0
    layers = 1 + len(prepared.layers)
    values = plan.settings.shard_rows * n_genes
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
        seconds=_FIXED_SECONDS + plan.n_profiles / (rate * busy) + tested * prerank_seconds + neighbors,
        workers=busy,
        memory_bytes=(busy + 1) * _WORKER_BYTES
        + busy * _PROFILE_COPIES * values * 4
        + plan.n_profiles * n_sets * 24,
        disk_bytes=plan.n_profiles * n_genes * 2 * layers,
    )


def _measure(prepared: PreparedScreen) -> tuple[float, float]:
    """Return profiles a second of one thread, and seconds of one prerank."""
    settings, predictor = prepared.plan.settings, prepared.predictor
    sample = prepared.plan.conditions.head(_WARM_UP_BATCHES * settings.batch_size)
    with one_thread():
        predictor.predict(sample.head(settings.batch_size), batch_size=settings.batch_size)
        started = time.perf_counter()
        found = predictor.predict(sample, seed=settings.seed, batch_size=settings.batch_size)
        condition_statistics(found.mean, found.sd, predictor.genes)
        if prepared.sets is not None:
            enrichment_scores(found.mean, prepared.sets)
        elapsed = time.perf_counter() - started
        if prepared.sets is None:
            return sample.height / elapsed, 0.0
        started = time.perf_counter()
        prerank(found.mean[0], predictor.genes, prepared.sets, settings.permutations, settings.seed)
    return sample.height / elapsed, time.perf_counter() - started

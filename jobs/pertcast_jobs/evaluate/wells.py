"""Populations of wells of a run: whether its model's samples are distributed as the measured wells are."""

from __future__ import annotations

from pathlib import Path

from pertcast.encoding import make_training_data
from pertcast.evaluation.from_store.contenders import SharedSums
from pertcast.evaluation.from_store.held_out_part import HeldOutPart, held_out_part
from pertcast.evaluation.wells.from_part import well_populations
from pertcast.evaluation.wells.populations import WellPopulations
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.evaluate.runs import BASELINE_BATCH, OpenRun, open_run


def statistics_of_run(
    run: OpenRun, seed: int = 0, progress: ProgressCallback = no_progress
) -> ConditionStatistics:
    """Return sums over the training rows of an open run; reads them once."""
    encoder = run.predictor.encoder
    data = make_training_data(
        run.store, run.split, run.fold, encoder, batch_size=BASELINE_BATCH, seed=seed, rank=0, world_size=1,
        reader=run.reader,
    )  # fmt: skip
    return SharedSums(data.statistics, progress).statistics(encoder.space)


def part_of_run(run: OpenRun, statistics: ConditionStatistics, seed: int = 0) -> HeldOutPart:
    """Return the test part of an open run's fold, measured."""
    rows = run.split.rows(run.store, run.fold, "test")
    return held_out_part(run.store, run.reader, rows, run.predictor.encoder, statistics, seed)


def well_populations_of_run(
    run: Path, *, seed: int = 0, progress: ProgressCallback = no_progress
) -> WellPopulations | None:
    """Compare the wells that a run's model generates with those that its fold held out.

    Parameters
    ----------
    run
        Folder of a finished run.
    seed
        Deals the halves of the replicates, draws the samples and resamples the perturbations.
    progress
        Told of training rows summed, then of wells generated.

    Returns
    -------
    WellPopulations or None
        None where the store holds cells and not wells, or the model gives no samples.

    Raises
    ------
    ConfigError
        There is no finished run.
    LeakageError
        Store or split are not those of the training.
    SchemaError
        Too few wells are held out.
    """
    opened = open_run(run)
    if opened.store.info.layout != "dense":
        return None
    part = part_of_run(opened, statistics_of_run(opened, seed, progress), seed)
    title = opened.predictor.bundle.title
    return well_populations(opened.predictor.model, title, part, seed=seed, progress=progress)

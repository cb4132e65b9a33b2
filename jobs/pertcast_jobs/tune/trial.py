"""One trial of a sweep: an ordinary, resumable run, then its score on the validation conditions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pertcast_data.errors import ConfigError, PertcastError
from pertcast_data.progress import ProgressCallback
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_config.load import validate_config, with_value
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import run_training
from pertcast_jobs.train.in_process import train_in_process
from pertcast_jobs.train.on_ray import train_on_ray
from pertcast_jobs.train.outcome import Trained
from pertcast_jobs.train.prepare import PreparedRun
from pertcast_jobs.tune.records import Records, TrialRecord
from pertcast_jobs.tune.score import scored

log = logging.getLogger(__name__)


def trial_config(base: Mapping[str, Any], values: Mapping[str, Any]) -> RunConfig:
    """Return the run's configuration with a trial's values at their dotted keys."""
    mapping = dict(base)
    for key, value in values.items():
        mapping = with_value(mapping, key.split("."), value)
    return validate_config(RunConfig, mapping, "trial")


class ValidationsToTune(TuneReportCallback):  # type: ignore[misc]
    """Passes on the reports of validations; those of checkpoints hold no metric that Tune asks for."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Pass on rank 0's metrics if they are a validation's."""
        if "epoch" in metrics[0]:
            super().after_report(run_context, metrics, checkpoint)


def launch_in_trial(prepared: PreparedRun, run: RunFolder, progress: ProgressCallback) -> Trained:
    """Train from within a Tune trial, so that every validation reaches Tune."""
    if prepared.config.cluster.launcher == "ray":
        return train_on_ray(prepared, run, progress, callbacks=(ValidationsToTune(),), tells_validation=True)
    return train_in_process(prepared, run, progress, listen=lambda metrics: tune.report(dict(metrics)))


def run_trial(
    given: Mapping[str, Any], *, base: Mapping[str, Any], out: str, objectives: tuple[str, ...]
) -> None:
    """Train and score one trial; a trial that was begun before continues at its newest checkpoint.

    What Pertcast raises would only happen again: it is noted, and Tune does not try again.

    Parameters
    ----------
    given
        "number" of the trial; its values are in its record.
    base
        The sweep's run configuration.
    out
        The sweep's folder.
    objectives
        Metrics that the sweep is after.
    """
    records = Records(Path(out))
    record = records.read(int(given["number"]))
    assert record is not None, "a trial's record is written before the trial begins"
    try:
        _train_and_score(record, records, base, objectives)
    except PertcastError as error:
        log.error("trial %s: %s", record.name, error)
        records.write(replace(record, status="failed", error=" ".join(str(error).split())))


def _train_and_score(
    record: TrialRecord, records: Records, base: Mapping[str, Any], objectives: tuple[str, ...]
) -> None:
    config = trial_config(base, record.values)
    torch.set_num_threads(config.cluster.threads_per_worker)
    folder = records.run_folder(record.number)
    outcome = run_training(config, folder, resume=True, launch=launch_in_trial)
    metrics = scored(outcome, records.out)
    missing = [name for name in objectives if name not in metrics]
    if missing:
        raise ConfigError(
            f"search.objectives: {missing[0]} is not what {config.model.name} reports: "
            f"{', '.join(sorted(metrics))}. Choose among these."
        )
    tune.report(dict(metrics))

"""One trial of a sweep: an ordinary, resumable run whose folder is named after the trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pertcast_data.errors import ConfigError
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
from pertcast_jobs.tune.outcome import held_out_metrics


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


def run_trial(values: Mapping[str, Any], *, base: Mapping[str, Any], trials_path: str, metric: str) -> None:
    """Train one trial; a trial that was begun before continues at its newest checkpoint.

    Parameters
    ----------
    values
        The trial's values by dotted key.
    base
        The sweep's run configuration.
    trials_path
        Folder of the trials' run folders.
    metric
        What the trials are ranked by.

    Raises
    ------
    ConfigError
        When the model does not report `metric`.
    """
    config = trial_config(base, values)
    torch.set_num_threads(config.cluster.threads_per_worker)
    folder = Path(trials_path) / tune.get_context().get_trial_id()
    outcome = run_training(config, folder, resume=True, launch=launch_in_trial)
    final = held_out_metrics(outcome.validation)
    if metric not in final:
        raise ConfigError(
            f"search.metric={metric} is not what {config.model.name} reports: "
            f"{', '.join(sorted(final)) or 'it has no held-out loss'}. Choose one of these."
        )
    epochs = sum(stage["epochs"] for stage in outcome.result["stages"])
    tune.report({**final, "epoch": epochs, "global_step": outcome.result["global_step"]})

"""One run in MLflow, made or found again by what `mlflow.json` in the run folder says."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from pertcast.training.files import write_json
from pertcast_data.errors import ConfigError

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_config.flat import flat
from pertcast_jobs.run_folder import RunFolder

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RECORD_FILE = "mlflow.json"
_PARAMETERS_AT_ONCE = 100
_LONGEST_VALUE = 6000
"""Limits of MLflow: parameters in one call, characters of a parameter."""
_TAGGED = (
    "data_hash",
    "split_hash",
    "split_kind",
    "fold",
    "model",
    "seed",
    "code_version",
    "git_revision",
    "environment_hash",
    "launcher",
    "engine",
    "world_size",
)
_ENVIRONMENT = {
    # Someone else's server is told of a training only by its owner's wish: no usage statistics.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Tries again are the sender's matter, which knows when training ends.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


def require_mlflow(config: RunConfig) -> None:
    """Raise ConfigError where MLflow is asked for and not installed."""
    if config.tracking.mlflow_uri is not None and find_spec("mlflow") is None:
        raise ConfigError(
            "tracking.mlflow_uri is given, but MLflow is not installed. Install it with "
            "`pip install 'pertcast[mlflow]'`, or leave tracking.mlflow_uri away."
        )


def _connect(uri: str) -> MlflowClient:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient  # takes a second, and is an extra

    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


class MlflowRun:
    """The run of a run folder; made at the first call where there is none.

    Every method may raise whatever the tracking server, its database or the way there raises.

    Parameters
    ----------
    config, folder
        The run's configuration and folder.
    """

    def __init__(self, config: RunConfig, folder: RunFolder) -> None:
        uri = config.tracking.mlflow_uri
        assert uri is not None
        self._config, self._folder, self._uri = config, folder, uri
        self._client = _connect(uri)
        self._id: str | None = None

    @property
    def run_id(self) -> str:
        """The run's id in MLflow."""
        if self._id is None:
            self._id = self._recorded() or self._create()
        return self._id

    def metrics(self, values: Mapping[str, float], step: int, at: float) -> None:
        """Log metrics of an optimiser step; `at` in seconds since 1970."""
        from mlflow.entities import Metric

        rows = [Metric(name, value, int(1000 * at), step) for name, value in values.items()]
        self._client.log_batch(self.run_id, metrics=rows)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in values.items()])

    def status(self, status: Status) -> None:
        """Say how the run stands."""
        if status == "RUNNING":
            self._client.update_run(self.run_id, status=status)
        else:
            self._client.set_terminated(self.run_id, status=status)

    def _recorded(self) -> str | None:
        """Return the id of an earlier attempt on the same server, or None."""
        path = self._folder.path / RECORD_FILE
        if not path.is_file():
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        return str(record["run_id"]) if record["uri"] == self._uri else None

    def _create(self) -> str:
        from mlflow.entities import Param

        tracking = self._config.tracking
        experiment = self._client.get_experiment_by_name(tracking.mlflow_experiment)
        experiment_id = (
            self._client.create_experiment(tracking.mlflow_experiment)
            if experiment is None
            else experiment.experiment_id
        )
        name = tracking.mlflow_run_name or self._folder.path.name
        run = self._client.create_run(experiment_id, run_name=name, tags=self._first_tags())
        run_id = str(run.info.run_id)
        write_json(self._folder.path / RECORD_FILE, {"uri": self._uri, "run_id": run_id})
        settings = flat(self._config.model_dump(mode="json"))
        parameters = [Param(key, str(value)[:_LONGEST_VALUE]) for key, value in settings.items()]
        for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
            self._client.log_batch(run_id, params=parameters[start : start + _PARAMETERS_AT_ONCE])
        return run_id

    def _first_tags(self) -> dict[str, str]:
        manifest = self._folder.manifest()
        facts = {
            "run_folder": self._folder.path,
            **{name: getattr(manifest, name) for name in _TAGGED},
        }
        return {f"pertcast.{name}": str(value) for name, value in facts.items()}

"""Where a run's curves are followed beside the run folder: an MLflow tracking server or database."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pertcast_data.errors import ConfigError
from pydantic import BaseModel, ConfigDict, field_validator


class TrackingConfig(BaseModel):
    """An experiment tracker; nothing of it changes a number, and none is needed.

    Attributes
    ----------
    mlflow_uri
        Address of an MLflow server (``http://HOST:5000``) or database (``sqlite:////FOLDER/mlflow.db``);
        null: no MLflow. Needs the extra ``pertcast[mlflow]``. A server's user and password are read from
        MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD: a run folder keeps no secrets.
    mlflow_experiment
        Name of the experiment; made where there is none.
    mlflow_run_name
        Name of the run there; null: the name of the run's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mlflow_uri: str | None = None
    mlflow_experiment: str = "pertcast"
    mlflow_run_name: str | None = None

    @field_validator("mlflow_uri")
    @classmethod
    def _names_a_server_or_database(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
        parts = urlsplit(uri)
        if parts.username or parts.password:
            # Not a ValueError: pydantic would repeat the value, password and all.
            raise ConfigError(
                f"tracking.mlflow_uri: the address of {parts.hostname} holds a user or password, "
                "which would be kept in the run folder; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD instead."
            )
        if parts.scheme in ("", "file"):
            raise ValueError(
                f"{uri} is a folder, which MLflow no longer writes to; use a database in it, such as "
                f"sqlite:///{parts.path.rstrip('/') or '.'}/mlflow.db"
            )
        return uri

    def with_absolute_path(self) -> Self:
        """Return the same with an absolute path of a SQLite file, as workers run in other folders."""
        before, slashes, path = (self.mlflow_uri or "").partition(":///")
        if before != "sqlite" or path.startswith("/"):
            return self
        return self.model_copy(update={"mlflow_uri": f"{before}{slashes}{Path(path).absolute()}"})

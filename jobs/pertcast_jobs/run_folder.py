"""A run's folder: its resolved configuration, its manifest and everything that training leaves behind.

Whoever is given a path to a run or a bundle finds the bundle through `pertcast.training.bundle.find_bundle`.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pertcast
from pertcast.encoding.compound_embedding import EmbeddingCoverage
from pertcast.encoding.gene_features import GeneCoverage
from pertcast.training.bundle_manifest import MANIFEST as BUNDLE_MANIFEST
from pertcast.training.files import write_json
from pertcast_data.errors import ConfigError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pertcast_jobs.run_config import RunConfig, dump_config, load_config
from pertcast_jobs.start_record import StartRecord

REVISION_VARIABLE = "PERTCAST_GIT_REVISION"
"""Set by `pertcast job submit` where it sends the code: on the cluster it is no checkout."""


class RunManifest(BaseModel):
    """Facts of a run: what was trained on what, by which code, where, and how it ended.

    Attributes
    ----------
    status
        "running" from the first to the last step (also after a crash), then "done".
    created, finished
        UTC time, ISO 8601.
    code_version, git_revision
        Version of Pertcast; the revision of the checkout it runs from, with "+changes" where files differ.
    model, seed
        Name in the registry; the run's seed.
    data_hash, split_hash, split_kind, fold
        Which rows were trained on.
    environment, environment_hash
        Versions, processor, GPUs, threads and determinism of the process that trained (of rank 0, and of the
        last attempt), and the hash of what of it may change a bit (`pertcast_jobs.environment`).
    launcher, engine, world_size
        How it was trained, on how many workers.
    compound_embedding
        What the embedding table knows of the store's compounds (`EmbeddingCoverage`); None without a table.
    gene_features
        What each file of gene features knows of the store's genes; empty without files.
    start
        What was taken over of the trained bundle that the run started from; None for fresh weights.
    result
        Best metrics, steps and seconds, once done.
    members
        Of an ensemble: the run folders of its members, relative to its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["pertcast-run"] = "pertcast-run"
    format_version: Literal[1] = 1
    status: Literal["running", "done"] = "running"
    created: str
    finished: str | None = None
    code_version: str
    git_revision: str | None
    model: str
    seed: int
    data_hash: str
    split_hash: str
    split_kind: str
    fold: int
    environment: dict[str, Any]
    environment_hash: str
    launcher: str
    engine: str
    world_size: int
    compound_embedding: EmbeddingCoverage | None = None
    gene_features: tuple[GeneCoverage, ...] = ()
    start: StartRecord | None = None
    result: dict[str, Any] = Field(default_factory=dict)
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run. `create` makes one, `open` finds one.

    Attributes
    ----------
    path
        The folder: config.yaml, run.json, metrics.jsonl, tensorboard/, checkpoints/, bundle/, evaluation/.
    """

    path: Path

    @property
    def config_path(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def manifest_path(self) -> Path:
        """The run's facts."""
        return self.path / "run.json"

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line: losses by step."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard_path(self) -> Path:
        """The same losses for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def checkpoints_path(self) -> Path:
        """What a run is resumed from."""
        return self.path / "checkpoints"

    @property
    def bundle_path(self) -> Path:
        """The trained model; there once the run is done."""
        return self.path / "bundle"

    @property
    def start_path(self) -> Path:
        """The trained bundle that the run started from; there where it did."""
        return self.path / "start"

    @property
    def evaluation_path(self) -> Path:
        """Trust tables and reports."""
        return self.path / "evaluation"

    @property
    def workers_path(self) -> Path:
        """One JSON file a worker of a Ray run: host, process id, attempt and progress."""
        return self.path / "workers"

    @classmethod
    def create(cls, path: Path, config: RunConfig, manifest: RunManifest) -> RunFolder:
        """Make a run's folder with its configuration and manifest.

        Raises
        ------
        ConfigError
            When something is at `path` already.
        """
        refuse_existing(path)
        run = cls(path.absolute())
        run.checkpoints_path.mkdir(parents=True)
        write_text(run.config_path, dump_config(config))
        run.write_manifest(manifest)
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return the run at `path`; raises ConfigError where there is none."""
        run = cls(Path(path).absolute())
        if not run.path.exists():
            raise ConfigError(f"{path}: no such folder. Name a run's folder.")
        if not run.manifest_path.is_file() or not run.config_path.is_file():
            raise ConfigError(
                f"{path} is not a run: it holds no run.json and config.yaml. Name a run's folder."
            )
        return run

    def config(self) -> RunConfig:
        """Return the resolved configuration."""
        return load_config(self.config_path)

    def manifest(self) -> RunManifest:
        """Return the run's facts; raises ConfigError where they cannot be read."""
        try:
            return RunManifest.model_validate_json(self.manifest_path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise ConfigError(
                f"{self.manifest_path} cannot be read ({error.error_count()} problems, first: "
                f"{error.errors()[0]['msg']}). Restore it or train into a new folder."
            ) from error

    def write_manifest(self, manifest: RunManifest) -> None:
        """Write the run's facts, whole or not at all."""
        write_json(self.manifest_path, manifest.model_dump(mode="json"))

    @property
    def is_done(self) -> bool:
        """Whether training ended and the bundle is written."""
        return self.manifest().status == "done" and (self.bundle_path / BUNDLE_MANIFEST).is_file()


def refuse_existing(path: Path) -> None:
    """Raise ConfigError, with the remedy, where something is at `path` already."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if (path / "run.json").is_file():
        raise ConfigError(
            f"{path} holds a run already. Continue it with --resume, or choose another folder for --out."
        )
    raise ConfigError(f"{path} exists and is not empty. Choose another folder for --out.")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def now() -> str:
    """Return the UTC time as ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_revision() -> str | None:
    """Return the revision of the checkout that Pertcast runs from, or was sent from; None without one."""
    source = Path(__file__).resolve()
    if _git(source, "ls-files", "--error-unmatch", source.name) is None:
        return os.environ.get(REVISION_VARIABLE)
    revision = _git(source, "rev-parse", "HEAD")
    changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}+changes" if revision and changes else revision


def _git(source: Path, *arguments: str) -> str | None:
    """Return what git prints in the folder of `source`, or None where it fails or is not there."""
    command = ["git", "-C", str(source.parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def code_version() -> str:
    """Return the version of Pertcast."""
    return pertcast.__version__

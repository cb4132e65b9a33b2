"""What a training run is made of: model, data, encoder, training and cluster, as frozen pydantic models.

The same configuration trains in this process or on Ray, on CPUs or GPUs, with torch or DeepSpeed:
only `cluster` and `train.engine` change.
"""

from __future__ import annotations

from math import lcm
from pathlib import Path
from typing import Any, Literal, Self

from pertcast.encoding import EncoderSpec
from pertcast.models.registry import get_model
from pertcast.training.config import TrainConfig
from pertcast_data.config_problems import config_error
from pertcast_data.errors import ConfigError
from pertcast_data.storage import is_remote, parse_location
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pertcast_jobs.run_config.tracking import TrackingConfig


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSection(_Section):
    """Which model, and its own configuration.

    Attributes
    ----------
    name
        Name in the registry, for example ``response_mlp``.
    config
        The model's configuration; checked against the model's own schema, its defaults filled in.
    """

    name: str
    config: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fill_in(self) -> ModelSection:
        schema = get_model(self.name).config_type
        try:
            filled = schema.model_validate(self.config)
        except ValidationError as error:
            raise config_error(error, schema, f"model {self.name}", ("model", "config")) from error
        object.__setattr__(self, "config", filled.model_dump(mode="json"))
        return self


class DataConfig(_Section):
    """Which rows: a store, a split of its conditions and a fold of the split.

    Attributes
    ----------
    store
        Folder of the expression store.
    split
        The split's JSON file, made by ``pertcast data split``.
    fold
        Which fold of the split is held out.
    """

    store: Path | None = None
    split: Path | None = None
    fold: int = Field(0, ge=0)

    def require(self) -> tuple[Path, Path]:
        """Return absolute paths of store and split; raises ConfigError where one is missing.

        A store in a bucket (s3://, gs://) is returned as it is: whether it is there is found on opening.
        """
        found = []
        for key, path, make in (
            ("data.store", self.store, "pertcast data ingest FILE --out STORE"),
            ("data.split", self.split, "pertcast data split STORE --kind unseen_compound --out split.json"),
        ):
            if path is None:
                raise ConfigError(f"{key} is not given. Add {key}=PATH; it is made by `{make}`.")
            if key == "data.store" and is_remote(path):
                parse_location(path)
                found.append(path)
                continue
            if not path.exists():
                raise ConfigError(f"{key}: {path} does not exist. It is made by `{make}`.")
            found.append(path.absolute())
        return found[0], found[1]


class ClusterConfig(_Section):
    """Where the run's processes live.

    Attributes
    ----------
    launcher
        "in_process": this process trains. "ray": Ray Train starts `num_workers` processes, on one or many
        machines.
    num_workers
        Processes that train together; the batch is divided over them. 1 for launcher "in_process".
    min_workers
        Ray only: the fewest workers that a run starts with, and goes on with when machines are lost; it grows
        again, up to num_workers, when they come back. Only numbers that the batch divides into are taken.
        Null: always num_workers, and a run that lost a machine waits for another.
    use_gpu
        Train on GPUs: one a worker.
    cpus_per_worker
        CPUs that Ray sets aside for a worker, and threads of its torch (rounded down, at least 1).
    max_failures
        How many times a run is resumed after a worker died; -1 for any number. Machines that announce their
        end (SIGTERM, a drained Ray node) do not count.
    storage_path
        Folder that all machines see, or bucket (s3://..., gs://...), for the checkpoints; the run folder
        where null.
    stop_grace_s
        Seconds that the workers of a Ray run have for a last checkpoint when the command is interrupted.
    look_for_nodes_every_s
        Seconds between two looks for machines to grow on, where min_workers is given.
    collective_timeout_s
        Seconds after which workers that wait for another give up, and all start again; more than a checkpoint
        may take.
    """

    launcher: Literal["in_process", "ray"] = "in_process"
    num_workers: int = Field(1, ge=1)
    min_workers: int | None = Field(None, ge=1)
    use_gpu: bool = False
    cpus_per_worker: float = Field(1.0, gt=0)
    max_failures: int = Field(3, ge=-1)
    storage_path: Path | None = None
    stop_grace_s: float = Field(60.0, ge=0)
    look_for_nodes_every_s: float = Field(60.0, gt=0)
    collective_timeout_s: int = Field(1800, ge=1)

    @property
    def fewest_workers(self) -> int:
        """With how many workers a run can go on."""
        return self.num_workers if self.min_workers is None else self.min_workers

    @property
    def threads_per_worker(self) -> int:
        """Threads of torch and OpenMP in a Ray worker."""
        return max(1, int(self.cpus_per_worker))

    @model_validator(mode="after")
    def _one_process_has_one_worker(self) -> ClusterConfig:
        if self.launcher == "in_process" and self.num_workers != 1:
            raise ValueError(
                f"num_workers={self.num_workers} needs Ray: set cluster.launcher=ray, or num_workers=1"
            )
        if self.min_workers is None:
            return self
        if self.launcher == "in_process":
            raise ValueError("min_workers needs Ray: set cluster.launcher=ray, or min_workers=null")
        if self.min_workers > self.num_workers:
            raise ValueError(f"min_workers={self.min_workers} is more than num_workers={self.num_workers}")
        return self


class RunConfig(_Section):
    """Everything that decides a training run.

    Attributes
    ----------
    model
        Which model, and its configuration.
    data
        Which rows.
    encoder
        How conditions become features.
    train
        The training loop: seed, batch size, engine, checkpoints.
    cluster
        Where the processes live.
    tracking
        Where curves are followed beside the run folder.
    init_from
        Bundle (or run) whose trained weights the run starts from (docs/finetuning.md); null: fresh weights.
        Features of perturbations are then the bundle's, and `encoder` keeps its defaults.
    """

    model: ModelSection
    data: DataConfig = DataConfig()
    encoder: EncoderSpec = EncoderSpec()
    train: TrainConfig = TrainConfig()
    cluster: ClusterConfig = ClusterConfig()
    tracking: TrackingConfig = TrackingConfig()
    init_from: Path | None = None

    @model_validator(mode="after")
    def _batch_divides(self) -> RunConfig:
        cluster = self.cluster
        self.train.micro_batch_size(cluster.num_workers)
        if cluster.min_workers not in (None, *self.worker_counts()):
            parts = lcm(cluster.fewest_workers, cluster.num_workers) * self.train.accumulate
            nearest = max(1, round(self.train.batch_size / parts)) * parts
            raise ConfigError(
                f"train.batch_size={self.train.batch_size} does not divide into cluster.min_workers="
                f"{cluster.min_workers} workers x {self.train.accumulate} micro-batches; use a multiple of "
                f"{parts}, such as {nearest}, or a min_workers of "
                f"{', '.join(str(count) for count in self.worker_counts())}."
            )
        return self

    @model_validator(mode="after")
    def _keeps_only_what_there_is(self) -> RunConfig:
        if self.train.frozen_stages and self.init_from is None:
            raise ConfigError(
                f"train.frozen_stages={', '.join(self.train.frozen_stages)}: weights can only be kept where "
                "there are any. Start from a trained bundle with --init-from BUNDLE, or leave the stages out."
            )
        return self

    def worker_counts(self) -> tuple[int, ...]:
        """Return with how many workers the run may train: the batch divides into their micro-batches."""
        counts = range(self.cluster.fewest_workers, self.cluster.num_workers + 1)
        return tuple(
            count for count in counts if self.train.batch_size % (count * self.train.accumulate) == 0
        )

    def with_absolute_paths(self) -> Self:
        """Return the same configuration with absolute paths, as workers run in other folders."""
        store, split = self.data.require()
        data = self.data.model_copy(update={"store": store, "split": split})
        shared = self.cluster.storage_path
        if shared is not None and not is_remote(shared):
            shared = shared.absolute()
        cluster = self.cluster.model_copy(update={"storage_path": shared})
        encoder = self.encoder.with_absolute_paths()
        start = self.init_from.absolute() if self.init_from else None
        return self.model_copy(
            update={
                "data": data,
                "cluster": cluster,
                "encoder": encoder,
                "init_from": start,
                "tracking": self.tracking.with_absolute_path(),
            }
        )

"""What is settled before the first step: the rows, the features, the facts of the run.

The encoder and everything else that is fitted sees the training rows of the fold only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pertcast.encoding import BasalProfiles, ConditionEncoder, make_training_data
from pertcast.encoding.priors import check_gene_files, priors_fitted_on, training_priors
from pertcast.models.contract import ResponseModel
from pertcast.models.registry import get_model
from pertcast.training.bundle import BundleFacts
from pertcast.training.data import TrainingData
from pertcast_data.loading import pair_controls
from pertcast_data.splits import FittedOn, Split
from pertcast_data.store import ExpressionStore

from pertcast_jobs.environment import describe_environment, environment_hash
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import (
    RunFolder,
    RunManifest,
    code_version,
    git_revision,
    now,
)
from pertcast_jobs.start_record import StartRecord
from pertcast_jobs.train.start import (
    build_fresh_model,
    check_base,
    open_base,
    record_start,
    start_from,
    without_files,
)
from pertcast_jobs.train.start_kept import keep_start

log = logging.getLogger(__name__)

State = tuple[Mapping[str, Any], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class PreparedRun:
    """A run that could start.

    Attributes
    ----------
    config
        The configuration, with absolute paths.
    encoder
        Fitted on the fold's training rows.
    basal_state
        Mean control profiles for the bundle.
    data_hash, measure, normalisation
        Facts of the store.
    split_hash, split_kind
        Facts of the split.
    n_rows
        Treated rows of each part of the fold: train, validation, test.
    n_conditions
        Conditions of each part.
    fitted_on
        Everything that is fitted, and the rows it is fitted on.
    start
        What is taken over of a trained bundle; None for fresh weights.
    """

    config: RunConfig
    encoder: ConditionEncoder
    basal_state: State
    data_hash: str
    measure: str
    normalisation: str
    split_hash: str
    split_kind: str
    n_rows: Mapping[str, int]
    n_conditions: Mapping[str, int]
    fitted_on: tuple[FittedOn, ...]
    start: StartRecord | None = None

    def manifest(self) -> RunManifest:
        """Return the facts of a run that begins now."""
        config, environment = self.config, describe_environment()
        return RunManifest(
            created=now(),
            code_version=code_version(),
            git_revision=git_revision(),
            model=config.model.name,
            seed=config.train.seed,
            data_hash=self.data_hash,
            split_hash=self.split_hash,
            split_kind=self.split_kind,
            fold=config.data.fold,
            environment=environment,
            environment_hash=environment_hash(environment),
            launcher=config.cluster.launcher,
            engine=config.train.engine.name,
            world_size=config.cluster.num_workers,
            compound_embedding=self.encoder.coverage,
            gene_features=self.encoder.gene_coverage,
            start=self.start,
        )

    def starting_from(self, run: RunFolder) -> PreparedRun:
        """Return the same run, starting from the bundle that its folder keeps (if it starts from any)."""
        config = keep_start(self.config, run, self.start)
        return replace(self, config=config, start=run.manifest().start)

    def bundle_facts(self, validation: Mapping[str, float], result: Mapping[str, Any]) -> BundleFacts:
        """Return where the bundle comes from, with the held-out losses of training."""
        config = self.config.model_copy(update={"encoder": self.encoder.spec})
        start = {} if self.start is None else {"start": self.start.model_dump(mode="json")}
        return BundleFacts(
            data_hash=self.data_hash,
            split_hash=self.split_hash,
            split_kind=self.split_kind,
            fold=self.config.data.fold,
            measure=self.measure,
            normalisation=self.normalisation,
            seed=self.config.train.seed,
            metrics={f"validation_{name}": value for name, value in validation.items()},
            training={"config": config.model_dump(mode="json"), "result": dict(result), **start},
            fitted_on=tuple(each.model_dump(mode="json") for each in self.fitted_on),
        )


def open_checked(config: RunConfig) -> tuple[ExpressionStore, Split]:
    """Open store and split, and audit the fold; warnings of the auditor are logged.

    Raises
    ------
    ConfigError
        Data missing, or a fold that the split does not have.
    LeakageError
        The split was made for another store, or the auditor found a leak.
    """
    store_path, split_path = config.data.require()
    store, split = ExpressionStore.open(store_path), Split.load(split_path)
    for warning in split.check(store, config.data.fold).warnings:
        log.warning(warning)
    return store, split


def prepare(config: RunConfig) -> PreparedRun:
    """Open the data, check the split and fit the encoder.

    Raises
    ------
    ConfigError, LeakageError
        As `open_checked`.
    ControlsMissing
        Treated rows without controls in a store of expression.
    """
    config = config.with_absolute_paths()
    store, split = open_checked(config)
    fold = config.data.fold
    rows = {part: split.rows(store, fold, part) for part in ("train", "validation", "test")}
    reader = store.reader("disk")
    controls = split.training_controls(store, fold)
    pairing = pair_controls(store, controls) if store.measure == "expression" else None
    parts = split.folds[fold]
    base = open_base(config)
    if base is not None:
        check_base(base, config, store, split)
    encoder = ConditionEncoder.fit(
        store, rows["train"], config.encoder, reader, base.encoder if base is not None else None
    )
    if base is None:
        check_gene_files(encoder, config.encoder)
    basal = BasalProfiles.fit(store, pairing, reader)
    wants_priors = get_model(config.model.name).model_type.wants_priors
    return PreparedRun(
        config=config,
        encoder=encoder,
        basal_state=basal.state(),
        data_hash=store.data_hash,
        measure=store.measure,
        normalisation=store.normalisation,
        split_hash=split.hash,
        split_kind=split.kind,
        n_rows={part: len(found) for part, found in rows.items()},
        n_conditions={part: len(getattr(parts, part)) for part in rows},
        fitted_on=(
            *encoder.fitted_on,
            *basal.fitted_on,
            *(priors_fitted_on(store, split, fold) if wants_priors else ()),
            FittedOn.of("model weights", "weights", "train", rows["train"]),
            FittedOn.of("choice of the kept weights", "early_stopping", "validation", rows["validation"]),
        ),
        start=None if base is None else record_start(base, config, encoder, store, parts.test),
    )


def build_seeded_model(config: RunConfig, encoder: ConditionEncoder) -> ResponseModel:
    """Build the run's model; its first weights depend on the seed, and the bundle it starts from, alone."""
    model, base = build_fresh_model(config, encoder), open_base(config)
    if base is not None:
        start_from(model, base, encoder, config)
    return model


def take_up_priors(model: ResponseModel, config: RunConfig, encoder: ConditionEncoder) -> None:
    """Give a model that wants it what is known before training; on every worker, before its stages.

    Raises
    ------
    ConfigError, FormatError, SchemaError
        The configuration's files of genes cannot be used.
    """
    if not model.wants_priors:
        return
    store_path, split_path = config.data.require()
    store = ExpressionStore.open(store_path)
    is_fresh = config.init_from is None
    priors = training_priors(
        store,
        Split.load(split_path),
        config.data.fold,
        encoder if is_fresh else without_files(encoder),
        store.reader("disk"),
        spec=config.encoder if is_fresh else None,
        seed=config.train.seed,
    )
    model.take_up(priors)


def open_training_data(
    config: RunConfig, encoder: ConditionEncoder, rank: int = 0, world_size: int = 1
) -> TrainingData:
    """Open the store from its path and return this rank's share of the fold."""
    store_path, split_path = config.data.require()
    store = ExpressionStore.open(store_path)
    return make_training_data(
        store,
        Split.load(split_path),
        config.data.fold,
        encoder,
        batch_size=config.train.micro_batch_size(world_size),
        seed=config.train.seed,
        rank=rank,
        world_size=world_size,
        accumulate=config.train.accumulate,
        reader=store.reader(),
    )

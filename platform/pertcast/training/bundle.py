"""The bundle: a trained model as plain files, everything needed to predict and to judge the prediction.

`bundle.json` (facts, configuration, space, SHA-256 of each file) beside safetensors. Never a pickle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from pertcast_data.errors import ConfigError, CorruptBundle
from pertcast_data.vocabulary import Measure, Normalisation
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from torch import Tensor

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelEntry, ResponseModel
from pertcast.models.ensemble import EnsembleModel
from pertcast.models.registry import MODELS
from pertcast.training.bundle_manifest import (
    MANIFEST,
    TENSOR_FILES,
    content_hash,
    members_of,
    read_manifest,
    verify_files,
    weights_file,
)
from pertcast.training.bundle_supplements import read_supplements
from pertcast.training.bundle_writing import State, write_bundle


class BundleFacts(BaseModel):
    """Where a bundle comes from and what it is good for.

    Attributes
    ----------
    data_hash, split_hash, split_kind, fold
        The training store and which part of it was trained on; split facts are None for a whole store.
    measure, normalisation
        What a profile is in the training store.
    licence
        Licence of the training data, as far as known.
    seed
        Seed of the training.
    metrics
        Held-out metrics by name; None where a metric is not defined. `add_metrics` fills them in later.
    training
        The training's configuration and outcome, as plain JSON.
    fitted_on
        For each fitted transform its name, the part of the fold and the number and hash of the rows it was
        fitted on (`pertcast_data.splits.FittedOn`, as plain JSON): evaluations recompute them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_hash: str
    split_hash: str | None = None
    split_kind: str | None = None
    fold: int | None = None
    measure: Measure
    normalisation: Normalisation
    licence: str = "unknown"
    seed: int = 0
    metrics: dict[str, float | None] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    fitted_on: tuple[dict[str, Any], ...] = ()

    @field_validator("metrics")
    @classmethod
    def _finite_or_none(cls, metrics: dict[str, float | None]) -> dict[str, float | None]:
        return {k: v if v is not None and math.isfinite(v) else None for k, v in metrics.items()}


@dataclass(frozen=True)
class BundleFiles:
    """A verified bundle in memory; nothing of it has been run yet.

    Attributes
    ----------
    path
        The bundle's folder.
    model_name, model_config
        Name in the registry and plain configuration of the model.
    space, conditions
        What the model is built from: facts of the training store and its C training conditions.
    encoder_state, basal_state
        (facts, arrays) for `ConditionEncoder.from_state` and `BasalProfiles.from_state`.
    facts
        Provenance and held-out metrics.
    weights
        The model's state dict.
    version
        Pertcast version that wrote the bundle.
    content_hash
        SHA-256 that changes when anything in the bundle but its held-out metrics and supplements changes.
    supplements
        Name -> bytes of what was added to the bundle after training (`add_supplement`).
    members
        Of an ensemble: member -> its seed and the content hash of the bundle that it came from. Empty for one
        model. `weights` are then those of `EnsembleModel`.
    """

    path: Path
    model_name: str
    model_config: dict[str, Any]
    space: ModelSpace
    conditions: ConditionBatch
    encoder_state: tuple[dict[str, Any], dict[str, np.ndarray]]
    basal_state: tuple[dict[str, Any], dict[str, np.ndarray]]
    facts: BundleFacts
    weights: dict[str, Tensor]
    version: str
    content_hash: str
    supplements: Mapping[str, bytes] = field(default_factory=dict)
    members: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def save_bundle(
    path: Path | str,
    *,
    model_name: str,
    model: ResponseModel,
    conditions: ConditionBatch,
    encoder_state: State,
    basal_state: State,
    facts: BundleFacts,
) -> Path:
    """Write a bundle, whole or not at all; a bundle already at `path` is replaced.

    Parameters
    ----------
    path
        Folder to write.
    model_name
        The model's name in the registry.
    model
        The trained model.
    conditions
        The C training conditions that the model was built from.
    encoder_state, basal_state
        ``(facts, arrays)`` of the encoder and of the basal profiles.
    facts
        Provenance and metrics.

    Raises
    ------
    ConfigError
        When `path` is something else than a bundle.
    """
    return write_bundle(
        Path(path),
        {
            "model": {"name": model_name, "config": model.config.model_dump(mode="json")},
            "space": model.space.model_dump(mode="json"),
            "facts": facts.model_dump(mode="json"),
        },
        {"": model.state_dict()},
        conditions,
        encoder_state,
        basal_state,
    )


def find_bundle(path: Path | str) -> Path:
    """Return the bundle that a path means: of a run (or sweep), or a bundle itself.

    Parameters
    ----------
    path
        Folder of a run, of a sweep or of a bundle.

    Raises
    ------
    ConfigError
        When there is no such folder, when it is neither, or when the run has no bundle yet.
    """
    folder = Path(path)
    if not folder.exists():
        raise ConfigError(
            f"{folder} does not exist. Name the folder of a run (`pertcast train ... --out RUN`) or a bundle."
        )
    if (folder / MANIFEST).is_file():
        return folder
    if (folder / "bundle" / MANIFEST).is_file():
        return folder / "bundle"
    if (folder / "run.json").is_file():
        raise ConfigError(
            f"The run {folder} has no bundle: its training did not end. Continue it with "
            f"`pertcast train {folder / 'config.yaml'} --out {folder} --resume`"
            f"{_ensemble_hint(folder / 'run.json')}."
        )
    raise ConfigError(
        f"{folder} is neither a run nor a bundle: it holds neither run.json nor {MANIFEST}. "
        "Name the folder that holds one of them."
    )


def _ensemble_hint(manifest: Path) -> str:
    """Return what the command lacks where the run is to be an ensemble."""
    try:
        count = len(json.loads(manifest.read_bytes()).get("members", ()))
    except (ValueError, AttributeError):
        return ""
    return f" and --ensemble {count}" if count else ""


def load_bundle_files(path: Path | str) -> BundleFiles:
    """Read and verify a bundle.

    Raises
    ------
    CorruptBundle
        When the folder is no bundle, or any file is missing, truncated or differs by one bit.
    """
    path = Path(path)
    content = read_manifest(path)
    verify_files(path, content)
    try:
        conditions = safetensors.torch.load_file(path / TENSOR_FILES[1])
        encoder, basal = (safetensors.numpy.load_file(path / name) for name in TENSOR_FILES[2:])
        return BundleFiles(
            path=path,
            model_name=content["model"]["name"],
            model_config=content["model"]["config"],
            space=ModelSpace.model_validate(content["space"]),
            conditions=ConditionBatch(**conditions),
            encoder_state=(content["encoder"], encoder),
            basal_state=(content["basal"], basal),
            facts=BundleFacts.model_validate(content["facts"]),
            weights=_weights(path, content),
            version=content["pertcast_version"],
            content_hash=content_hash(content),
            supplements=read_supplements(path, content.get("supplements", {})),
            members=members_of(content),
        )
    except (SafetensorError, ValidationError, KeyError, TypeError) as error:
        raise CorruptBundle(f"{path} does not hold what a bundle holds: {error}") from error


def _weights(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state dict of the model, or of the ensemble of its members."""
    members = members_of(content)
    if not members:
        return safetensors.torch.load_file(path / weights_file())
    return {
        f"members.{member}.{name}": tensor
        for member in members
        for name, tensor in safetensors.torch.load_file(path / weights_file(member)).items()
    }


def build_model(
    files: BundleFiles,
    device: torch.device | str = "cpu",
    models: Mapping[str, ModelEntry] = MODELS,
) -> ResponseModel:
    """Build a bundle's model, load its weights strictly and set it to evaluation.

    Parameters
    ----------
    files
        A verified bundle.
    device
        Where the model shall live.
    models
        Registry to find the model in.

    Raises
    ------
    CorruptBundle
        When the model is not in the registry, or weights and configuration do not fit each other.
    """
    entry = models.get(files.model_name)
    if entry is None:
        raise CorruptBundle(f"{files.path} needs the model {files.model_name!r}, which is not registered.")
    try:
        model = _built(entry, files)
        model.load_state_dict(files.weights, strict=True)
    except (RuntimeError, ValidationError) as error:
        raise CorruptBundle(
            f"{files.path}: weights and configuration of {files.model_name!r} do not fit: {error}"
        ) from error
    return model.to(device).eval()


def _built(entry: ModelEntry, files: BundleFiles) -> ResponseModel:
    parts = (files.model_config, files.space, files.conditions)
    if not files.members:
        return entry.build(*parts)
    return EnsembleModel({name: entry.build(*parts) for name in files.members}, files.conditions)

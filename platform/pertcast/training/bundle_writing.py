"""Writing a bundle's folder, of one model or of an ensemble: whole or not at all, sealed by its hashes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from pertcast_data.errors import ConfigError
from torch import Tensor

from pertcast import __version__
from pertcast.models.batch import ConditionBatch
from pertcast.training.bundle_manifest import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    TENSOR_FILES,
    file_record,
    sealed,
    tensor_files,
    weights_file,
)
from pertcast.training.files import new_folder, write_json

State = tuple[Mapping[str, Any], Mapping[str, np.ndarray]]
"""Plain facts (JSON) and arrays (float, int or bool) of an encoder or of basal profiles."""


def _plain_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}


def _plain_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(value) for name, value in arrays.items()}


def write_bundle(
    path: Path,
    facts: Mapping[str, Any],
    weights: Mapping[str, Mapping[str, Tensor]],
    conditions: ConditionBatch,
    encoder_state: State,
    basal_state: State,
) -> Path:
    """Write a bundle; one that is at `path` already is replaced.

    Parameters
    ----------
    path
        Folder to write.
    facts
        Its "model", "space" and "facts", as plain JSON.
    weights
        Member -> state dict; the name is "" for the only model.
    conditions, encoder_state, basal_state
        As in `pertcast.training.bundle.save_bundle`.

    Raises
    ------
    ConfigError
        When `path` is something else than a bundle.
    """
    if path.exists() and not (path / MANIFEST).exists():
        raise ConfigError(f"{path} exists and is not a bundle; choose another folder for the bundle.")
    tensors = {f.name: getattr(conditions, f.name) for f in fields(conditions)}
    with new_folder(path) as folder:
        for member, state in weights.items():
            safetensors.torch.save_file(_plain_tensors(state), folder / weights_file(member))
        safetensors.torch.save_file(_plain_tensors(tensors), folder / TENSOR_FILES[1])
        safetensors.numpy.save_file(_plain_arrays(encoder_state[1]), folder / TENSOR_FILES[2])
        safetensors.numpy.save_file(_plain_arrays(basal_state[1]), folder / TENSOR_FILES[3])
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "pertcast_version": __version__,
            **facts,
            "encoder": dict(encoder_state[0]),
            "basal": dict(basal_state[0]),
        }
        records = {name: file_record(folder / name) for name in tensor_files(content)}
        write_json(folder / MANIFEST, sealed({**content, "files": records}))
    return path

"""Settings of a server from the options of `pertcast serve`, over those of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from pertcast.errors import ConfigError
from pertcast_data.config_problems import config_error
from pydantic import ValidationError

from pertcast_serve.config import NAME_PATTERN, PredictorSettings, ServeConfig
from pertcast_serve.ports import is_loopback

DEFAULT_NAME = "default"
"""Name of the first model where it is given without one."""

NO_MODEL = "no model is named: --model RUN, or models: in the file of --config."


def named_paths(option: str, words: Sequence[str], first: str | None = None) -> dict[str, Path]:
    """Return the absolute paths of "NAME=PATH" by name.

    Parameters
    ----------
    option
        Where the words stand, for the error.
    words
        "NAME=PATH" each.
    first
        Name of the first one where it is a path alone.

    Raises
    ------
    ConfigError
        A word has no name, or two have the same.
    """
    found: dict[str, Path] = {}
    for number, word in enumerate(words):
        name, sign, path = word.partition("=")
        if not sign or not re.fullmatch(NAME_PATTERN, name):
            if number or first is None:
                raise ConfigError(f"{option} {word}: it has no name. Write {option} NAME={word}.")
            name, path = first, word
        if name in found:
            raise ConfigError(f"{option} {word}: {name!r} is named twice. Give each its own name.")
        found[name] = Path(path).absolute()
    return found


def read_settings(file: Path) -> dict[str, Any]:
    """Return the plain settings of a YAML file; raises ConfigError where it holds none."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--config {file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--config {file} holds no settings. docs/serving.md has an example.")
    return content


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with `changes` over them and before them, part by part; None changes nothing."""
    result = {name: settings.get(name) for name, value in changes.items() if value is not None}
    result = {**result, **settings}
    for name, value in changes.items():
        if isinstance(value, Mapping):
            before = result.get(name) or {}
            value = merged(before, value) if isinstance(before, Mapping) else before
        if value is not None:
            result[name] = value
    return {name: value for name, value in result.items() if value is not None}


def checked(settings: Mapping[str, Any], where: str) -> ServeConfig:
    """Return typed settings; raises ConfigError that names every field which does not fit, and `where`."""
    try:
        return ServeConfig.model_validate(settings)
    except ValidationError as error:
        raise config_error(
            error, ServeConfig, where, absent={"models": NO_MODEL}, remedy="docs/serving.md has an example"
        ) from error


def most_replicas(settings: Mapping[str, Any]) -> int:
    """Return predictor.max_replicas of unchecked settings; its default where they say nothing usable."""
    predictor = settings.get("predictor")
    most = predictor.get("max_replicas") if isinstance(predictor, Mapping) else None
    return most if isinstance(most, int) and most > 0 else PredictorSettings().max_replicas


def gpu_share(device: str | None, max_replicas: int) -> float | None:
    """Return the GPUs of a replica: all replicas share one; raises ConfigError where there is none."""
    if device is None or device == "cpu":
        return None
    if not device.startswith("cuda") or not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: this machine has no such device. Use --device cpu.")
    return 1 / max_replicas


def require_guarded(config: ServeConfig, host: str) -> None:
    """Raise ConfigError for a server that other machines reach and that asks nobody who they are."""
    if config.access.is_open and not is_loopback(host):
        raise ConfigError(
            f"--host {host} would let everyone who reaches this machine in. Make keys (pertcast key create "
            "--keys keys.json --name YOU --scope predict) and give --keys keys.json, or name a proxy that "
            "logs users in (access.trusted_proxy in --config FILE)."
        )

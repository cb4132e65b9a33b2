"""Configurations from YAML files or shipped names, with ``a.b=c`` and ``@place`` from the command line.

Nothing is ignored silently: an unknown or doubled key is an error that names the nearest known one.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pertcast.training.bundle import find_bundle
from pertcast.training.bundle_manifest import read_manifest
from pertcast_data.config_problems import config_error
from pertcast_data.errors import ConfigError, nearest_known
from pydantic import ValidationError

from pertcast_jobs.run_config.schema import RunConfig
from pertcast_jobs.run_config.sweep import SweepConfig

Config = TypeVar("Config", bound=RunConfig)

_FLOAT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-3 is a number, `no` and `on` are words, a key given twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"{self.name}, line {line}: key {key!r} is given twice; keep one.")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def shipped_configs() -> dict[str, Path]:
    """Return the shipped configurations: name -> file."""
    folder = Path(str(files("pertcast_jobs"))) / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def shipped_places() -> dict[str, Path]:
    """Return the shipped descriptions of where a run trains (``@name``): name -> file."""
    folder = Path(str(files("pertcast_jobs"))) / "configs" / "where"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _parse_yaml(text: str, where: str) -> Any:
    loader = _Loader(text)
    loader.name = where
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {error}") from error
    finally:
        loader.dispose()


def _config_file(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = shipped_configs()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    nearest = nearest_known(str(name_or_path), shipped) or list(shipped)
    raise ConfigError(
        f"{name_or_path} is neither a configuration file nor a shipped configuration. "
        f"Nearest shipped: {', '.join(nearest)}."
    )


def _read_mapping(path: Path) -> dict[str, Any]:
    content = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no keys; a configuration begins with `model:`.")
    return content


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Split ``a.b=c`` into its key ("a", "b") and its value, read as YAML."""
    key, equals, value = text.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not equals or not all(parts):
        raise ConfigError(f"Override {text!r} is not of the form a.b=value, such as train.batch_size=128.")
    return parts, _parse_yaml(value, f"override {text!r}")


def with_value(mapping: Mapping[str, Any], key: Sequence[str], value: Any) -> dict[str, Any]:
    """Return a deep copy of `mapping` in which the nested `key` has `value`."""
    changed = copy.deepcopy(dict(mapping))
    level = changed
    for depth, part in enumerate(key[:-1], start=1):
        inner = level.setdefault(part, {})
        if inner is None:
            inner = level[part] = {}
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{'.'.join(key)}: {'.'.join(key[:depth])} is the value {inner!r}, it has no keys below it."
            )
        level = inner
    level[key[-1]] = value
    return changed


def validate_config(config_type: type[Config], mapping: Mapping[str, Any], where: str) -> Config:
    """Return the configuration that `mapping` describes; raises ConfigError with every problem found."""
    try:
        return config_type.model_validate(dict(mapping))
    except ValidationError as error:
        raise config_error(error, config_type, where) from error


def _place_file(word: str) -> Path:
    """Return the file that ``@word`` names."""
    places = shipped_places()
    if word in places:
        return places[word]
    if Path(word).is_file():
        return Path(word)
    nearest = nearest_known(word, places) or list(places)
    raise ConfigError(
        f"@{word} is neither a file nor a shipped description of where to train. "
        f"Nearest shipped: {', '.join('@' + name for name in nearest)}."
    )


def _merged(mapping: Mapping[str, Any], fragment: Mapping[str, Any]) -> dict[str, Any]:
    """Return `mapping` with the values of `fragment`, key by key at every depth."""
    merged = copy.deepcopy(dict(mapping))
    for key, value in fragment.items():
        inner = merged.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(inner, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _with_overrides(name_or_path: str | Path, overrides: Sequence[str]) -> tuple[dict[str, Any], str]:
    mapping = _read_mapping(_config_file(name_or_path))
    for override in overrides:
        if override.startswith("@"):
            mapping = _merged(mapping, _read_mapping(_place_file(override[1:])))
        else:
            mapping = with_value(mapping, *parse_override(override))
    return _with_trained_model(mapping), str(name_or_path)


def _with_trained_model(mapping: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration that starts from a bundle with the bundle's model beneath its own keys."""
    start = mapping.get("init_from")
    if not isinstance(start, str | Path) or not Path(start).exists():
        return mapping
    trained = read_manifest(find_bundle(start))["model"]
    model = mapping.get("model")
    if not isinstance(model, Mapping) or model.get("name") != trained["name"]:
        return mapping
    return {**mapping, "model": _merged({"config": trained["config"]}, model)}


def is_sweep(name_or_path: str | Path) -> bool:
    """Whether a configuration has a space to search."""
    return "space" in _read_mapping(_config_file(name_or_path))


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Load a run's configuration.

    Parameters
    ----------
    name_or_path
        A YAML file, or the name of a shipped configuration such as ``response_mlp``.
    overrides
        ``a.b=c`` (values are read as YAML) or ``@place``: a shipped description of where to train, or a file
        of keys. Later ones win.

    Raises
    ------
    ConfigError
        For a file that is not there or not YAML, and for every key or value that cannot be used.
    """
    mapping, where = _with_overrides(name_or_path, overrides)
    return validate_config(RunConfig, mapping, where)


def load_sweep(name_or_path: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Load a sweep's configuration; as `load_config`, with `space` and `search`.

    Raises
    ------
    ConfigError
        Also when a key of the space is unknown, or one of its values cannot be used.
    """
    mapping, where = _with_overrides(name_or_path, overrides)
    if "space" not in mapping:
        raise ConfigError(
            f"{where} has no `space:` to search. Add one, for example "
            "`space: {model.config.optimiser.lr: {loguniform: [1.0e-4, 1.0e-2]}}`, or use `pertcast train`."
        )
    sweep = validate_config(SweepConfig, mapping, where)
    base = sweep.run_mapping()
    for key, entry in sweep.space.items():
        for value in entry.corners:
            validate_config(RunConfig, with_value(base, key.split("."), value), f"{where}, space.{key}")
    return sweep


def dump_config(config: RunConfig) -> str:
    """Return a configuration as YAML with every default written out; `load_config` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

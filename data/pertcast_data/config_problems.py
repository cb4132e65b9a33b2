"""Turns what pydantic finds wrong with a configuration into one error that names key, value and remedy.

Runs, sweeps, presets and servers share it, so that a misspelt key is told in one way everywhere.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pertcast_data.errors import ConfigError, nearest_known

_NOTHING_SAID: Final[Mapping[str, str]] = MappingProxyType({})


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the pydantic model that an annotation holds, looking into unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, dict, list, tuple):
        found = (_model_in(part) for part in get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None


def known_keys(schema: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    """Return the keys that a configuration of type `schema` has at a location, none where it is open."""
    current: type[BaseModel] | None = schema
    for part in location:
        if current is None:
            return []
        field = current.model_fields.get(str(part))
        current = _model_in(field.annotation) if field is not None else current
    return list(current.model_fields) if current is not None else []


def dotted(location: Iterable[int | str]) -> str:
    """Return a location as the dotted key of an override."""
    return ".".join(str(part) for part in location)


def unknown_key(key: str, siblings: Iterable[str], where: str) -> str:
    """Say that a key is unknown, naming the nearest known ones, or all of them where none is near."""
    parent, _, name = key.rpartition(".")
    known = list(siblings)
    prefix = f"{parent}." if parent else ""
    nearest = [prefix + item for item in nearest_known(name, known)]
    hint = (
        f"Did you mean {' or '.join(nearest)}?"
        if nearest
        else f"Known: {', '.join(known) or 'no keys here'}."
    )
    return f"{where}: unknown key {key}. {hint}"


def _has_problem_below(location: tuple[int | str, ...], problems: Iterable[Mapping[str, Any]]) -> bool:
    depth = len(location)
    return any(len(each["loc"]) > depth and each["loc"][:depth] == location for each in problems)


def config_error(
    error: ValidationError,
    schema: type[BaseModel],
    where: str,
    prefix: tuple[str, ...] = (),
    *,
    absent: Mapping[str, str] = _NOTHING_SAID,
    remedy: str = "add it to the file or as {key}=VALUE",
) -> ConfigError:
    """Return one ConfigError for everything that a validation found, unknown keys first.

    What else is wrong may only follow from a misspelt key: what it was to name is then missing.

    Parameters
    ----------
    error
        What pydantic raised.
    schema
        The type that was validated.
    where
        Where the configuration came from: a file or a shipped name.
    prefix
        Location of this part in the whole configuration.
    absent
        Key -> what to say where it is missing or empty.
    remedy
        What to do about any other key that is missing.
    """
    lines = []
    problems = error.errors(include_url=False)
    for problem in sorted(problems, key=lambda each: each["type"] != "extra_forbidden"):
        location = problem["loc"]
        if problem["type"] == "too_short" and _has_problem_below(location, problems):
            continue  # Too few only because the bad ones were left out.
        key = dotted((*prefix, *location))
        if problem["type"] == "extra_forbidden":
            lines.append(unknown_key(key, known_keys(schema, location[:-1]), where))
        elif problem["type"] in ("missing", "too_short") and key in absent:
            lines.append(f"{where}: {absent[key]}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: {key} is missing; {remedy.format(key=key)}.")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            got = "" if isinstance(problem["input"], Mapping | BaseModel) else f" (got {problem['input']!r})"
            lines.append(f"{where}: {key + ': ' if key else ''}{message}{got}")
    return ConfigError("\n".join(lines))

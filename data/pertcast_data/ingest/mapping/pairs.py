"""A mapping from the command line: `--set pert_col=condition --set pert_time.value=96`, over a mapping file.

Keys are dotted and may be words of other tools; values are YAML. A pair wins over the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from pertcast_data.errors import ConfigError
from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.mapping.keys import canonical_keys, canonical_path
from pertcast_data.ingest.mapping.loading import explain_detail, sentence
from pertcast_data.words import USER_WORDS

_OPTION = "--set"


@dataclass(frozen=True, slots=True)
class _Pair:
    text: str
    path: tuple[str, ...]
    value: Any

    @property
    def place(self) -> tuple[str, ...]:
        """Where the value is written: words that only rename a key meet under the canonical one."""
        kind = USER_WORDS.get(self.path[0], ("", "rule"))[1]
        return self.canonical if kind == "rule" else self.path

    @property
    def canonical(self) -> tuple[str, ...]:
        """The path with a user's word replaced by what it stands for."""
        return (*canonical_path(self.path[0]).split("."), *self.path[1:])


def mapping_from_pairs(pairs: Sequence[str], base: IngestMapping) -> IngestMapping:
    """Return a mapping with some of its keys set.

    Parameters
    ----------
    pairs
        "key=value" texts: keys as in the mapping file or in the words of other tools, dotted for a part of a
        rule ("pert_time.value"); values in YAML. A path to a table is taken as it is, not beside a file.
    base
        What holds where no pair says otherwise (a mapping file's, or `IngestMapping()`).

    Raises
    ------
    ConfigError
        A pair is no "key=value", its value is no YAML, its key is unknown, two pairs contradict each other,
        or what they say makes no sense; the message names the pair.
    """
    parsed = [_parsed(pair) for pair in pairs]
    said: dict[str, Any] = {}
    for pair in parsed:
        _set(said, pair)
    try:
        changes = canonical_keys(said)
    except ValueError as error:
        raise ConfigError(f"{_OPTION}: {error}.") from None
    merged = _merged(base.model_dump(exclude_unset=True), changes)
    try:
        return IngestMapping.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explained(error, parsed)) from None


def _parsed(pair: str) -> _Pair:
    key, equals, text = pair.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise ConfigError(
            f"{_OPTION} {pair!r}: is no key=value pair. Write e.g. {_OPTION} pert_col=condition."
        )
    try:
        return _Pair(pair, path, yaml.safe_load(text))
    except (yaml.YAMLError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise ConfigError(f"{_OPTION} {pair!r}: the value is no YAML ({said}). Quote it.") from None


def _set(said: dict[str, Any], pair: _Pair) -> None:
    """Write a pair's value under its path; raises ConfigError where another pair says something else."""
    place = said
    for part in pair.place[:-1]:
        inner = place.setdefault(part, {})
        if isinstance(inner, str):
            # `pert_col=condition` and `pert_col.separator=_` are parts of one rule.
            inner = place[part] = {"column": inner}
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{_OPTION} {pair.text!r}: {part} is set to {inner!r} by another pair. Keep one."
            )
        place = inner
    last = pair.place[-1]
    before = place.get(last)
    if isinstance(before, dict) and isinstance(pair.value, str) and "column" not in before:
        before["column"] = pair.value
        return
    if last in place and before != pair.value:
        raise ConfigError(
            f"{_OPTION} {pair.text!r}: another pair sets {'.'.join(pair.path)} to {before!r}. Keep one."
        )
    place[last] = pair.value


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` over it, part by part; a constant and a column replace each other."""
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        if not isinstance(before, Mapping) or not isinstance(value, Mapping):
            merged[key] = value
        elif "value" in value:
            merged[key] = dict(value)
        else:
            kept = {name: item for name, item in before.items() if name != "value" or "column" not in value}
            merged[key] = _merged(kept, value)
    return merged


def _explained(error: ValidationError, pairs: Sequence[_Pair]) -> str:
    told = []
    for detail in error.errors():
        where = tuple(str(part) for part in detail["loc"])
        guilty = [pair.text for pair in pairs if _concerns(pair, where)]
        by = f"{_OPTION} {' and '.join(map(repr, guilty))}: " if guilty else ""
        told.append(by + explain_detail(detail))
    return sentence(told)


def _concerns(pair: _Pair, where: tuple[str, ...]) -> bool:
    """Whether a pair speaks of a place in the mapping: one path begins as the other."""
    path = pair.canonical
    return bool(where) and all(own == other for own, other in zip(path, where, strict=False))

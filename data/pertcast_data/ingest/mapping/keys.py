"""Keys that other tools use become the mapping file's own: `pert_col: condition` is `cmap_name: condition`.

The words stand in `pertcast_data.words.USER_WORDS`; two words for one thing must say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from pertcast_data.words import USER_WORDS, UserWordKind

_MOST_SHOWN: Final = 200
_TRUE_WORDS: Final = ("1", "true", "yes")
"""Values of a column that marks controls."""


def canonical_keys(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a mapping file says under its own keys.

    Parameters
    ----------
    content
        Keys as the user writes them; unknown ones stay as they are.

    Returns
    -------
    dict
        The same under keys of `IngestMapping`.

    Raises
    ------
    ValueError
        Two keys are words for one thing and say different things, or the value of a word makes no sense.
    """
    canonical = {key: value for key, value in content.items() if key not in USER_WORDS}
    said_by = {key: key for key in canonical}
    for word, value in content.items():
        if word not in USER_WORDS:
            continue
        path, kind = USER_WORDS[word]
        if (meant := _meant(word, value, kind)) is not None:
            _put(canonical, path, meant, word, said_by)
    return canonical


def canonical_path(word: str) -> str:
    """Return the dotted key that a user's word stands for; a key of the mapping file stays."""
    return USER_WORDS[word][0] if word in USER_WORDS else word


def _meant(word: str, value: Any, kind: UserWordKind) -> Any:
    """Return the value that the canonical key gets; None where the word says nothing."""
    if kind == "control_names":
        return {"column": None, "values": list(value) if isinstance(value, list | tuple) else [value]}
    if kind == "control_flag":
        return _flag(word, value)
    if kind == "layer":
        return None if value is None else _layer(word, value)
    if kind == "use_raw":
        return _raw(word, value)
    return value


def _flag(word: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, str):
        raise ValueError(f"{word}: wants the name of a column that marks controls, got {value!r}")
    return {"column": value, "values": list(_TRUE_WORDS)}


def _layer(word: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{word}: wants the name of a layer, got {value!r}")
    return value if value in ("X", "raw") or value.startswith("layers/") else f"layers/{value}"


def _raw(word: str, value: Any) -> str | None:
    if not isinstance(value, bool):
        raise ValueError(f"{word}: is true or false, got {value!r}")
    return "raw" if value else None


def _put(content: dict[str, Any], path: str, value: Any, word: str, said_by: dict[str, str]) -> None:
    """Write a value under a dotted path; raises ValueError where it stands there already and differs."""
    parent, _, last = path.rpartition(".")
    place = content
    if parent:
        inner = content.get(parent) or {}
        place = content[parent] = (
            inner.model_dump(exclude_unset=True) if isinstance(inner, BaseModel) else dict(inner)
        )
    before = place.get(last)
    if before is not None and _comparable(before) != _comparable(value):
        other = said_by.get(path, path)
        raise ValueError(
            f"{other} and {word} are two words for {path} and say different things ({_shown(before)} and "
            f"{_shown(value)}); keep one"
        )
    said_by.setdefault(path, word)
    place[last] = value


def _comparable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, str):
        return {"column": value}
    if isinstance(value, Mapping):
        return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
    return value


def _shown(value: Any) -> str:
    text = str(value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."

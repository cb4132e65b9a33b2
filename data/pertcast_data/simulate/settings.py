"""Atlases asked for in words: a named size, changed by `key=value` settings.

What cannot be understood is refused with the nearest known words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import yaml
from pydantic import ValidationError

from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.simulate.config import AtlasConfig

SIZES: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "small": MappingProxyType(
            {
                "n_genes": 100,
                "n_contexts": 2,
                "n_compounds": 16,
                "n_unprofiled": 20,
                "n_plates": 3,
                "n_knockouts": 16,
                "n_pairs": 6,
                "n_cells": 1200,
                "n_signature_genes": 70,
            }
        ),
        "usual": MappingProxyType({}),
        "genome": MappingProxyType(
            {
                "n_genes": 26_945,
                "n_contexts": 2,
                "n_compounds": 24,
                "n_unprofiled": 40,
                "n_plates": 3,
                "n_knockouts": 60,
                "n_pairs": 20,
                "n_cells": 4000,
                "n_signature_genes": 1500,
            }
        ),
    }
)
"""Name -> what differs from the defaults: seconds for a test, the demo, every gene of the genome."""


def atlas_config(
    size: str = "usual", settings: Sequence[str] = (), given: Mapping[str, Any] = MappingProxyType({})
) -> AtlasConfig:
    """Return the configuration of a named size, changed by what is given and then by `key=value` settings.

    Parameters
    ----------
    size
        A name of `SIZES`.
    settings
        Texts such as "n_pairs=20" or "doses=[1, 10]"; values are read as YAML.
    given
        Values by the names of AtlasConfig's fields.

    Raises
    ------
    ConfigError
        For an unknown size or setting, naming the known ones, and for values that do not fit.
    """
    if size not in SIZES:
        raise ConfigError(f"Unknown size {size!r}; known: {', '.join(SIZES)}. Or give each number by itself.")
    try:
        return AtlasConfig.model_validate({**SIZES[size], **given, **dict(map(_setting, settings))})
    except ValidationError as error:
        raise ConfigError(" ".join(_explained(detail) for detail in error.errors())) from None


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"Setting {text!r} is not of the form key=value, such as n_pairs=20.")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"Setting {text!r}: {value!r} is no value. Write lists as doses=[1,10].") from None


def _explained(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] != "extra_forbidden":
        return f"Atlas setting {name}: {detail['msg']}, got {detail['input']!r}."
    known = nearest_known(name, AtlasConfig.model_fields) or list(AtlasConfig.model_fields)
    return f"Unknown atlas setting {name!r}. Did you mean {' or '.join(known)}?"

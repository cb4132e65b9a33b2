"""Reading a mapping file: a wrong key is an error that names the nearest known one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.mapping.keys import canonical_path
from pertcast_data.ingest.mapping.rules import ColumnRule, ControlRule, GeneRule, TableRule
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.quality.rule import QualityRule
from pertcast_data.words import USER_WORDS


def load_mapping(path: Path) -> IngestMapping:
    """Read a mapping file.

    Raises
    ------
    ConfigError
        The file is absent, no YAML, or says something unknown.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such mapping file. Check the path.") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read as a mapping file ({error.strerror}). Name a file of YAML."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: is no YAML ({error}). Correct the file.") from error
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deep for a mapping. Correct the file.") from None
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold `column: rule` lines. See docs/ingest.md.")
    try:
        return IngestMapping.model_validate(content or {}).beside(path.parent)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    return sentence([explain_detail(detail) for detail in error.errors()])


def sentence(told: Sequence[str]) -> str:
    """Return findings as one sentence that says where mappings are explained."""
    text = "; ".join(told)
    return f"{text}{'' if text.endswith('?') else '.'} See docs/ingest.md."


def explain_detail(detail: Any) -> str:
    """Return what pydantic found in a mapping as a sentence, with the keys nearest to an unknown one."""
    where = [str(part) for part in detail["loc"] if not isinstance(part, int)]
    if detail["type"] != "extra_forbidden":
        said = str(detail["msg"]).removeprefix("Value error, ")
        return f"{'.'.join(where)}: {said}" if where else said
    known = _known_keys(where[:-1])
    words = [*known, *USER_WORDS] if len(where) == 1 else known
    nearest = dict.fromkeys(_with_meaning(word) for word in nearest_known(where[-1], words))
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else f"; known: {', '.join(known)}"
    return f"unknown key {'.'.join(where)}{hint}"


def _with_meaning(word: str) -> str:
    return f"{word} ({canonical_path(word)})" if word in USER_WORDS else word


def _known_keys(parents: Iterable[str]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "controls": ControlRule,
        "genes": GeneRule,
        "table": TableRule,
        "tables": TableRule,
        "preprocessing": PreprocessingStep,
        "quality": QualityRule,
    }
    parent = next(reversed([*parents]), None)
    model: type[BaseModel] = IngestMapping if parent is None else models.get(parent, ColumnRule)
    return list(model.model_fields)

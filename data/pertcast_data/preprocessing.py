"""What was done to the values before they came here, and on which rows it was fitted.

A user says it in the mapping file of an ingest, or in `STORE.preprocessing.yaml` (or .json) beside a store.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pertcast_data.errors import ConfigError

StepRole = Literal["gene_selection", "scaler", "features"]
SIDE_FILE_ENDINGS: Final = (".preprocessing.yaml", ".preprocessing.json")

_ROLES: Final[tuple[tuple[StepRole, re.Pattern[str]], ...]] = (
    ("gene_selection", re.compile(r"hvg|variable|gene[ _-]?(selection|filter)|select", re.IGNORECASE)),
    ("scaler", re.compile(r"scal|z[ _-]?score|standard|quantile|centr?e", re.IGNORECASE)),
)


class PreprocessingStep(BaseModel):
    """One step before the ingest.

    Attributes
    ----------
    step
        What it was: hvg, scale, pca, batch_correction...
    fitted_on
        The rows whose values decided it: "all", "train" (of `split`), "controls", or "nothing" (a step that
        looks at one profile at a time, such as a logarithm).
    split, fold
        Hash and fold of the split whose training rows it was fitted on, for "train".
    note
        For people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    fitted_on: Literal["all", "train", "controls", "nothing"]
    split: str | None = None
    fold: int | None = None
    note: str = ""

    @property
    def role(self) -> StepRole:
        """What kind of step it is: it decides genes, scales values, or makes features."""
        return next((role for role, pattern in _ROLES if pattern.search(self.step)), "features")


class _SideFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    preprocessing: tuple[PreprocessingStep, ...]


def side_preprocessing(store: Path) -> tuple[PreprocessingStep, ...]:
    """Return the steps declared in a file beside a store, () where there is none.

    Raises
    ------
    ConfigError
        The file says something that is not understood.
    """
    for ending in SIDE_FILE_ENDINGS:
        path = store.with_name(store.name + ending)
        if path.is_file():
            return _read(path)
    return ()


def _read(path: Path) -> tuple[PreprocessingStep, ...]:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _SideFile.model_validate(content).preprocessing
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        raise ConfigError(
            f"{path}: {error}. Write `preprocessing: [{{step: hvg, fitted_on: all}}]`, see docs/splits.md."
        ) from error

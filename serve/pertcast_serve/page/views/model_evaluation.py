"""What `pertcast evaluate` left beside a served bundle: its scores next to those of every baseline.

Read from the run's trust.json; an evaluation of another bundle is told from one of this.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from pertcast.errors import PertcastError
from pertcast.evaluation.trust.json_text import SCHEMA_VERSION
from pertcast.training.bundle import find_bundle
from pydantic import BaseModel, ConfigDict, ValidationError

from pertcast_serve.prediction.described import VERSION_LETTERS

FILE: Final = Path("evaluation") / "trust.json"
_MOST_BYTES: Final = 256 << 20
Role = Literal["model", "baseline", "control", "ceiling"]


class _Part(BaseModel):
    """A part of the file; fields that are not shown are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Estimate(_Part):
    """A mean with its 95 % interval; null where it is not defined."""

    mean: float | None
    low: float | None
    high: float | None


class Contender(_Part):
    """The model, a baseline, a control or a ceiling, with its scores."""

    name: str
    title: str
    role: Role
    metrics: dict[str, Estimate]


class Stratum(_Part):
    """A kind of held-out condition, and the model's gain over the strongest baseline there."""

    name: str
    n_conditions: int
    gain: Estimate


class Verdict(_Part):
    """The answer in words."""

    outcome: str
    text: str
    against: str | None = None


class Metric(_Part):
    """What a metric is called and which way is better."""

    title: str
    direction: str


class Facts(_Part):
    """Where the numbers come from."""

    bundle: str
    split_kind: str
    folds: tuple[int, ...]
    n_training_conditions: int
    n_held_out_rows: int
    title: str


class Evaluation(_Part):
    """What the page shows of a trust report."""

    facts: Facts
    verdict: Verdict
    primary_metric: str
    table: tuple[Contender, ...]
    strata: tuple[Stratum, ...]
    notes: tuple[str, ...]
    not_shown: tuple[str, ...]
    metrics: dict[str, Metric]

    @property
    def strongest(self) -> str:
        """Title of the strongest baseline, or ""."""
        return next((each.title for each in self.table if each.name == self.verdict.against), "")


@dataclass(frozen=True)
class Beside:
    """What lies beside a bundle.

    Attributes
    ----------
    evaluation
        That of this bundle, or None.
    said
        Why there is none, in words; empty where there is one.
    run
        Name of the run's folder, for commands.
    """

    evaluation: Evaluation | None
    said: str
    run: str


def evaluation_beside(folder: Path, version: str) -> Beside:
    """Return the evaluation beside a bundle or in its run.

    Parameters
    ----------
    folder
        As the server's configuration names it: a run or a bundle.
    version
        First letters of the hash of the bundle that is served.
    """
    try:
        bundle = find_bundle(folder)
    except (PertcastError, OSError):
        return Beside(None, "The folder of this model is not at hand here.", folder.name)
    places = dict.fromkeys([folder / FILE, bundle.parent / FILE, bundle.resolve().parent / FILE])
    place = next((place for place in places if place.is_file()), None)
    run = folder.name if bundle == folder / "bundle" else bundle.parent.name
    if place is None:
        return Beside(None, "This model was not evaluated on held-out conditions.", run)
    try:
        status = place.stat()
        found = _read(place, status.st_mtime_ns, status.st_size)
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return Beside(None, "The evaluation beside this model cannot be read; evaluate it again.", run)
    if found.facts.bundle[:VERSION_LETTERS] != version[:VERSION_LETTERS]:
        said = f"The evaluation beside this model is one of another bundle ({found.facts.bundle[:7]})."
        return Beside(None, said, run)
    return Beside(found, "", run)


@lru_cache(maxsize=8)
def _read(place: Path, modified_ns: int, n_bytes: int) -> Evaluation:
    """Read the file as it was then; ValueError, ValidationError where it is none of these."""
    if n_bytes > _MOST_BYTES:
        raise ValueError("too large")
    content: Any = json.loads(place.read_bytes())
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise ValueError("another schema")
    try:
        return Evaluation.model_validate(content)
    except ValidationError as error:
        raise ValueError(str(error)) from error

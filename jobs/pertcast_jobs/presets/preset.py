"""What a preset says, as frozen pydantic models; each is one YAML file of this folder, and no code."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import yaml
from pertcast.evaluation.metrics import METRICS
from pertcast.evaluation.trust.members import stratum_name
from pertcast_data.config_problems import config_error
from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.ingest import IngestMapping, TableRule
from pertcast_data.splits import SPLIT_KINDS, TestAmong
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PresetFile(_Frozen):
    """A file that a user brings.

    Attributes
    ----------
    name
        Its name, or a pattern with ``*`` for what differs between releases.
    what
        What it holds, in a few words.
    profiles
        Whether it holds profiles; the others are tables.
    several
        Whether several files may have the pattern (plates); they are taken in order of their names.
    """

    name: str
    what: str
    profiles: bool = False
    several: bool = False


class PresetSplit(_Frozen):
    """What is held out: the options of ``pertcast data split`` of the same names.

    With `test_share` or `test_groups` each fold is a draw of its own.
    """

    kind: str
    folds: int = Field(4, ge=2)
    seed: int = 0
    test_share: float | None = Field(None, gt=0, lt=1)
    test_groups: int | None = Field(None, ge=1)
    test_among: TestAmong | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether each fold is a draw of its own."""
        return self.dealt != f"{self.folds} folds"

    @property
    def dealt(self) -> str:
        """How folds are made, in words."""
        if self.test_groups is not None:
            return f"{self.folds} draws of {self.test_groups} groups"
        share = SPLIT_KINDS[self.kind].drawn_share if self.test_share is None else self.test_share
        return f"{self.folds} folds" if share is None else f"{self.folds} draws of {100 * share:g} %"

    @property
    def words(self) -> tuple[str, ...]:
        """The options of ``pertcast data split``."""
        told = self.model_dump(exclude_none=True)
        options = ((f"--{key.replace('_', '-')}", f"{value}") for key, value in told.items())
        return tuple(word for option in options for word in option)

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in SPLIT_KINDS:
            raise ValueError(f"unknown kind of split; known: {', '.join(SPLIT_KINDS)}")
        return kind


class Published(_Frozen):
    """Numbers that somebody published.

    Attributes
    ----------
    who
        Model and source.
    split
        Kind of the preset's split that they belong to.
    stratum
        Where they are of a part of the test conditions only: its name in the trust report ("single, unseen").
    values
        Metric -> value.
    spread
        Metric -> what stands behind the plus-minus sign, where it was published.
    note
        How far they can be compared with what is measured here.
    """

    who: str
    split: str
    stratum: str = ""
    values: dict[str, float]
    spread: dict[str, float] = {}
    note: str = ""

    @field_validator("stratum")
    @classmethod
    def _is_stratum(cls, stratum: str) -> str:
        known = [stratum_name(members, unseen) for members in (1, 2) for unseen in range(members + 1)]
        if stratum and stratum not in known:
            raise ValueError(f"unknown stratum; known: {'; '.join(known)}")
        return stratum


class PresetNetwork(BaseModel):
    """A gene network that a user may bring.

    Attributes
    ----------
    name
        Name of the file, or a pattern with ``*`` for what differs between releases.
    what
        What it holds and where it comes from, in a few words.
    names
        Name or pattern of the table that turns its ids into symbols; empty where it holds symbols.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    what: str
    names: str = ""


class Preset(_Frozen):
    """A named data set.

    Attributes
    ----------
    name
        The YAML file's name.
    title, about
        What it is.
    where
        Under which title or accession its files are found, never an address: nothing is ever fetched.
    terms
        Licence or terms of use of the data, as far as known.
    files
        What the user's folder must hold.
    networks
        Gene networks that it may hold beside them; where there are any, one at least is needed.
    ingest
        The mapping of docs/ingest.md; tables are named as in `files`.
    splits
        Each is trained and evaluated on its own.
    config
        The shipped configuration that is trained.
    overrides
        a.b -> value, on that configuration.
    hints
        What to add or to know at the full size, in words.
    metrics
        Columns of the table at the end.
    published
        Its upper rows.
    unverified
        What could not be checked against the files themselves when the preset was written.
    """

    name: str
    title: str
    about: str
    where: str
    terms: str
    files: tuple[PresetFile, ...]
    networks: tuple[PresetNetwork, ...] = ()
    ingest: dict[str, Any]
    splits: tuple[PresetSplit, ...] = Field(min_length=1)
    config: str
    overrides: dict[str, Any] = {}
    hints: tuple[str, ...] = ()
    metrics: tuple[str, ...] = Field(min_length=1)
    published: tuple[Published, ...] = ()
    unverified: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not any(file.profiles for file in self.files):
            raise ValueError("no file holds profiles")
        if len({network.names for network in self.networks if network.names}) > 1:
            raise ValueError("networks need several tables of names; a training takes one")
        kinds = {split.kind for split in self.splits}
        if len(kinds) < len(self.splits):
            raise ValueError("a kind of split is given twice")
        named = {*self.metrics, *(metric for one in self.published for metric in one.values)}
        for metric in sorted(named - METRICS.keys()):
            raise ValueError(f"unknown metric {metric}; nearest: {', '.join(nearest_known(metric, METRICS))}")
        for one in self.published:
            if one.split not in kinds:
                raise ValueError(f"published numbers of {one.who} belong to no split of the preset")
        mapping, known = self.mapping({}, self.ingest), {file.name for file in self.files}
        for rule in (*mapping.tables, *((mapping.genes.table,) if mapping.genes.table else ())):
            for path in rule.file:
                if str(path) not in known:
                    raise ValueError(f"ingest: the table {path} is none of the preset's files")
        return self

    def mapping(self, found: Mapping[str, tuple[Path, ...]], ingest: Mapping[str, Any]) -> IngestMapping:
        """Return the mapping of the ingest with its tables at their real places.

        Parameters
        ----------
        found
            Name of a file (as in `files`) -> where it is.
        ingest
            The preset's own `ingest`, possibly with overrides.

        Raises
        ------
        ConfigError
            A key or value cannot be used.
        """
        try:
            mapping = IngestMapping.model_validate(dict(ingest))
        except ValidationError as error:
            raise config_error(error, IngestMapping, f"preset {self.name}", ("ingest",)) from error
        genes = mapping.genes
        if genes.table is not None:
            genes = genes.model_copy(update={"table": _placed(genes.table, found)})
        tables = tuple(_placed(rule, found) for rule in mapping.tables)
        return mapping.model_copy(update={"tables": tables, "genes": genes})


def _placed(rule: TableRule, found: Mapping[str, tuple[Path, ...]]) -> TableRule:
    """Return the rule with the files that its names mean; a name that is no preset's file stays."""
    files = tuple(place for path in rule.file for place in found.get(str(path), (path,)))
    return rule.model_copy(update={"file": files})


def shipped_presets() -> dict[str, Path]:
    """Return the shipped presets: name -> file."""
    folder = Path(str(files("pertcast_jobs"))) / "presets"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_preset(name: str) -> Preset:
    """Load a shipped preset.

    Raises
    ------
    ConfigError
        There is no such preset, or its file is wrong.
    """
    shipped = shipped_presets()
    if name not in shipped:
        nearest = nearest_known(name, shipped) or list(shipped)
        raise ConfigError(
            f"There is no preset {name!r}. Nearest: {', '.join(nearest)}; see `pertcast preset list`."
        )
    content = yaml.safe_load(shipped[name].read_text(encoding="utf-8"))
    try:
        return Preset.model_validate({"name": name, **content})
    except ValidationError as error:
        raise config_error(error, Preset, f"preset {name}") from error

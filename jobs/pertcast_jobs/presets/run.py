"""A preset on a user's files: the command lines from ingest to trust report, and what they were made from.

Everything that decides a result is written to OUT (mapping.yaml, preset.yaml), so that each line can be run
again by hand, and so that another run is not mixed into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pertcast_data.errors import ConfigError
from pertcast_data.ingest import IngestMapping

from pertcast_jobs.presets.finding import find_files
from pertcast_jobs.presets.networks import FoundNetworks, find_networks
from pertcast_jobs.presets.preset import Preset, PresetSplit
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_config.load import parse_override, with_value
from pertcast_jobs.run_folder import write_text
from pertcast_jobs.steps import Step
from pertcast_jobs.train.many_record import Member

_INGEST = "ingest"
_MAY_DIFFER = "cluster."


@dataclass(frozen=True)
class PresetRun:
    """A preset, a user's files and where the results go.

    Attributes
    ----------
    preset
        What is done.
    data, out
        The user's folder, and the folder of all results.
    words
        Overrides a.b=c: those that begin with ``ingest.`` change the mapping, the others the training.
    config
        A configuration to train in the place of the preset's own.
    """

    preset: Preset
    data: Path
    out: Path
    words: tuple[str, ...] = ()
    config: str | None = None

    @cached_property
    def files(self) -> dict[str, tuple[Path, ...]]:
        """Where the preset's files are; raises ConfigError where one is missing."""
        return find_files(self.preset, self.data)

    @cached_property
    def networks(self) -> FoundNetworks:
        """The gene networks beside the files; raises ConfigError where the preset needs one and has none."""
        return find_networks(self.preset, self.data, self._of_training)

    @property
    def trained(self) -> str:
        """The configuration that is trained."""
        return self.config or self.preset.config

    @property
    def overrides(self) -> list[str]:
        """Overrides of the training, the user's last."""
        own = (
            [] if self.config else [f"{key}={_plain(value)}" for key, value in self.preset.overrides.items()]
        )
        return [*own, *self.networks.overrides, *self._of_training]

    @property
    def _of_training(self) -> list[str]:
        return [word for word in self.words if not _is_of_ingest(word)]

    @cached_property
    def run_config(self) -> RunConfig:
        """The resolved training, without its data; raises ConfigError for a wrong key or value."""
        return load_config(self.trained, self.overrides)

    @cached_property
    def mapping(self) -> IngestMapping:
        """How the files become a store; raises ConfigError for a wrong key or value."""
        ingest: dict[str, Any] = dict(self.preset.ingest)
        for word in filter(_is_of_ingest, self.words):
            key, value = parse_override(word)
            ingest = with_value(ingest, key[1:], value)
        return self.preset.mapping(self.files, ingest).beside(self.data.absolute())

    @property
    def mapping_path(self) -> Path:
        """The mapping file that is written for `pertcast data ingest`."""
        return self.out / "mapping.yaml"

    @property
    def store(self) -> Path:
        """The expression store."""
        return self.out / "store"

    def report(self, split: PresetSplit) -> Path:
        """Return the folder of a split's trust report over all folds."""
        return self.out / split.kind / "report"

    def steps(self) -> Iterator[Step]:
        """Yield the command lines in order."""
        sources = [f"{path}" for file in self.preset.files if file.profiles for path in self.files[file.name]]
        ingest = ("data", "ingest", *sources, "--map", f"{self.mapping_path}", "--out", f"{self.store}")
        yield Step(ingest, self.store)
        for split in self.preset.splits:
            yield from self._of_split(split)

    def _of_split(self, split: PresetSplit) -> Iterator[Step]:
        folder = self.out / split.kind
        manifest, runs, report = folder / "split.json", folder / "runs", self.report(split)
        yield Step(("data", "split", f"{self.store}", *split.words, "--out", f"{manifest}"), manifest)
        rows = (f"data.store={self.store}", f"data.split={manifest}")
        seed = self.run_config.train.seed
        trained = [runs / Member.of(fold, seed).name / "bundle" for fold in range(split.folds)]
        many = ("--folds", "all", "--out", f"{runs}", "--resume")
        yield Step(("train", self.trained, *rows, *self.overrides, *many), runs, tuple(trained))
        yield Step(("evaluate", f"{runs}", "--out", f"{report}"), report / "trust.html")

    def prepare(self) -> None:
        """Write mapping.yaml and preset.yaml to OUT.

        Raises
        ------
        ConfigError
            OUT holds results of other settings, or is no folder of a preset.
        """
        record = self.out / "preset.yaml"
        before = yaml.safe_load(record.read_text(encoding="utf-8")) if record.is_file() else None
        if before is None and self.out.exists() and any(self.out.iterdir()):
            raise ConfigError(f"{self.out} exists and is not empty. Choose another folder for --out.")
        self._require_same(before)
        for split in self.preset.splits:
            (self.out / split.kind).mkdir(parents=True, exist_ok=True)
        chosen = self.mapping.model_dump(mode="json", exclude_unset=True)
        write_text(self.mapping_path, yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True))
        write_text(record, yaml.safe_dump(self._decided, sort_keys=False, allow_unicode=True))

    @property
    def _decided(self) -> dict[str, Any]:
        """What decides the results, in plain words."""
        ingest = [word for word in self.words if _is_of_ingest(word)]
        placed = self.networks.overrides
        train = [word for word in self.overrides if not word.startswith(_MAY_DIFFER) and word not in placed]
        networks = [path.name for path in self.networks.all_files]
        return {
            "preset": self.preset.name,
            "splits": [split.model_dump(exclude_none=True) for split in self.preset.splits],
            "ingest": ingest,
            "config": self.trained,
            "train": train,
            **({"networks": networks} if networks else {}),
        }

    def _require_same(self, before: dict[str, Any] | None) -> None:
        if before is None:
            return
        decided = self._decided
        differing = [
            f"{key} ({before.get(key)} before, {decided.get(key)} now)"
            for key in dict.fromkeys((*decided, *before))
            if before.get(key) != decided.get(key)
        ]
        if differing:
            raise ConfigError(
                f"{self.out} holds results of other settings: {'; '.join(differing)}. Repeat them, or choose "
                "another folder for --out."
            )


def _is_of_ingest(word: str) -> bool:
    return word.startswith(f"{_INGEST}.")


def _plain(value: Any) -> str:
    """Return a value as an override writes it."""
    return value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]

"""Gene networks beside a preset's files: each may be missing, one at least is needed, all found are used.

A network in ids of its own comes with a table of names; the two are taken together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError

from pertcast_jobs.presets.preset import Preset
from pertcast_jobs.run_config.load import parse_override

NETWORK_KEY: Final = "encoder.gene_network"
NAMES_KEY: Final = "encoder.gene_names"


@dataclass(frozen=True, slots=True)
class FoundNetworks:
    """The networks in a user's folder.

    Attributes
    ----------
    files
        Their files, in the order of the preset.
    names
        The table of names that they need, or None.
    """

    files: tuple[Path, ...] = ()
    names: Path | None = None

    @property
    def all_files(self) -> tuple[Path, ...]:
        """Every file that is used."""
        return self.files if self.names is None else (*self.files, self.names)

    @property
    def overrides(self) -> list[str]:
        """What sets them in the training; empty without networks."""
        if not self.files:
            return []
        network = f"{NETWORK_KEY}=[{', '.join(_quoted(path) for path in self.files)}]"
        return [network] if self.names is None else [network, f"{NAMES_KEY}={_quoted(self.names)}"]


def find_networks(preset: Preset, folder: Path, words: Sequence[str]) -> FoundNetworks:
    """Return the networks of a preset that a folder holds.

    Parameters
    ----------
    preset, folder
        What is looked for, and where.
    words
        The user's overrides: one that sets encoder.gene_network takes the place of all that is found.

    Raises
    ------
    ConfigError
        There is none of them, a network lacks its table of names, or a pattern fits several files.
    """
    if not preset.networks or _sets_networks(words):
        return FoundNetworks()
    found = [(network, path) for network in preset.networks if (path := _one(folder, network.name))]
    if not found:
        raise ConfigError(_told(preset, folder))
    names = None
    for network, path in found:
        if not network.names:
            continue
        names = _one(folder, network.names)
        if names is None:
            raise ConfigError(
                f"{folder}: {path.name} names genes by ids, and {network.names}, which says what they stand "
                f"for, is not there. Put it beside it, or take {path.name} away."
            )
    return FoundNetworks(tuple(path for _, path in found), names)


def _sets_networks(words: Sequence[str]) -> bool:
    key = tuple(NETWORK_KEY.split("."))
    return any(tuple(parse_override(word)[0]) == key for word in words)


def _one(folder: Path, pattern: str) -> Path | None:
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise ConfigError(f"{folder}: {pattern} must be one file, found {names}. Leave one of them.")
    return paths[0].absolute() if paths else None


def _told(preset: Preset, folder: Path) -> str:
    lines = [f"{folder} holds none of the gene networks of the preset {preset.name}; at least one is needed:"]
    for network in preset.networks:
        beside = f", together with {network.names}" if network.names else ""
        lines.append(f"  {network.name}  ({network.what}{beside})")
    lines.append(
        f"Nothing is downloaded by Pertcast: put them into {folder}, or name your own: {NETWORK_KEY}=[FILE]."
    )
    return "\n".join(lines)


def _quoted(path: Path) -> str:
    """Write a path so that YAML reads it as one text whatever it holds."""
    return "'" + str(path).replace("'", "''") + "'"

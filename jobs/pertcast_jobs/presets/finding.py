"""Finds a preset's files in a user's folder, and says which are missing and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pertcast_data.errors import ConfigError

from pertcast_jobs.presets.preset import Preset, PresetFile

_PACKED = (".gz", ".zip", ".bz2", ".xz")


def find_files(preset: Preset, folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return where each file of a preset is: name (as in the preset) -> paths.

    Raises
    ------
    ConfigError
        The folder does not exist; files are missing (all of them are named, with what they hold and where
        they come from) or only there packed; a pattern that means one file fits several.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"--data {folder} is no folder. Name the folder that holds the files of {preset.name}."
        )
    found = {file.name: _matches(file, folder) for file in preset.files}
    missing = [file for file in preset.files if not found[file.name]]
    if missing:
        raise ConfigError(_told(preset, folder, missing))
    for file in preset.files:
        if len(found[file.name]) > 1 and not file.several:
            names = ", ".join(path.name for path in found[file.name])
            raise ConfigError(f"{folder}: {file.name} must be one file, found {names}. Leave one of them.")
    return found


def _matches(file: PresetFile, folder: Path) -> tuple[Path, ...]:
    paths = [path for path in folder.glob(file.name) if path.is_file()]
    return tuple(sorted((path.absolute() for path in paths), key=lambda path: (len(path.name), path.name)))


def _told(preset: Preset, folder: Path, missing: Sequence[PresetFile]) -> str:
    lines = [f"{folder} lacks {len(missing)} of the {len(preset.files)} files of the preset {preset.name}:"]
    for file in missing:
        packed = [path.name for ending in _PACKED for path in folder.glob(file.name + ending)]
        hint = f"; {packed[0]} is there: unpack it (gunzip -k {packed[0]})" if packed else ""
        lines.append(f"  {file.name}  ({file.what}{hint})")
    lines.append(
        f"They come from: {preset.where}. Nothing is downloaded by Pertcast: put them into {folder}."
    )
    return "\n".join(lines)

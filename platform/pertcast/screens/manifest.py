"""The manifest of a finished screen: what was computed, with the hash of every file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pertcast_data.errors import ConfigError, CorruptStore

from pertcast.screens.files import MANIFEST


def read_manifest(path: Path | str) -> dict[str, Any]:
    """Read the manifest of a finished screen.

    Raises
    ------
    ConfigError
        There is none: no such folder, no screen, or an unfinished one.
    CorruptStore
        It is no JSON.
    """
    if not Path(path).exists():
        raise ConfigError(f"{path}: no such folder. Check the path.")
    target = Path(path) / MANIFEST
    if not target.is_file():
        raise no_finished_screen(path)
    return parse_manifest(target.read_bytes(), target)


def no_finished_screen(place: Path | str) -> ConfigError:
    """Return what to say of a place without a manifest."""
    return ConfigError(
        f"{place} holds no finished screen. Run its `pertcast screen` command again to finish it."
    )


def parse_manifest(content: bytes, target: Path | str) -> dict[str, Any]:
    """Read the bytes of a screen's manifest that were found at `target`; raises CorruptStore."""
    try:
        found = json.loads(content)
    except ValueError as error:
        raise CorruptStore(
            f"{target} cannot be read ({error}). Run the screen again into another folder."
        ) from error
    if not isinstance(found, dict) or found.get("format") != "pertcast-screen":
        raise CorruptStore(f"{target} does not describe a screen. Name a screen's folder.")
    return found

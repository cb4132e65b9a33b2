"""How far a screen is, read from its folder by another process: the files it writes are the only state."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pertcast_data.errors import CorruptStore

from pertcast.screens.files import MANIFEST, PLAN, RECORDS
from pertcast.screens.manifest import read_manifest


@dataclass(frozen=True, slots=True)
class ScreenProgress:
    """What stands of a screen.

    Attributes
    ----------
    n_done
        Profiles that are written; of whole shards.
    n_profiles
        Profiles of the whole screen; None before it is planned.
    is_finished
        Whether its manifest stands: all tables are written too.
    """

    n_done: int
    n_profiles: int | None
    is_finished: bool


def screen_progress(path: Path) -> ScreenProgress:
    """Return how far the screen in a folder is; nothing stands where there is no folder.

    Raises
    ------
    CorruptStore
        Its manifest or its plan is damaged.
    """
    if (path / MANIFEST).is_file():
        n_profiles = int(read_manifest(path)["n_profiles"])
        return ScreenProgress(n_profiles, n_profiles, True)
    try:
        plan = json.loads((path / PLAN).read_text(encoding="utf-8"))
        n_profiles, shard_rows = int(plan["n_profiles"]), int(plan["settings"]["shard_rows"])
    except FileNotFoundError:
        return ScreenProgress(0, None, False)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStore(
            f"{path / PLAN} cannot be read ({error!r}). Run the screen again into another folder."
        ) from error
    n_shards = sum(1 for _ in (path / RECORDS).glob("*.json"))
    return ScreenProgress(min(n_shards * shard_rows, n_profiles), n_profiles, False)

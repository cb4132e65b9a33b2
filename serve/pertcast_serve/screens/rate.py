"""How fast a screen is computed: from the times at which its shards were recorded, not from memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertcast.screens.files import PLAN, RECORDS
from pertcast.screens.progress import ScreenProgress

_LATEST: Final = 64
"""Shards that the rate is taken from: it follows workers that come and go."""


@dataclass(frozen=True, slots=True)
class ScreenRate:
    """How fast a screen is; None where that is not known yet.

    Attributes
    ----------
    profiles_per_s
        Profiles written a second.
    eta_s
        Seconds until all profiles are written; None while the tables that come after them are written.
    """

    profiles_per_s: float | None = None
    eta_s: float | None = None


def screen_rate(out: Path, progress: ScreenProgress, began: float) -> ScreenRate:
    """Return how fast a screen is being computed.

    Parameters
    ----------
    out
        Folder that its command writes.
    progress
        How far it is.
    began
        When its job was submitted, in seconds since the epoch: what an earlier one wrote does not count.
    """
    times = sorted(_recorded(out))
    if progress.n_profiles is None or not times:
        return ScreenRate()
    rows = progress.n_done / len(times)
    latest = [at for at in times if at >= began][-_LATEST:]
    if not latest:
        return ScreenRate()
    if len(latest) == 1:
        latest.insert(0, max(began, _modified(out / PLAN) or began))
    seconds = latest[-1] - latest[0]
    if seconds <= 0:
        return ScreenRate()
    rate = rows * (len(latest) - 1) / seconds
    left = progress.n_profiles - progress.n_done
    return ScreenRate(rate, left / rate if left else None)


def _recorded(out: Path) -> list[float]:
    found = (_modified(file) for file in (out / RECORDS).glob("*.json"))
    return [at for at in found if at is not None]


def _modified(file: Path) -> float | None:
    """Return when a file was written; None where it is gone: a screen that ends removes these files."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return None

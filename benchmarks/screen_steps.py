"""Where the time and the memory of a screen went, told by when its files were last written.

A screen puts its files in their places one after the other, so their times are the ends of its steps: nothing
in the screen itself has to be changed for it to be measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watched_process import Watched

_ENDS: Final = (
    ("start, check of the list, plan", ("ranks.zarr/zarr.json",)),
    ("shards", ("ranks.zarr/rank/c/*/*", "profiles.zarr/X/c/*/*", "profiles.zarr/layers/*/c/*/*")),
    ("checksums, table of conditions", ("sig_info.parquet",)),
    ("hits, ranked", ("hits.parquet", "hits.csv")),
    ("enrichment table", ("enrichment.parquet", "gene_sets.gmt")),
    ("names of profiles", ("profiles.zarr/obs/*/*", "profiles.zarr/manifest*", "profiles.zarr/zarr.json")),
    ("neighbours", ("neighbors.parquet",)),
    ("selectivity", ("selectivity.parquet",)),
    ("dose curves", ("dose_response.parquet",)),
    ("gene function", ("gene_function.parquet",)),
    ("report", ("report.html",)),
    ("hashes, manifest", ("manifest.json",)),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a screen: wall and CPU seconds of all processes, and the driver's peak in MB."""

    name: str
    wall_s: float
    cpu_s: float
    driver_mb: float


def steps_of(screen: Path, watched: Watched) -> list[Step]:
    """Return the steps of a screen that was just computed, in order, and what came after its manifest."""
    steps: list[Step] = []
    before = watched.started
    ends = [(name, _last_written(screen, patterns)) for name, patterns in _ENDS]
    for name, end in [*ends, ("end of the process", watched.ended)]:
        if end is None:
            continue
        cpu = watched.cpu_until(end) - watched.cpu_until(before)
        steps.append(Step(name, end - before, cpu, watched.peak_between(before, end)))
        before = end
    return steps


def sizes_of(screen: Path) -> list[tuple[str, int, float]]:
    """Return name, files and MB of everything directly in a screen's folder, largest first."""
    found = []
    for entry in screen.iterdir():
        files = [entry] if entry.is_file() else [path for path in entry.rglob("*") if path.is_file()]
        found.append((entry.name, len(files), sum(path.stat().st_size for path in files) / 1e6))
    return sorted(found, key=lambda row: -row[2])


def _last_written(screen: Path, patterns: tuple[str, ...]) -> float | None:
    times = [path.stat().st_mtime for pattern in patterns for path in screen.glob(pattern)]
    return max(times, default=None)

"""A small simulated screen as a store with a split, for all tests that train on one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, AtlasFiles, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore

SIZES: dict[str, Any] = {
    "n_genes": 60,
    "n_contexts": 2,
    "n_compounds": 16,
    "n_unprofiled": 4,
    "doses": (1.0, 10.0),
    "times": (24.0,),
    "n_plates": 4,
    "n_knockouts": 8,
    "n_pairs": 0,
    "n_cells": 200,
}


@dataclass(frozen=True)
class ScreenFiles:
    """Where the small screen lies: its store and split, and the raw files that it was made of."""

    store: Path
    split: Path
    atlas: AtlasFiles

    @property
    def overrides(self) -> list[str]:
        return [f"data.store={self.store}", f"data.split={self.split}"]


def make_screen(folder: Path, **sizes: Any) -> ScreenFiles:
    """Write a screen of these sizes, `SIZES` where not given, with a split of unseen compounds."""
    atlas = write_atlas(simulate_atlas(AtlasConfig(**{**SIZES, **sizes})), folder / "atlas")
    ingest([atlas.wells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "unseen_compound").save(folder / "split.json")
    return ScreenFiles(folder / "store", folder / "split.json", atlas)

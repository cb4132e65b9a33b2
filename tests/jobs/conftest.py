"""A small simulated screen, as a store with a split, made once for all job tests that train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore

ATLAS = AtlasConfig(
    n_genes=60,
    n_contexts=2,
    n_compounds=16,
    n_unprofiled=4,
    doses=(1.0, 10.0),
    times=(24.0,),
    n_plates=4,
    n_knockouts=8,
    n_pairs=0,
    n_cells=200,
)


@dataclass(frozen=True)
class ScreenFiles:
    """Where the small screen lies."""

    store: Path
    split: Path

    @property
    def overrides(self) -> list[str]:
        return [f"data.store={self.store}", f"data.split={self.split}"]


@pytest.fixture(scope="session")
def small_screen(tmp_path_factory: pytest.TempPathFactory) -> ScreenFiles:
    folder = tmp_path_factory.mktemp("small_screen")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.wells], folder / "store")
    split = make_split(ExpressionStore.open(folder / "store"), "unseen_compound")
    split.save(folder / "split.json")
    return ScreenFiles(folder / "store", folder / "split.json")

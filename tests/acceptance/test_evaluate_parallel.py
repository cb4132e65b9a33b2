"""Runs that are evaluated beside each other on Ray write the same bytes as one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pertcast_data.errors import ConfigError
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate import evaluate_runs
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train.many import train_many

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

ATLAS = AtlasConfig(
    n_genes=60, n_contexts=2, n_compounds=16, n_unprofiled=4, doses=(1.0, 10.0), times=(24.0,), n_plates=4,
    n_knockouts=8, n_pairs=0, n_cells=200,
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parallel")
    ingest([write_atlas(simulate_atlas(ATLAS), folder / "atlas").wells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "unseen_compound").save(folder / "split.json")
    words = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}", "train.epochs=2"]
    train_many(load_config("response_mlp", words), folder / "many", (0, 1), (0,))
    return [folder / "many" / f"fold{fold}-seed0" for fold in (0, 1)]


def test_evaluations_beside_each_other_write_the_same_bytes(runs: list[Path], ray_cluster: Any) -> None:
    alone = evaluate_runs(runs, n_draws=100)
    written = [(each.folder / "trust.json").read_bytes() for each in alone]
    together = evaluate_runs(runs, n_draws=100, parallel=2)
    assert [each.name for each in together] == [each.name for each in alone]
    assert [(each.folder / "trust.json").read_bytes() for each in together] == written


def test_a_run_that_cannot_be_evaluated_says_why(runs: list[Path], tmp_path: Path, ray_cluster: Any) -> None:
    with pytest.raises(ConfigError, match="Name a run's folder"):
        evaluate_runs([runs[0], tmp_path], n_draws=100, parallel=2)

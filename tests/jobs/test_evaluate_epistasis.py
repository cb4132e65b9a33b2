"""Epistasis of runs that hold out pairs: it appears in every file, and nowhere without pairs."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.analysis.epistasis.replicates import noise_vectors
from pertcast.evaluation.trust.json_text import plain
from pertcast.evaluation.units import lay_out_units
from pertcast_data.ingest import ingest
from pertcast_data.loading import pair_controls
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.evaluate import evaluate_run
from pertcast_jobs.evaluate.epistasis import epistasis_of_run, has_pairs
from pertcast_jobs.evaluate.epistasis_blocks import (
    PairControls,
    can_be_split,
    deal_blocks,
    n_blocks_that_fit,
    replicate_blocks,
)
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

ATLAS = AtlasConfig(
    regime="epistatic",
    n_genes=60,
    n_contexts=1,
    n_compounds=8,
    n_unprofiled=2,
    doses=(1.0,),
    times=(24.0,),
    n_plates=1,
    n_knockouts=8,
    n_pairs=16,
    n_cells=1500,
    noise=0.5,
    n_signature_genes=1,
)
QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8", "train.epochs=2"]
TITLE = "Epistasis of pairs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A screen of pairs, its store and its split."""
    folder = tmp_path_factory.mktemp("pairs")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.cells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "unseen_pair", n_folds=2).save(folder / "split.json")
    return folder


@dataclass(frozen=True)
class Left:
    """What `pertcast evaluate RUN` printed and left."""

    run: Path
    printed: str
    biology: dict[str, Any]
    report: str


@pytest.fixture(scope="module")
def left(folder: Path) -> Left:
    overrides = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}", *QUICK]
    run_training(load_config("response_mlp", overrides), folder / "run")
    with redirect_stdout(StringIO()) as printed:
        assert pertcast(["evaluate", str(folder / "run"), "--draws", "100"]) == 0
    evaluation = folder / "run" / "evaluation"
    return Left(
        folder / "run",
        printed.getvalue(),
        json.loads((evaluation / "biology.json").read_text()),
        (evaluation / "trust.html").read_text(),
    )


def test_epistasis_appears_unasked_where_pairs_are_held_out(left: Left, folder: Path) -> None:
    assert f"== {TITLE}: " in left.printed and "Biology: epistasis of pairs" in left.report
    found = left.biology["epistasis"]
    tested = Split.load(folder / "split.json").fold(0).test
    pairs = {name for name in tested if "+" in name}
    assert {row["condition_id"] for row in found["pairs"]} == pairs and found["n_held_out"] == len(pairs) == 8
    assert found["n_training_singles"] == found["n_singles"] <= 8
    assert sum(found["counts"].values()) == 8
    assert TITLE in (left.run / "evaluation" / "model_card.md").read_text()


def test_the_model_stands_beside_the_additive_rule_and_the_strongest_baselines(left: Left) -> None:
    first, *others = left.biology["epistasis"]["contenders"]
    titles = [each["title"] for each in others]
    assert first["title"] == "Residual MLP" and "Sum of the measured singles" in titles and len(titles) >= 3
    rule = others[titles.index("Sum of the measured singles")]
    assert rule["correlation"]["value"] is None and not any(rule["excess"])
    assert rule["removed"]["value"] == pytest.approx(0, abs=0.02)
    assert first["removed"]["value"] < 1 and any(first["excess"])


def test_measured_excesses_are_those_of_the_store(left: Left, folder: Path) -> None:
    store = ExpressionStore.open(folder / "store")
    profiles = store.reader().dense(np.arange(store.n_rows)).astype(np.float64)
    names, batch = store.obs["pert_id"].to_numpy(), store.obs["batch_id"].cast(pl.String).to_numpy()
    response = profiles.copy()
    for each in np.unique(batch):
        response[batch == each] -= profiles[(batch == each) & store.is_control].mean(axis=0)
    for row in left.biology["epistasis"]["pairs"]:
        pair = f"{row['first']}+{row['second']}"
        both, first, second = (response[names == name] for name in (pair, row["first"], row["second"]))
        assert (row["n_pair"], row["n_first"]) == (len(both), len(first))
        others = [gene not in (row["first"], row["second"]) for gene in store.genes]
        excess = (both.mean(axis=0) - first.mean(axis=0) - second.mean(axis=0))[others]
        assert row["excess"] < np.linalg.norm(excess)
        if row["q"] < 1e-6:
            assert row["excess"] == pytest.approx(np.linalg.norm(excess), rel=0.25)


def test_the_result_is_the_same_every_time(left: Left) -> None:
    found = epistasis_of_run(evaluate_run(left.run, n_draws=100), n_draws=100)
    assert found is not None
    again = plain(found.to_json())
    assert json.loads(json.dumps(again)) == left.biology["epistasis"]


def test_runs_without_pairs_have_no_such_part_and_no_note(small_screen: Any, tmp_path: Path) -> None:
    overrides = [*small_screen.overrides, "model.name=fingerprint_ridge", "model.config={}"]
    run_training(load_config("response_mlp", overrides), tmp_path / "run")
    evaluation = evaluate_run(tmp_path / "run", n_draws=100)
    assert not has_pairs(evaluation) and epistasis_of_run(evaluation, n_draws=100) is None


def test_blocks_hold_every_row_once_against_the_controls_of_its_batch(folder: Path) -> None:
    store = ExpressionStore.open(folder / "store")
    pairing, reader = pair_controls(store), store.reader()
    rows = np.flatnonzero(~store.is_control)
    units = lay_out_units(store, rows, pairing)
    assert can_be_split(units, pairing).all()
    found = replicate_blocks(units, reader, store.n_genes, PairControls(pairing, pairing.means(reader)))
    assert found.n_replicates.sum() == len(rows)
    np.testing.assert_allclose(found.control_shares.sum(axis=1), 1)
    np.testing.assert_allclose(found.control_noise.sum(axis=0), 0, atol=0.05)
    controls = pairing.means(reader)[pairing.group_of_row[units.rows]]
    response = reader.dense(units.rows) - controls
    for condition in (0, units.n_conditions - 1):
        expected = response[units.condition_of_row == condition].mean(axis=0)
        np.testing.assert_allclose(found.response(condition), expected, atol=1e-4)


def test_blocks_are_dealt_evenly_and_become_fewer_before_memory_ends() -> None:
    labels = np.repeat([0, 1], [45, 3])
    dealt = deal_blocks(labels, 20, seed=0)
    assert np.bincount(dealt[:45]).tolist() == [3] * 5 + [2] * 15
    assert sorted(dealt[45:].tolist()) == [0, 1, 2]
    assert n_blocks_that_fit(400, 5_000) == 20
    assert n_blocks_that_fit(2_000, 26_945) == 4


def test_noise_of_unequal_blocks_is_without_bias() -> None:
    generator = np.random.default_rng(0)
    sizes = np.array([8, 4, 2, 1, 1])
    means = generator.standard_normal((4_000, 5, 1)) / np.sqrt(sizes)[:, None]
    squares = [np.square(noise_vectors(each, sizes / 16)).sum() for each in means]
    assert np.mean(squares) == pytest.approx(1 / 16, rel=0.03)

"""A training leaves a bundle whose hits are calibrated; one that lacks that is calibrated later."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pertcast.analysis.hits import condition_statistics
from pertcast.evaluation.hit_calibration.from_store import calibrate_hits, predicted_effects
from pertcast.evaluation.hit_calibration.labels import activity_labels
from pertcast.evaluation.units import lay_out_units
from pertcast.predictor import Predictor
from pertcast.training.bundle import load_bundle_files
from pertcast.training.bundle_supplements import add_supplement
from pertcast_data.errors import ConfigError, CorruptBundle
from pertcast_data.ingest import ingest
from pertcast_data.loading import pair_controls
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training
from pertcast_jobs.train.hit_calibration import calibrate_bundle

ATLAS = AtlasConfig(
    regime="null",
    n_genes=50,
    n_contexts=1,
    n_compounds=300,
    n_unprofiled=1,
    doses=(1.0,),
    times=(24.0,),
    n_plates=2,
    n_knockouts=2,
    n_pairs=0,
    n_cells=100,
    n_signature_genes=2,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on wells where nothing happens: split.json, store and run in one folder."""
    root = tmp_path_factory.mktemp("calibrated")
    ingest([write_atlas(simulate_atlas(ATLAS), root / "atlas").wells], root / "store")
    make_split(ExpressionStore.open(root / "store"), "unseen_compound").save(root / "split.json")
    data = [f"data.store={root / 'store'}", f"data.split={root / 'split.json'}"]
    run_training(load_config("response_mlp", [*data, "model.name=knn"]), root / "run")
    return root


def test_a_training_leaves_what_gives_its_screens_p_values(trained: Path) -> None:
    predictor = Predictor.from_bundle(trained / "run" / "bundle")
    calibration = predictor.hit_calibration
    assert calibration is not None and not calibration.reason
    assert calibration.facts["n_inactive_perturbations"] >= 19
    store, split = ExpressionStore.open(trained / "store"), Split.load(trained / "split.json")
    held_out = store.conditions.filter(pl.col("condition_id").is_in(split.folds[0].validation))
    assert set(calibration.conditions["pert_id"]) <= set(held_out["pert_id"])
    tested = store.conditions.filter(pl.col("condition_id").is_in(split.folds[0].test))
    asked = predicted_effects(predictor, tested)
    p_values = calibration.p_values(asked)
    inside = asked["is_in_domain"].to_numpy()
    assert not np.isnan(p_values[inside]).any() and np.isnan(p_values[~inside]).all()


def test_the_calibrated_score_is_the_effect_size_of_a_screen(trained: Path) -> None:
    predictor = Predictor.from_bundle(trained / "run" / "bundle")
    store = ExpressionStore.open(trained / "store")
    table = store.conditions.filter(~pl.col("is_control")).head(5)
    found = predictor.predict(table.drop("condition_id", "n_rows"))
    expected = condition_statistics(found.mean, None, predictor.genes)["effect_size"]
    np.testing.assert_allclose(predicted_effects(predictor, table)["effect_size"], expected, rtol=1e-12)


def test_where_nothing_happens_95_percent_are_measured_inactive(trained: Path) -> None:
    store, split = ExpressionStore.open(trained / "store"), Split.load(trained / "split.json")
    pairing = pair_controls(store)
    units = lay_out_units(store, split.rows(store, 0, "train"), pairing)
    labels = activity_labels(units, store, store.reader(), pairing)
    assert labels is not None and labels.is_labelled.all()
    assert 0.85 < labels.is_inactive.mean() <= 1.0


def test_the_calibration_is_no_part_of_what_the_model_is(trained: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(trained / "run" / "bundle", tmp_path / "bundle")
    before = load_bundle_files(bundle)
    store, split = ExpressionStore.open(trained / "store"), Split.load(trained / "split.json")
    again = calibrate_bundle(bundle, store, split, 0, store.reader())
    files = load_bundle_files(bundle)
    assert files.supplements == before.supplements == {"hit_calibration": again.to_bytes()}
    add_supplement(bundle, "hit_calibration", b"another")
    other = load_bundle_files(bundle)
    assert other.content_hash == before.content_hash
    assert other.supplements == {"hit_calibration": b"another"}
    assert len(list(bundle.glob("hit_calibration-*"))) == 1
    with pytest.raises(ConfigError, match="no supplement 'notes'"):
        add_supplement(bundle, "notes", b"")


def test_a_damaged_or_missing_calibration_is_refused(trained: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(trained / "run" / "bundle", tmp_path / "bundle")
    (file,) = bundle.glob("hit_calibration-*")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptBundle, match="is damaged"):
        load_bundle_files(bundle)
    file.unlink()
    with pytest.raises(CorruptBundle, match="is missing"):
        load_bundle_files(bundle)


def test_a_bundle_from_before_there_were_calibrations_loads_without_one(
    trained: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(trained / "run" / "bundle", tmp_path / "bundle")
    content = json.loads((bundle / "bundle.json").read_text())
    del content["supplements"], content["manifest_sha256"]
    seal = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps({**content, "manifest_sha256": seal}))
    old = Predictor.from_bundle(bundle)
    assert old.hit_calibration is None
    assert old.bundle.hash == Predictor.from_bundle(trained / "run" / "bundle").bundle.hash


def test_a_split_without_a_validation_part_calibrates_nothing_and_says_so(trained: Path) -> None:
    store = ExpressionStore.open(trained / "store")
    predictor = Predictor.from_bundle(trained / "run" / "bundle")
    nothing = calibrate_hits(predictor, store, store.reader(), np.empty(0, dtype=np.int64))
    assert nothing.reason == "the split holds no validation part out"

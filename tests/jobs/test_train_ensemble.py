"""`train --ensemble K`: members and one bundle, which goes wherever a run goes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import polars as pl
import pytest
from pertcast.predictor import Predictor
from pertcast.torch_threads import torch_threads
from pertcast.training.bundle import find_bundle, load_bundle_files
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.evaluate import evaluate_run, expand
from pertcast_jobs.evaluate.card import save_card
from pertcast_jobs.evaluate.uncertainty import _sd_of_mean
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import ScreenRequest
from pertcast_jobs.screen.run import run_screen
from pertcast_jobs.train import ensemble, run_training
from pertcast_jobs.train.ensemble import train_ensembles
from pertcast_jobs.train.hit_calibration import calibrate_bundle

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]
QUICK += ["train.batch_size=32", "train.epochs=3"]


def quick(small_screen: Any, *overrides: str) -> RunConfig:
    return load_config("response_mlp", [*small_screen.overrides, *QUICK, *overrides])


def words(small_screen: Any, *rest: str) -> list[str]:
    return ["train", "response_mlp", *small_screen.overrides, *QUICK, *rest]


@pytest.fixture(scope="module")
def trained(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of two on one fold; tests that change it copy it."""
    out = tmp_path_factory.mktemp("ensemble") / "two"
    outcome = train_ensembles(quick(small_screen), out, [0], 2)
    assert not outcome.members.failed
    return out


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "two"))


def test_members_are_ordinary_runs_and_the_ensemble_is_one_too(trained: Path) -> None:
    run = RunFolder.open(trained)
    assert run.is_done
    manifest = run.manifest()
    assert manifest.members == ("members/fold0-seed0", "members/fold0-seed1")
    members = [RunFolder.open(trained / name) for name in manifest.members]
    assert all(member.is_done for member in members)
    bundles = [load_bundle_files(member.bundle_path) for member in members]
    found = load_bundle_files(find_bundle(trained))
    records = [record["content_hash"] for record in found.members.values()]
    assert records == [bundle.content_hash for bundle in bundles]
    assert manifest.result["global_step"] == sum(m.manifest().result["global_step"] for m in members)


def test_one_trust_report_tells_the_ensemble_and_what_it_gains_over_its_members(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate_run(copied, n_draws=100)
    gain = found.trust.parts.ensemble
    assert gain is not None
    assert list(gain.members) == ["seed0", "seed1"]
    own = found.trust.summary["response_mlp"][gain.metric].mean
    mean = np.mean([each.mean for each in gain.members.values()])
    assert gain.gain.mean == pytest.approx(own - mean, abs=1e-6)
    assert gain.gain.low <= gain.gain.mean <= gain.gain.high
    alone = evaluate_run(copied / "members" / "fold0-seed1", n_draws=100)
    scored = alone.trust.summary["response_mlp"][gain.metric].mean
    assert gain.members["seed1"].mean == pytest.approx(scored, abs=1e-6)
    lines = " ".join("\n".join(found.trust.lines()).split())
    assert "Ensemble of 2: " in lines
    assert "over the mean of its members (seed0 " in lines
    assert json.loads((copied / "evaluation" / "trust.json").read_text())["ensemble"]["members"]
    assert "The ensemble and its members" in (copied / "evaluation" / "trust.html").read_text()
    save_card(found)
    assert "--ensemble 2" in found.card_path.read_text()


def test_a_screen_of_it_holds_what_it_predicts_and_what_its_members_disagree_on(
    small_screen: Any, trained: Path, tmp_path: Path
) -> None:
    settings = ScreenSettings(kind="compounds", shard_rows=64, n_reported=5)
    library = small_screen.store.parent / "atlas" / "library.csv"
    request = ScreenRequest(
        kind="compounds", model=trained, library=library, doses=(1.0, 10.0), settings=settings
    )
    screen = run_screen(request, tmp_path / "screen", "in-process").out
    data = anndata.read_zarr(screen / "profiles.zarr")
    info = pl.read_parquet(screen / "sig_info.parquet")
    asked = info.select("cell_iname", "pert_type", "pert_id", "pert_dose", "pert_time", "canonical_smiles")
    with torch_threads(1):
        found = Predictor.from_bundle(find_bundle(trained)).predict(asked, batch_size=settings.batch_size)
    assert found.sd is not None and found.sd_between is not None
    assert np.array_equal(data.X, found.mean.astype(np.float16))
    assert np.array_equal(data.layers["sd"], found.sd.astype(np.float16))
    np.testing.assert_allclose(
        info["sd_between"], np.sqrt(np.square(found.sd_between).mean(axis=1)), rtol=1e-5
    )
    assert info["sd_between"].min() > 0


def test_what_is_missing_is_trained_and_an_ensemble_with_a_failed_member_is_not_written(
    small_screen: Any,
    copied: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = (copied / "members" / "fold0-seed0" / "run.json").read_bytes()
    in_the_way = copied / "members" / "fold0-seed2" / "notes.txt"
    in_the_way.parent.mkdir()
    in_the_way.write_text("not a run")
    old = load_bundle_files(copied / "bundle").content_hash
    command = words(small_screen, "--ensemble", "3", "--out", str(copied), "--resume")
    assert pertcast(command) == 1
    printed = capsys.readouterr().out
    assert "fold0-seed2      FAILED" in printed and "is not a run" in printed and "--resume" in printed
    assert not RunFolder.open(copied).is_done
    assert load_bundle_files(copied / "bundle").content_hash == old
    in_the_way.unlink()
    calibrated: list[int] = []

    def calibrate(bundle: Path, *args: Any) -> Any:
        calibrated.append(len(load_bundle_files(bundle).members))
        return calibrate_bundle(bundle, *args)

    monkeypatch.setattr(ensemble, "calibrate_bundle", calibrate)
    assert pertcast(command) == 0
    assert calibrated == [3], "hits are calibrated with the predictions of the ensemble, not of a member"
    assert RunFolder.open(copied).is_done
    assert list(load_bundle_files(copied / "bundle").members) == ["seed0", "seed1", "seed2"]
    assert (copied / "members" / "fold0-seed0" / "run.json").read_bytes() == before


def test_an_unfinished_ensemble_says_how_it_is_continued(copied: Path) -> None:
    shutil.rmtree(copied / "bundle")
    with pytest.raises(ConfigError, match="--ensemble 2"):
        find_bundle(copied)


def test_it_is_never_continued_as_one_model_nor_with_other_members(small_screen: Any, copied: Path) -> None:
    with pytest.raises(ConfigError, match="--ensemble 2 --resume"):
        run_training(quick(small_screen), copied, resume=True)
    with pytest.raises(ConfigError, match="other members"):
        train_ensembles(quick(small_screen, "train.seed=1"), copied, [0], 2, resume=True)
    with pytest.raises(ConfigError, match=r"train\.epochs"):
        train_ensembles(quick(small_screen, "train.epochs=4"), copied, [0], 2, resume=True)
    with pytest.raises(ConfigError, match="run of one model"):
        train_ensembles(quick(small_screen), copied / "members" / "fold0-seed0", [0], 2, resume=True)


def test_each_fold_gets_an_ensemble_and_their_folder_is_evaluated_like_that_of_runs(
    small_screen: Any, tmp_path: Path
) -> None:
    out = tmp_path / "folds"
    outcome = train_ensembles(quick(small_screen, "train.epochs=1"), out, [0, 1], 2)
    assert [each.run.name for each in outcome.ensembles] == ["fold0", "fold1"]
    assert expand([out]) == [out / "fold0", out / "fold1"]
    for fold in (0, 1):
        files = load_bundle_files(find_bundle(out / f"fold{fold}"))
        assert files.facts.fold == fold and list(files.members) == ["seed0", "seed1"]
    assert RunFolder.open(out / "fold1").manifest().members[0] == "../members/fold1-seed0"


def test_the_plan_tells_members_and_memory_and_writes_nothing(
    small_screen: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(words(small_screen, "--ensemble", "5", "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "1 ensemble of 5 members" in printed
    assert "with all 5 members loaded" in printed
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_of_one_and_seeds_of_ones_own_are_refused(
    small_screen: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert pertcast(words(small_screen, "--ensemble", "1", *out)) == 1
    assert "is no ensemble" in capsys.readouterr().err
    assert pertcast(words(small_screen, "--ensemble", "2", "--seeds", "2", *out)) == 2
    assert not (tmp_path / "out").exists()


def test_what_members_disagree_on_is_not_averaged_away_by_replicates() -> None:
    sd, between, rows = np.full((1, 2), 5.0), np.full((1, 2), 3.0), np.array([16.0])
    np.testing.assert_allclose(_sd_of_mean(sd, between, rows), np.sqrt(16 / 16 + 9))
    np.testing.assert_allclose(_sd_of_mean(sd, None, rows), 5 / 4)

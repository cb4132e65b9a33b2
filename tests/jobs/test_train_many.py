"""Folds and seeds beside each other: ordinary runs, the same numbers, and only what is missing is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pertcast.torch_threads import torch_threads
from pertcast.training.bundle import find_bundle, load_bundle_files
from pertcast_data.errors import ConfigError
from pertcast_data.splits import Split
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import many_member, run_training
from pertcast_jobs.train.many import ManyOutcome, members, train_many
from pertcast_jobs.train.many_plan import chosen_folds, chosen_seeds

pytestmark = pytest.mark.ray

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]
QUICK += ["train.batch_size=32", "train.epochs=3"]
ON_RAY = ["cluster.launcher=ray", "cluster.cpus_per_worker=1"]
INSTANT = ["model.name=train_mean"]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums over threads round differently: compare at equal thread counts."""
    with torch_threads(1):
        yield


def small_run(small_screen: Any, *overrides: str) -> RunConfig:
    return load_config("response_mlp", [*small_screen.overrides, *overrides])


def words(small_screen: Any, *rest: str) -> list[str]:
    return ["train", "response_mlp", *small_screen.overrides, *rest]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_bundle_files(find_bundle(run)).weights


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int, str]]:
    return []


@pytest.fixture(scope="module")
def beside(
    ray_cluster: Any,
    small_screen: Any,
    told: list[tuple[int, int, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> ManyOutcome:
    """One fold trained with two seeds, beside each other on Ray."""
    return train_many(
        small_run(small_screen, *QUICK, *ON_RAY),
        tmp_path_factory.mktemp("beside") / "runs",
        folds=[0],
        seeds=[0, 1],
        progress=lambda done, total, note="": told.append((done, total, note)),
    )


def test_each_member_is_an_ordinary_run_that_many_json_names(
    beside: ManyOutcome, told: list[tuple[int, int, str]]
) -> None:
    assert not beside.failed
    found = members(beside.path)
    assert found is not None
    assert [path.name for path in found] == ["fold0-seed0", "fold0-seed1"] == list(beside.trained)
    runs = [RunFolder.open(path) for path in found]
    assert all(run.is_done for run in runs)
    assert [run.manifest().seed for run in runs] == [0, 1]
    assert [run.config().train.seed for run in runs] == [0, 1]
    assert told[-1][0] == told[-1][1] > 2 * runs[0].manifest().result["global_step"]
    assert told[-1][2] == "2 of 2 trained"
    assert members(found[0]) is None


def test_a_member_trained_beside_others_has_the_weights_of_one_trained_alone(
    beside: ManyOutcome, one_thread: None, small_screen: Any, tmp_path: Path
) -> None:
    alone = run_training(small_run(small_screen, *QUICK, "train.seed=1"), tmp_path / "alone")
    one, other = weights_of(alone.run), weights_of(beside.path / "fold0-seed1")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    first = weights_of(beside.path / "fold0-seed0")
    assert any(not torch.equal(first[name], other[name]) for name in other)


def test_a_failed_member_is_reported_and_resuming_trains_only_what_is_missing(
    beside: ManyOutcome, small_screen: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    shutil.copytree(beside.path, out)
    before = (out / "fold0-seed0" / "run.json").read_bytes()
    in_the_way = out / "fold1-seed0" / "notes.txt"
    in_the_way.parent.mkdir()
    in_the_way.write_text("not a run")
    command = words(small_screen, *QUICK, *ON_RAY, "--folds", "0,1", "--out", str(out), "--resume")
    assert pertcast(command) == 1
    printed = capsys.readouterr().out
    assert "fold1-seed0      FAILED" in printed and "is not a run" in printed
    assert "fold0-seed1      trained" in printed
    assert "is not a run" in json.loads((out / "many.json").read_text())["failed"]["fold1-seed0"]
    in_the_way.unlink()
    assert pertcast(command) == 0
    assert RunFolder.open(out / "fold1-seed0").manifest().fold == 1
    assert (out / "fold0-seed0" / "run.json").read_bytes() == before
    assert json.loads((out / "many.json").read_text())["failed"] == {}


def test_without_ray_members_train_one_after_another_and_an_interrupted_one_is_made_up_for(
    small_screen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "runs"
    trained: list[str] = []

    def interrupted_at_the_second(config: RunConfig, folder: Path, *, resume: bool) -> Any:
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(folder.name)
        return run_training(config, folder, resume=resume)

    command = words(small_screen, *INSTANT, "--folds", "0,1", "--out", str(out))
    with monkeypatch.context() as patch:
        patch.setattr(many_member, "run_training", interrupted_at_the_second)
        assert pertcast(command) == 130
    assert trained == ["fold0-seed0"]
    assert pertcast(command) == 1, "an existing folder needs --resume"
    assert pertcast([*command, "--resume"]) == 0
    assert all(RunFolder.open(path).is_done for path in members(out) or [])


def test_the_plan_counts_members_and_steps_and_writes_nothing(
    small_screen: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    options = ["--folds", "0,1", "--seeds", "3", "--dry-run", "--json", "--out", str(out)]
    assert pertcast(words(small_screen, *QUICK, *ON_RAY, *options)) == 0
    plan = json.loads(capsys.readouterr().out)
    assert len(plan["members"]) == 6
    assert plan["steps"] == 3 * (plan["folds"]["0"]["steps"] + plan["folds"]["1"]["steps"])
    assert not out.exists()


def test_folds_and_seeds_are_read_as_they_are_written(small_screen: Any) -> None:
    config = small_run(small_screen, "data.fold=1", "train.seed=10")
    n_folds = len(Split.load(small_screen.split).folds)
    assert chosen_folds("all", config) == list(range(n_folds))
    assert chosen_folds("2,0", config) == [0, 2]
    assert chosen_folds(None, config) == [1]
    assert chosen_seeds("3", config) == [10, 11, 12]
    assert chosen_seeds("0,3,7", config) == [0, 3, 7]
    assert chosen_seeds("7,", config) == [7]
    assert chosen_seeds(None, config) == [10]


@pytest.mark.parametrize(
    ("folds", "seeds", "said"),
    [
        ("0,9", None, "not 9"),
        ("some", None, "--folds 'some'"),
        (None, "0", "trains nothing"),
        (None, "x", "list"),
    ],
)
def test_what_is_no_list_of_folds_or_seeds_is_refused(
    small_screen: Any, folds: str | None, seeds: str | None, said: str
) -> None:
    config = small_run(small_screen)
    with pytest.raises(ConfigError, match=said):
        chosen_folds(folds, config), chosen_seeds(seeds, config)


def test_trainings_of_another_configuration_are_not_continued(small_screen: Any, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    train_many(small_run(small_screen, *INSTANT), out, [0], [0])
    other = small_run(small_screen, *INSTANT, "train.batch_size=64")
    with pytest.raises(ConfigError, match=r"other trainings: train\.batch_size \(256 before, 64 now\)"):
        train_many(other, out, [0], [0, 1], resume=True)
    assert not (out / "fold0-seed1").exists()


def test_several_workers_a_member_are_refused(small_screen: Any, tmp_path: Path) -> None:
    config = small_run(small_screen, "cluster.launcher=ray", "cluster.num_workers=2")
    with pytest.raises(ConfigError, match="one worker each"):
        train_many(config, tmp_path / "runs", [0], [0])

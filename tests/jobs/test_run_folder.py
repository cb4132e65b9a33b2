"""A run's folder: what it holds, what it refuses, and what a path to a model means."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pertcast.training.bundle import find_bundle
from pertcast_data.errors import ConfigError
from pertcast_jobs.environment import describe_environment, environment_hash
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import (
    RunFolder,
    RunManifest,
    code_version,
    git_revision,
    now,
)

CONFIG = RunConfig.model_validate({"model": {"name": "train_mean"}})


def manifest(**changes: object) -> RunManifest:
    facts = {
        "created": now(),
        "code_version": code_version(),
        "git_revision": git_revision(),
        "model": "train_mean",
        "seed": 0,
        "data_hash": "d" * 8,
        "split_hash": "s" * 8,
        "split_kind": "random",
        "fold": 0,
        "environment": describe_environment(),
        "environment_hash": environment_hash(describe_environment()),
        "launcher": "in_process",
        "engine": "torch",
        "world_size": 1,
    }
    return RunManifest.model_validate({**facts, **changes})


def test_a_run_gives_back_its_configuration_and_facts(tmp_path: Path) -> None:
    facts = manifest()
    RunFolder.create(tmp_path / "run", CONFIG, facts)
    run = RunFolder.open(tmp_path / "run")
    assert run.config() == CONFIG
    assert run.manifest() == facts
    assert not run.is_done


def test_an_existing_run_is_refused_with_the_remedy_and_left_as_it_was(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", CONFIG, manifest(seed=1))
    before = run.manifest_path.read_bytes()
    with pytest.raises(ConfigError, match="--resume"):
        RunFolder.create(tmp_path / "run", CONFIG, manifest(seed=2))
    assert run.manifest_path.read_bytes() == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is not empty"):
        RunFolder.create(tmp_path, CONFIG, manifest())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, CONFIG, manifest()).manifest().status == "running"


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", CONFIG, manifest())
    run.manifest_path.write_text('{"format": "pertcast-run"}')
    with pytest.raises(ConfigError, match=r"run\.json cannot be read"):
        run.manifest()


def test_a_run_is_done_once_its_bundle_is_there(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", CONFIG, manifest(status="done"))
    assert not run.is_done
    run.bundle_path.mkdir()
    (run.bundle_path / "bundle.json").write_text("{}")
    assert run.is_done
    assert find_bundle(run.path) == run.bundle_path


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run"):
        RunFolder.open(tmp_path)
    with pytest.raises(ConfigError, match="absent: no such folder"):
        RunFolder.open(tmp_path / "absent")


def test_the_revision_is_the_checkouts(repository: Path) -> None:
    git = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    if git.returncode:
        assert git_revision() is None
    else:
        assert (git_revision() or "").removesuffix("+changes") == git.stdout.strip()


def test_the_environment_names_what_decides_the_numbers() -> None:
    packages = describe_environment()["packages"]
    assert all(packages[name] for name in ("torch", "deepspeed", "ray", "numpy"))

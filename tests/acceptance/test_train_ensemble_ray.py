"""An ensemble whose members train beside each other on Ray is the one that is trained in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pertcast.torch_threads import torch_threads
from pertcast.training.bundle import find_bundle, load_bundle_files
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train.ensemble import train_ensembles
from small_screen import make_screen

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]


def test_members_beside_each_other_make_the_same_ensemble(tmp_path: Path, ray_cluster: Any) -> None:
    words = [*make_screen(tmp_path).overrides, "train.epochs=2"]
    on_ray = load_config("response_mlp", [*words, "cluster.launcher=ray", "cluster.cpus_per_worker=1"])
    beside = train_ensembles(on_ray, tmp_path / "beside", [0], 2)
    assert not beside.members.failed
    with torch_threads(1):
        train_ensembles(load_config("response_mlp", words), tmp_path / "alone", [0], 2)
    one, other = (load_bundle_files(find_bundle(tmp_path / name)) for name in ("beside", "alone"))
    assert list(one.members) == list(other.members) == ["seed0", "seed1"]
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)

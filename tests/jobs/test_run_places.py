"""`@place` on the command line: where any configuration trains, shipped or one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.run_config import load_config, load_sweep, shipped_configs, shipped_places

FAMILIES = ("latent_diffusion", "module_flow", "multiplex_network", "response_mlp")


@pytest.mark.parametrize("place", sorted(shipped_places()))
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_in_every_shipped_place(family: str, place: str) -> None:
    config = load_config(family, [f"@{place}"])
    assert config.model == load_config(family).model
    micro = config.train.micro_batch_size(config.cluster.num_workers)
    assert micro * config.cluster.num_workers * config.train.accumulate == config.train.batch_size


def test_a_place_says_only_where_and_how_big() -> None:
    before = load_config("latent_diffusion").model_dump()
    for place in shipped_places():
        after = load_config("latent_diffusion", [f"@{place}"]).model_dump()
        changed = {section for section in before if before[section] != after[section]}
        assert changed <= {"train", "cluster"}


def test_what_follows_a_place_wins_and_what_came_before_stays(tmp_path: Path) -> None:
    own = tmp_path / "ours.yaml"
    own.write_text("cluster: {launcher: ray, num_workers: 4}\ntrain: {engine: {name: deepspeed}}\n")
    config = load_config(
        "response_mlp", ["train.engine.zero_stage=2", f"@{own}", "cluster.num_workers=2", "train.seed=3"]
    )
    assert (config.cluster.launcher, config.cluster.num_workers) == ("ray", 2)
    assert (config.train.engine.name, config.train.engine.zero_stage) == ("deepspeed", 2)
    assert config.train.seed == 3


def test_an_unknown_place_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"@node_8gpus is neither .*@node_8gpu"):
        load_config("response_mlp", ["@node_8gpus"])


def test_an_unknown_key_of_a_place_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "ours.yaml"
    own.write_text("cluster: {num_worker: 4}\n")
    with pytest.raises(
        ConfigError, match=r"unknown key cluster.num_worker\. Did you mean cluster.num_workers"
    ):
        load_config("response_mlp", [f"@{own}"])


def test_sweeps_take_places_too() -> None:
    assert all(
        load_sweep(name, ["@cpu"]).cluster.launcher == "ray" for name in shipped_configs() if "sweep" in name
    )

"""A run trains from a store in a bucket as from a local one; its configuration holds the location."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import storage_places as places
from pertcast_data.errors import ConfigError
from pertcast_data.storage.publish import publish_store
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.run_config import load_config
from pertcast_jobs.run_config.schema import DataConfig
from pertcast_jobs.run_folder import RunFolder

server, bucket = places.server, places.bucket


def test_a_location_passes_the_configuration_as_it_is(small_screen: Any) -> None:
    data = DataConfig(store="s3://bucket/atlas", split=small_screen.split)
    store, split = data.require()
    assert (str(store), split) == ("s3:/bucket/atlas", small_screen.split)
    with pytest.raises(ConfigError, match="'http' is not supported"):
        DataConfig(store="http://host/atlas", split=small_screen.split).require()
    with pytest.raises(ConfigError, match=r"data\.split: s3:/bucket/split\.json does not exist"):
        DataConfig(store=small_screen.store, split="s3://bucket/split.json").require()


@pytest.mark.acceptance
def test_training_from_a_bucket_gives_the_weights_of_training_from_the_folder(
    small_screen: Any, bucket: str, tmp_path: Path
) -> None:
    torch = importlib.import_module("torch")
    bundles = importlib.import_module("pertcast.training.bundle")
    publish_store(small_screen.store, f"{bucket}/atlas")
    weights = {}
    for name, store in (("near", str(small_screen.store)), ("far", f"{bucket}/atlas")):
        words = ["train", "response_mlp", f"data.store={store}", f"data.split={small_screen.split}"]
        words += ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]
        words += ["train.batch_size=32", "train.epochs=2", "--out", str(tmp_path / name)]
        assert pertcast(words) == 0
        weights[name] = bundles.load_bundle_files(bundles.find_bundle(tmp_path / name)).weights
    assert all(torch.equal(weights["near"][key], weights["far"][key]) for key in weights["near"])
    assert str(RunFolder.open(tmp_path / "far").config().data.store) == f"{bucket}/atlas".replace("//", "/")
    assert pertcast(["evaluate", str(tmp_path / "far"), "--out", str(tmp_path / "report")]) == 0
    assert load_config("response_mlp", [f"data.store={bucket}/atlas"]).data.store is not None

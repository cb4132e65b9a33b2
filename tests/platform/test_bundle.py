"""A bundle comes back as it was, and one wrong bit anywhere is refused."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import training_toys as toys
from pertcast.training.bundle import (
    BundleFacts,
    build_model,
    load_bundle_files,
    save_bundle,
)
from pertcast.training.bundle_manifest import TENSOR_FILES
from pertcast.training.bundle_metrics import add_metrics
from pertcast_data.errors import ConfigError, CorruptBundle

ENCODER = ({"blocks": ["morgan"], "bits": 8}, {"loadings": np.arange(6, dtype=np.float32).reshape(2, 3)})
BASAL = (
    {"contexts": ["A"]},
    {"mean": np.eye(2), "is_known": np.array([True, False]), "none": np.zeros((0, 3))},
)


def write(path: Path, **facts: object) -> Path:
    model = toys.toy_model(hidden=4)
    model.mean.fill_(0.5)
    return save_bundle(
        path,
        model_name="toy",
        model=model,
        conditions=toys.toy_conditions(),
        encoder_state=ENCODER,
        basal_state=BASAL,
        facts=BundleFacts(
            data_hash="d1", split_hash="s1", measure="expression", normalisation="counts", **facts
        ),
    )


def test_a_bundle_comes_back_as_it_was(tmp_path: Path) -> None:
    files = load_bundle_files(write(tmp_path / "b", metrics={"mse": 0.25, "r2": float("nan")}))
    assert files.model_name == "toy"
    assert files.model_config["hidden"] == 4
    assert files.space == toys.toy_space()
    for found, given in ((files.encoder_state, ENCODER), (files.basal_state, BASAL)):
        assert found[0] == given[0]
        assert found[1].keys() == given[1].keys()
        for name, array in given[1].items():
            assert found[1][name].dtype == array.dtype
            np.testing.assert_array_equal(found[1][name], array)
    for field in fields(files.conditions):
        assert torch.equal(getattr(files.conditions, field.name), getattr(toys.toy_conditions(), field.name))
    assert files.facts.metrics == {"mse": 0.25, "r2": None}
    assert (files.facts.data_hash, files.facts.fold) == ("d1", None)


def test_a_model_built_from_a_bundle_predicts_what_the_saved_one_does(tmp_path: Path) -> None:
    saved = toys.toy_model(hidden=4).eval()
    model = build_model(load_bundle_files(write(tmp_path / "b")), models=toys.TOY_MODELS)
    basal = toys.toy_rows(5).basal
    assert not model.training
    assert torch.equal(model.mean, torch.full((toys.N_GENES,), 0.5))
    with torch.no_grad():
        ours = model.predict(toys.toy_conditions(5), basal).mean
        theirs = saved.predict(toys.toy_conditions(5), basal).mean
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", [*TENSOR_FILES, "bundle.json"])
@pytest.mark.parametrize("fault", ["flipped first", "flipped middle", "flipped last", "truncated", "missing"])
def test_one_wrong_byte_anywhere_is_refused(tmp_path: Path, name: str, fault: str) -> None:
    path = write(tmp_path / "b") / name
    content = bytearray(path.read_bytes())
    if fault == "missing":
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(content[:-2])
    else:
        at = {"flipped first": 0, "flipped middle": len(content) // 2, "flipped last": len(content) - 2}[
            fault
        ]
        content[at] ^= 1
        path.write_bytes(content)
    with pytest.raises(CorruptBundle, match=name):
        load_bundle_files(path.parent)


def test_held_out_metrics_are_added_without_touching_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "b", metrics={"mse": 1.0, "kept": 2.0})
    before = load_bundle_files(path)
    add_metrics(path, {"mse": 0.5, "r2": None})
    after = load_bundle_files(path)
    assert after.facts.metrics == {"mse": 0.5, "kept": 2.0, "r2": None}
    assert after.content_hash == before.content_hash
    assert load_bundle_files(write(tmp_path / "other", seed=1)).content_hash != before.content_hash


def test_writing_again_replaces_a_bundle_but_never_another_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "b")
    write(path, licence="CC-BY-4.0")
    assert load_bundle_files(path).facts.licence == "CC-BY-4.0"
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("words")
    with pytest.raises(ConfigError, match="not a bundle"):
        write(precious)
    assert (precious / "thesis.txt").read_text() == "words"


def test_a_failed_write_leaves_the_earlier_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "b", licence="first")
    monkeypatch.setitem(ENCODER[0], "not json", object())
    with pytest.raises(TypeError):
        write(path, licence="second")
    assert load_bundle_files(path).facts.licence == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_is_no_bundle_and_a_later_format_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CorruptBundle, match="is missing"):
        load_bundle_files(tmp_path)
    path = write(tmp_path / "b")
    manifest = path / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": 2}))
    with pytest.raises(CorruptBundle, match="format version 2"):
        load_bundle_files(path)


def test_weights_that_do_not_fit_their_configuration_are_refused(tmp_path: Path) -> None:
    files = load_bundle_files(write(tmp_path / "b"))
    files.model_config["hidden"] = 5
    with pytest.raises(CorruptBundle, match="do not fit"):
        build_model(files, models=toys.TOY_MODELS)
    with pytest.raises(CorruptBundle, match="'toy', which is not registered"):
        build_model(files)


def test_no_file_of_a_bundle_is_a_pickle(tmp_path: Path) -> None:
    path = write(tmp_path / "b")
    assert sorted(entry.name for entry in path.iterdir()) == sorted([*TENSOR_FILES, "bundle.json"])
    for name in TENSOR_FILES:
        header = (path / name).read_bytes()
        assert json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")]) is not None

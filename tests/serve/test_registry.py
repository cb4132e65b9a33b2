"""Which bundle answers to a name: versions, links that are turned, damage, and what is said of all of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from bundle_copies import changed_copy, point
from pertcast.predictor import Predictor
from pertcast.training.bundle_manifest import read_manifest
from pertcast.training.bundle_metrics import add_metrics
from pertcast_serve.config import ServeConfig
from pertcast_serve.prediction.described import DescribedBundle
from pertcast_serve.prediction.registry import KEPT_VERSIONS, ModelRegistry, ServedModel, version_gone
from pertcast_serve.schemas.base import Problem


@pytest.fixture
def linked(tiny_bundle: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return a link to one bundle, that bundle, and another one."""
    first = tmp_path / "first"
    shutil.copytree(tiny_bundle, first)
    second = changed_copy(tiny_bundle, tmp_path / "second")
    link = tmp_path / "served"
    link.symlink_to(first)
    return link, first, second


def resolved(registry: ModelRegistry, asked: str | None = None) -> ServedModel:
    found = registry.resolve(asked)
    assert isinstance(found, ServedModel)
    return found


def test_a_version_is_the_beginning_of_the_bundles_hash(tiny_bundle: Path) -> None:
    registry = ModelRegistry({"main": tiny_bundle, "other": tiny_bundle})
    bundle = Predictor.from_bundle(tiny_bundle).bundle.content_hash
    served = resolved(registry)
    assert served == resolved(registry, "main") == resolved(registry, f"main@{bundle[:12]}")
    assert (served.id, served.path) == (f"main@{bundle[:12]}", str(tiny_bundle.resolve()))
    assert resolved(registry, "other").id == f"other@{bundle[:12]}"


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [("mian", "Nearest known: main"), ("main@0123", "Ask for main@"), ("@", "/v1/models")],
)
def test_an_unknown_name_or_version_is_a_404_that_names_the_nearest(
    tiny_bundle: Path, asked: str, remedy: str
) -> None:
    found = ModelRegistry({"main": tiny_bundle}).resolve(asked)
    assert isinstance(found, Problem)
    assert found.status == 404
    assert remedy in found.detail


def test_a_turned_link_waits_until_its_bundle_is_loaded_and_the_old_version_keeps_its_name(
    linked: tuple[Path, Path, Path],
) -> None:
    link, first, second = linked
    registry = ModelRegistry({"main": link})
    old = resolved(registry)
    assert registry.look() == []
    point(link, second)
    (waiting,) = registry.look()
    assert waiting.path == str(second.resolve())
    assert resolved(registry) == old, "nobody has loaded the new one yet"
    assert registry.look() == [waiting], "it waits until it is promoted or refused"
    registry.promote(waiting)
    assert resolved(registry) == waiting
    assert resolved(registry, old.id).path == str(first.resolve())
    assert registry.look() == []


def test_a_refused_bundle_leaves_the_old_one_and_is_tried_again_when_it_changes(
    linked: tuple[Path, Path, Path],
) -> None:
    link, _, second = linked
    registry = ModelRegistry({"main": link})
    old = resolved(registry)
    point(link, second)
    registry.refuse(registry.look()[0], "weights are damaged")
    assert registry.look() == []
    assert resolved(registry) == old
    assert registry.current()[0][2] == "weights are damaged"
    os.utime(second / "weights.safetensors")
    (again,) = registry.look()
    registry.promote(again)
    assert resolved(registry) == again
    assert registry.current()[0][2] == ""


@pytest.mark.parametrize("content", ["{", "{}", None])
def test_a_damaged_or_missing_manifest_leaves_the_old_bundle_and_says_so(
    linked: tuple[Path, Path, Path], content: str | None
) -> None:
    link, first, second = linked
    registry = ModelRegistry({"main": link})
    old = resolved(registry)
    if content is None:
        (second / "bundle.json").unlink()
    else:
        (second / "bundle.json").write_text(content)
    point(link, second)
    assert registry.look() == []
    assert resolved(registry) == old
    assert registry.current()[0][2]
    assert str(link.parent) not in registry.current()[0][2], "where it lies is told to no one"
    point(link, first)
    assert registry.look() == []
    assert registry.current()[0][2] == "", "the link is back"


def test_why_a_bundle_cannot_be_loaded_is_told_without_its_place(linked: tuple[Path, Path, Path]) -> None:
    link, _, second = linked
    registry = ModelRegistry({"main": link})
    point(link, second)
    (newer,) = registry.look()
    reason = f"{newer.path}/weights.safetensors is damaged. Copy it again."
    registry.refuse(newer, reason)
    told = [registry.current()[0][2], version_gone(newer, reason).detail]
    for text in told:
        assert f"{newer.id}/weights.safetensors is damaged" in text
        assert str(second.parent) not in text


def test_metrics_that_are_added_later_are_told_without_a_new_version(
    linked: tuple[Path, Path, Path],
) -> None:
    link, first, _ = linked
    registry = ModelRegistry({"main": link})
    add_metrics(first, {"later": 0.5})
    assert registry.look() == []
    found = registry.describe(None)
    assert not isinstance(found, Problem)
    assert found[1].facts.metrics["later"] == 0.5


def test_only_the_last_versions_are_remembered(tiny_bundle: Path, tmp_path: Path) -> None:
    link = tmp_path / "served"
    link.symlink_to(tiny_bundle)
    registry = ModelRegistry({"main": link})
    seen = [resolved(registry)]
    for number in range(KEPT_VERSIONS + 2):
        point(link, changed_copy(tiny_bundle, tmp_path / f"copy{number}", 2.0 + number))
        (waiting,) = registry.look()
        registry.promote(waiting)
        seen.append(waiting)
    assert isinstance(registry.resolve(seen[0].id), Problem)
    assert [resolved(registry, each.id) for each in seen[-KEPT_VERSIONS:]] == seen[-KEPT_VERSIONS:]


def test_what_is_said_of_a_bundle_is_what_its_predictor_knows(tiny_bundle: Path) -> None:
    predictor = Predictor.from_bundle(tiny_bundle)
    described = DescribedBundle.of(read_manifest(tiny_bundle))
    assert described.space == predictor.space
    assert described.bundle == predictor.bundle.content_hash
    known = described.vocabulary
    assert (*known.targets, *known.compounds) == predictor.space.perturbations
    assert known.compounds[0].startswith("drug-")
    assert known.targets[0].startswith("GENE")
    assert known.smiles[known.compounds.index("drug-1")] == "CCN"
    assert (known.doses, known.times) == ([1.0, 10.0], [24.0])
    metadata = described.metadata("mine", "1.2.3", {"conditions": 256}, (1, 8))
    assert (metadata.family, metadata.title, metadata.version) == ("response_mlp", "Residual MLP", "1.2.3")
    assert metadata.model == f"mine@{metadata.bundle[:12]}"
    assert metadata.cell_lines == ["A375", "HT29"]
    assert metadata.held_out_metrics == {"pearson_delta": 0.25, "undefined": None}
    card = described.card("mine", is_default=True)
    assert (card.licence, card.normalisation, card.is_default) == ("CC0-1.0", "log2_intensity", True)
    assert card.config == predictor.bundle.model_config
    assert ServeConfig(models={"mine": tiny_bundle}).limits.conditions == 256

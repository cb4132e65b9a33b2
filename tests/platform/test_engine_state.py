"""One state for all engines: what any of them saved, any other continues, on one rank or two."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_toys as toys
import pytest
import torch
from pertcast.torch_threads import torch_threads
from pertcast.training.config import EngineConfig
from pertcast.training.engines import state as engine_state
from pertcast.training.engines.state import INDEX_FILE
from pertcast_data.errors import CorruptBundle

ENGINES = tuple(toys.ENGINES)
TWO_RANK_ENGINES = toys.TWO_RANK_ENGINES
PAIRS = [
    *((source, target, "one") for source, target in itertools.product(ENGINES, ENGINES)),
    *((source, target, "two") for source, target in itertools.product(TWO_RANK_ENGINES, ENGINES)),
]
TWO_RANK_PAIRS = list(itertools.product(TWO_RANK_ENGINES, TWO_RANK_ENGINES, ("one", "two")))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder with what each engine saved after three steps on one rank and on two, and what followed."""
    folder = tmp_path_factory.mktemp("states")
    facts: dict[str, Any] = {}
    with torch_threads(1):
        for name in ENGINES:
            model, engine = toys.start_engine(name)
            facts[f"{name}: begun alone"] = toys.take_steps(engine, 0, 3)
            toys.save_engine(model, engine, folder / f"one-{name}")
            facts[f"{name}: undisturbed alone"] = toys.take_steps(engine, 3, 6)
            engine.close()
    toys.start_two_ranks(folder, "two_rank_states")
    return folder, facts | json.loads((folder / "facts.json").read_text())


def assert_states_equal(ours: Path, theirs: Path) -> None:
    found, expected = toys.whole_state(ours), toys.whole_state(theirs)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    steps = [json.loads((folder / INDEX_FILE).read_text())["steps"] for folder in (ours, theirs)]
    assert steps == [3, 3]
    averaged = [torch.load(folder / "model.pt", weights_only=True) for folder in (ours, theirs)]
    assert all(torch.equal(averaged[0][key], averaged[1][key]) for key in averaged[1])


def assert_close(found: list[dict[str, float]], expected: list[dict[str, float]], rel: float = 1e-5) -> None:
    for ours, theirs in zip(found, expected, strict=False):
        assert ours == pytest.approx(theirs, rel=rel)


@pytest.mark.parametrize(("source", "target", "ranks"), PAIRS)
def test_what_one_engine_saved_any_other_continues_on_one_rank(
    states: tuple[Path, dict[str, Any]], tmp_path: Path, source: str, target: str, ranks: str
) -> None:
    folder, facts = states
    saved = folder / f"{ranks}-{source}"
    model, engine = toys.resume_engine(target, saved)
    try:
        toys.save_engine(model, engine, tmp_path / "again")
        assert_states_equal(tmp_path / "again", saved)
        found = toys.take_steps(engine, 3, 6)
    finally:
        engine.close()
    undisturbed = facts[f"{source}: undisturbed alone"]
    assert_close(found, undisturbed)
    if source == target and ranks == "one":
        assert found == undisturbed, "bit for bit, where nothing changed"


@pytest.mark.parametrize(("source", "target", "ranks"), TWO_RANK_PAIRS)
def test_what_one_engine_saved_any_other_continues_on_two_ranks(
    states: tuple[Path, dict[str, Any]], source: str, target: str, ranks: str
) -> None:
    folder, facts = states
    assert_states_equal(folder / f"again-{ranks}-{source}-{target}", folder / f"{ranks}-{source}")
    found = facts[f"{ranks} {source} to {target}"]
    undisturbed = facts[f"{source}: undisturbed"]
    assert_close(found, undisturbed)
    if source == target and ranks == "two":
        assert found == undisturbed[: len(found)], "bit for bit, where nothing changed"


@pytest.mark.parametrize("name", ENGINES)
def test_losses_norms_and_rates_are_those_of_torch_alone(
    states: tuple[Path, dict[str, Any]], name: str
) -> None:
    _, facts = states
    for part in ("begun", "undisturbed"):
        assert_close(facts[f"{name}: {part} alone"], facts[f"torch: {part} alone"])
        if name in TWO_RANK_ENGINES:
            assert_close(facts[f"{name}: {part}"], facts[f"torch: {part} alone"])


@pytest.mark.parametrize("settings", toys.SETTINGS)
@pytest.mark.parametrize("name", ENGINES)
def test_precision_micro_batches_and_clipping_mean_the_same_to_every_engine(name: str, settings: str) -> None:
    expected, their_weights = toys.first_steps("torch", settings)
    found, weights = toys.first_steps(name, settings)
    assert_close(found, expected)
    for ours, theirs in zip(weights, their_weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", toys.SETTINGS)
@pytest.mark.parametrize("name", TWO_RANK_ENGINES)
def test_precision_micro_batches_and_clipping_mean_the_same_on_two_ranks(
    states: tuple[Path, dict[str, Any]], name: str, settings: str
) -> None:
    _, facts = states
    assert_close(facts[f"{name}: {settings}"], facts[f"torch: {settings}"])
    alone, _ = toys.first_steps("torch", settings)
    assert_close(facts[f"{name}: {settings}"], alone, rel=2e-3 if "bf16" in settings else 1e-5)


def test_every_rank_writes_a_like_share_of_the_state(states: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = states
    for name in TWO_RANK_ENGINES:
        sizes = [path.stat().st_size for path in (folder / f"two-{name}").glob("engine-*.safetensors")]
        assert len(sizes) == 2
        assert max(sizes) < 1.6 * min(sizes)


def test_a_state_in_many_small_files_is_the_same_state(
    states: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = states
    model, engine = toys.resume_engine("torch", folder / "one-torch")
    monkeypatch.setattr(engine_state, "PART_VALUES", 10)
    toys.save_engine(model, engine, tmp_path)
    assert len(list(tmp_path.glob("engine-*.safetensors"))) == 10
    assert_states_equal(tmp_path, folder / "one-torch")
    again, resumed = toys.resume_engine("zero3", tmp_path)
    toys.save_engine(again, resumed, tmp_path / "sharded")
    resumed.close()
    assert_states_equal(tmp_path / "sharded", folder / "one-torch")


def test_an_engine_that_took_no_step_can_be_saved_and_loaded(tmp_path: Path) -> None:
    model, engine = toys.start_engine("zero2")
    toys.save_engine(model, engine, tmp_path)
    engine.close()
    _, resumed = toys.resume_engine("torch", tmp_path)
    _, expected = toys.start_engine("torch")
    assert toys.take_steps(resumed, 0, 2) == toys.take_steps(expected, 0, 2)


def _remove(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_remove, _truncate, _empty])
@pytest.mark.parametrize(
    "name", [INDEX_FILE, "engine-00000-0000.safetensors", "engine-00001-0000.safetensors"]
)
def test_a_missing_or_damaged_part_is_refused_by_name(
    states: tuple[Path, dict[str, Any]], tmp_path: Path, name: str, damage: Any
) -> None:
    folder, _ = states
    broken = tmp_path / "broken"
    shutil.copytree(folder / "two-zero1", broken)
    damage(broken / name)
    with pytest.raises(CorruptBundle, match=r"broken.*Remove this checkpoint"):
        toys.resume_engine("torch", broken)


def test_the_state_of_another_model_is_refused(tmp_path: Path, states: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = states
    _, engine = toys.start_engine("torch")
    index = json.loads((folder / "one-torch" / INDEX_FILE).read_text())
    index["parameters"]["net.0.bias"] = [8]
    shutil.copytree(folder / "one-torch", tmp_path / "other")
    (tmp_path / "other" / INDEX_FILE).write_text(json.dumps(index))
    with pytest.raises(CorruptBundle, match=r"net\.0\.bias differ"):
        engine.load(tmp_path / "other")


def test_offloading_is_refused_where_there_is_nothing_to_offload() -> None:
    with pytest.raises(ValueError, match=r"need engine\.name=deepspeed"):
        EngineConfig(offload="optimiser")
    with pytest.raises(ValueError, match=r"needs engine\.zero_stage 1, 2 or 3"):
        EngineConfig(name="deepspeed", offload="optimiser")
    with pytest.raises(ValueError, match=r"needs engine\.zero_stage=3.*or offload=optimiser"):
        EngineConfig(name="deepspeed", zero_stage=2, offload="optimiser_and_parameters")

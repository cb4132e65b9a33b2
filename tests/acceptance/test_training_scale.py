"""Three families on every engine, ZeRO stage and number of workers: one training, whoever computes it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import training_scale_work as work

pytestmark = pytest.mark.acceptance

LOSSES_AGREE = 1e-4
"""Largest difference of a loss at any step, relative where the loss is above 1, absolute below; float32."""
WEIGHTS_AGREE = 1e-5
"""Largest difference of a weight or a loss after a training was taken up by others, likewise."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what one worker and two gloo workers trained, all in one start of each."""
    folder = tmp_path_factory.mktemp("scale")
    work.make_data(folder)
    (folder / "found").mkdir()
    ranks = [(rank, size) for size in work.WORLD_SIZES for rank in range(size)]
    started = [
        subprocess.Popen([sys.executable, work.__file__, str(folder), str(rank), str(size)])
        for rank, size in ranks
    ]
    deadline = time.monotonic() + 1_700
    try:
        while any(process.poll() is None for process in started):
            assert all(process.poll() in (None, 0) for process in started), "a worker failed: see its words"
            assert time.monotonic() < deadline
            time.sleep(0.5)
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert all(process.returncode == 0 for process in started)
    return folder / "found"


def trained(
    found: Path, family: str, engine: str, world_size: int, accumulate: int = 1, crosses: bool = False
) -> dict[str, Any]:
    crosses = crosses and work.CROSSING[family] != work.APART[family]
    name = work.Training(family, engine, world_size, accumulate, crosses).name
    result: dict[str, Any] = torch.load(found / f"{name}.pt")
    return result


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference, relative where the value is above 1, absolute below."""
    return float(((ours - theirs).abs() / theirs.abs().clamp(min=1)).max())


def losses(training: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return every loss term of every stage, in training and validation, (steps,) float64 each."""
    columns: dict[str, list[float]] = {}
    for step in training["steps"]:
        for term in step.keys() - {"stage", "step"}:
            columns.setdefault(f"{step['stage']}.{term}", []).append(step[term])
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in columns.items()}


def losses_differ(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    assert [(step["stage"], step["step"]) for step in ours["steps"]] == [
        (step["stage"], step["step"]) for step in theirs["steps"]
    ]
    expected = losses(theirs)
    assert expected.keys() == losses(ours).keys()
    return max(difference(values, expected[name]) for name, values in losses(ours).items())


def in_training(training: dict[str, Any]) -> dict[str, Any]:
    """Leave out validations, whose rows are dealt to ranks without a thought for micro-batches."""
    return training | {"steps": [step for step in training["steps"] if "loss" in step]}


def weights_differ(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    assert ours["weights"].keys() == theirs["weights"].keys()
    return max(difference(value, theirs["weights"][name]) for name, value in ours["weights"].items())


def tell(told: Any, family: str, what: str, losses: float, weights: float) -> None:
    with told.disabled():
        print(f"\n{family:18s} {what:46s} losses {losses:.1e}  weights {weights:.1e}", end="", flush=True)


@pytest.mark.parametrize("family", work.FAMILIES)
@pytest.mark.parametrize("world_size", work.WORLD_SIZES)
def test_every_engine_and_stage_has_the_losses_of_torch(
    found: Path, capsys: pytest.CaptureFixture[str], family: str, world_size: int
) -> None:
    expected = trained(found, family, "torch", world_size, crosses=True)
    assert len(expected["steps"]) >= 15
    assert any("validation loss" in step for step in expected["steps"])
    worst = 0.0
    for engine in work.ENGINES[1:]:
        ours = trained(found, family, engine, world_size, crosses=True)
        by = losses_differ(ours, expected)
        what = f"{engine} against torch, workers: {world_size}"
        tell(capsys, family, what, by, weights_differ(ours, expected))
        worst = max(worst, by)
    assert worst < LOSSES_AGREE


@pytest.mark.parametrize("family", work.FAMILIES)
def test_two_workers_have_the_losses_of_one(
    found: Path, capsys: pytest.CaptureFixture[str], family: str
) -> None:
    worst = 0.0
    for engine in work.ENGINES:
        one, two = (trained(found, family, engine, world_size) for world_size in work.WORLD_SIZES)
        by = losses_differ(two, one)
        tell(capsys, family, f"{engine}, 2 workers against 1", by, weights_differ(two, one))
        worst = max(worst, by)
    assert worst < LOSSES_AGREE


@pytest.mark.parametrize("family", work.FAMILIES)
@pytest.mark.parametrize("world_size", work.WORLD_SIZES)
def test_two_micro_batches_have_the_losses_of_one_batch(
    found: Path, capsys: pytest.CaptureFixture[str], family: str, world_size: int
) -> None:
    worst = 0.0
    for engine in ("torch", "zero2"):
        ours = trained(found, family, engine, world_size, accumulate=2)
        expected = trained(found, family, engine, world_size)
        by = losses_differ(ours, expected)
        what = f"{engine}, 2 micro-batches against 1, workers: {world_size}"
        tell(capsys, family, what, by, weights_differ(ours, expected))
        worst = max(worst, by)
    assert worst < LOSSES_AGREE


def test_terms_that_compare_rows_of_one_rank_agree_where_as_many_rows_are_taken_at_a_time(
    found: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two, micro_batches, whole = (
        in_training(trained(found, "module_flow", "torch", *shape, crosses=True))
        for shape in ((2, 1), (1, 2), (1, 1))
    )
    by, weights = losses_differ(two, micro_batches), weights_differ(two, micro_batches)
    tell(capsys, "module_flow", "all terms, 2 workers against 2 micro-batches", by, weights)
    assert by < LOSSES_AGREE
    assert losses_differ(two, whole) > LOSSES_AGREE, "they do cross the rows of a rank, as the docs say"


@pytest.mark.parametrize("family", work.FAMILIES)
@pytest.mark.parametrize("begun_with", work.WORLD_SIZES)
def test_a_training_resumed_on_another_number_of_workers_and_engine_ends_with_the_undisturbed_weights(
    found: Path, capsys: pytest.CaptureFixture[str], family: str, begun_with: int
) -> None:
    worst = 0.0
    for engine, after in work.RESUMED[begun_with].items():
        ours = torch.load(found / f"{family}-{engine}-from-{begun_with}-resumed.pt")
        name = work.Training(family, engine, begun_with, validates=False).name
        undisturbed = torch.load(found / f"{name}.pt")
        assert 0 < ours["resumed_at"] < undisturbed["steps"][-1]["step"]
        rest = [step for step in undisturbed["steps"] if step["step"] > ours["resumed_at"]]
        by = weights_differ(ours, undisturbed)
        losses = losses_differ(ours, undisturbed | {"steps": rest})
        what = f"{engine} on {begun_with}, from step {ours['resumed_at']} on {after} on {3 - begun_with}"
        tell(capsys, family, what, losses, by)
        worst = max(worst, by, losses)
    assert worst < WEIGHTS_AGREE

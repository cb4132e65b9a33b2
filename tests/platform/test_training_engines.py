"""Engines agree: DeepSpeed with PyTorch at every ZeRO stage, two ranks with one, resumed with undisturbed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import training_toys as toys
from pertcast.torch_threads import torch_threads
from pertcast.training.config import EngineConfig
from pertcast.training.engines.deepspeed_config import deepspeed_config
from pertcast.training.fit import fit
from pertcast_data.errors import ConfigError
from torch import distributed as dist

LINEAR = torch.nn.functional.linear


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what two gloo ranks trained, all in one start."""
    folder = tmp_path_factory.mktemp("two_ranks")
    script = Path(__file__).with_name("training_toys.py")
    ranks = [subprocess.Popen([sys.executable, str(script), str(rank), str(folder)]) for rank in range(2)]
    deadline = time.monotonic() + 240
    try:
        assert [process.wait(max(1.0, deadline - time.monotonic())) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    return folder


def trained(**settings: Any) -> tuple[Any, list[float], dict[str, float]]:
    losses: list[float] = []
    model = toys.toy_model(dropout=0.0)
    config = toys.toy_train_config(log_every_steps=1, **settings)
    data = toys.toy_data(config.micro_batch_size())
    result = fit(model, data, config, report=lambda r: losses.extend(_loss(r)))
    return model, losses, dict(result.validation)


def _loss(report: Any) -> list[float]:
    return [report.losses["loss"]] if report.kind == "steps" else []


def read(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    return json.loads((folder / f"{name}.json").read_text()), torch.load(folder / f"{name}.pt")


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_deepspeed_in_this_process_trains_as_torch_does(zero_stage: int) -> None:
    expected, losses, validation = trained()
    engine = EngineConfig(name="deepspeed", zero_stage=zero_stage)
    model, found, their_validation = trained(engine=engine)
    assert found == pytest.approx(losses, rel=1e-4)
    assert their_validation["loss"] == pytest.approx(validation["loss"], rel=1e-4)
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not dist.is_initialized(), "the process group it opened is closed again"
    assert torch.nn.functional.linear is LINEAR, (
        "later stages differentiate forward, which DeepSpeed's cannot"
    )


def test_deepspeed_accumulates_and_mixes_precision() -> None:
    _, losses, _ = trained(accumulate=2)
    _, found, _ = trained(accumulate=2, engine=EngineConfig(name="deepspeed", zero_stage=1))
    assert found == pytest.approx(losses, rel=1e-4)
    mixed, found, _ = trained(precision="bf16", engine=EngineConfig(name="deepspeed", zero_stage=2))
    assert found == pytest.approx(losses, rel=0.05)
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_deepspeed_resumes_to_bit_equal_weights(tmp_path: Path, zero_stage: int) -> None:
    engine = EngineConfig(name="deepspeed", zero_stage=zero_stage)
    config = toys.toy_train_config(log_every_steps=1, engine=engine)

    def halt(report: Any) -> None:
        if report.global_step == 13:
            raise toys.Halt

    undisturbed, resumed = toys.toy_model(), toys.toy_model()
    fit(undisturbed, toys.toy_data(), config)
    with pytest.raises(toys.Halt):
        fit(toys.toy_model(), toys.toy_data(), config, tmp_path, report=halt)
    result = fit(resumed, toys.toy_data(), config, tmp_path)
    assert result.resumed_from.global_step == 10
    theirs = resumed.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in undisturbed.state_dict().items())


def test_a_run_resumes_with_another_engine_and_other_micro_batches(tmp_path: Path) -> None:
    def halt(report: Any) -> None:
        if report.global_step == 13:
            raise toys.Halt

    undisturbed, losses, validation = trained()
    with pytest.raises(toys.Halt):
        fit(
            toys.toy_model(dropout=0.0),
            toys.toy_data(),
            toys.toy_train_config(log_every_steps=1),
            tmp_path,
            report=halt,
        )
    found: list[float] = []
    config = toys.toy_train_config(
        log_every_steps=1, accumulate=2, engine=EngineConfig(name="deepspeed", zero_stage=3)
    )
    resumed = toys.toy_model(dropout=0.0)
    data = toys.toy_data(config.micro_batch_size())
    result = fit(resumed, data, config, tmp_path, report=lambda r: found.extend(_loss(r)))
    assert result.resumed_from.global_step == 10
    assert found == pytest.approx(losses[10:], rel=1e-5)
    assert result.validation["loss"] == pytest.approx(validation["loss"], rel=1e-5)
    for ours, theirs in zip(resumed.parameters(), undisturbed.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_deepspeed_compiles_nothing_on_a_cpu() -> None:
    trained(epochs=1, engine=EngineConfig(name="deepspeed", zero_stage=1))
    from deepspeed.comm import comm
    from deepspeed.ops.op_builder import builder

    assert comm.cdb.shm_comm_op is None
    assert not builder.OpBuilder._loaded_ops


def test_two_ranks_compute_the_sums_and_steps_of_one(two_ranks: Path) -> None:
    expected, losses, validation = trained()
    facts, weights = read(two_ranks, "torch")
    # The target of the mean stage is summed in float64, so even the order of adding leaves no trace.
    assert torch.equal(weights["mean"], expected.mean)
    assert facts["losses"] == pytest.approx(losses, rel=1e-4)
    assert facts["validation"] == pytest.approx(validation["loss"], rel=1e-4)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5)


def test_two_ranks_that_die_resume_to_bit_equal_weights(two_ranks: Path) -> None:
    _, undisturbed = read(two_ranks, "torch")
    facts, resumed = read(two_ranks, "resumed")
    assert facts["resumed_at"] == 5
    assert all(torch.equal(value, resumed[name]) for name, value in undisturbed.items())


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_two_sharded_ranks_agree_with_data_parallel_ones(two_ranks: Path, name: str) -> None:
    facts, weights = read(two_ranks, "torch")
    sharded, theirs = read(two_ranks, name)
    assert sharded["losses"] == pytest.approx(facts["losses"], rel=1e-4)
    assert sharded["validation"] == pytest.approx(facts["validation"], rel=1e-4)
    for key, value in weights.items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-5)


def test_the_deepspeed_configuration_follows_the_training_configuration() -> None:
    engine = EngineConfig(name="deepspeed", zero_stage=2, offload="optimiser")
    config = toys.toy_train_config(batch_size=64, accumulate=2, engine=engine, grad_clip=0.5)
    plain = json.loads(json.dumps(deepspeed_config(config, world_size=4)))
    assert plain["train_micro_batch_size_per_gpu"] == 8
    assert plain["gradient_accumulation_steps"] == 2
    assert plain["gradient_clipping"] == 0.5
    assert plain["zero_optimization"]["stage"] == 2
    assert plain["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    with pytest.raises(ConfigError, match="does not divide"):
        deepspeed_config(config, world_size=5)

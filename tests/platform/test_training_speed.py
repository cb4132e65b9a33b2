"""The figures of a training: step times, memory, operations, and what a fit tells of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_toys as toys
from pertcast.models.batch import Batch
from pertcast.models.noise import KeyedNoise
from pertcast.training.config import TrainConfig
from pertcast.training.data import TrainingData
from pertcast.training.fit import fit
from pertcast.training.flops import flops_of_row, peak_flops, tabled_tflops
from pertcast.training.memory import PeakMemory, peak_memory
from pertcast.training.reports import TrainReport
from pertcast.training.speed import NO_SPEED, SpeedMeter, window_speed
from pertcast.training.step_times import StepTimeSketch
from pertcast.training.window import StepWindow, WindowSummary
from torch import Tensor, nn

CPU = torch.device("cpu")


def window(seconds: tuple[float, ...], rows: int = 10, wait: float = 0.0) -> WindowSummary:
    return WindowSummary({"loss": 1.0}, rows, sum(seconds), wait, seconds, PeakMemory(1000))


@pytest.mark.parametrize("drawn", ["lognormal", "two speeds"])
def test_quantiles_are_within_half_a_percent_whatever_the_number_of_steps(drawn: str) -> None:
    generator = np.random.default_rng(0)
    times = generator.lognormal(-4, 1.5, 20_000)
    if drawn == "two speeds":
        times[::7] *= 1e3
    sketch = StepTimeSketch()
    sketch.add(times.tolist())
    for share in (0.01, 0.5, 0.95, 0.99):
        exact = np.quantile(times, share, method="inverted_cdf")
        assert sketch.quantile(share) == pytest.approx(exact, rel=0.00501)
    assert sketch.times().max == times.max()


def test_a_sketch_stays_small_from_microseconds_to_days() -> None:
    sketch = StepTimeSketch()
    sketch.add(float(each) for each in np.geomspace(1e-9, 1e9, 100_000))
    assert len(sketch._buckets) < 3_100


def test_a_sketch_of_no_step_says_zero() -> None:
    assert StepTimeSketch().times().p95 == 0.0


def test_a_meter_joins_windows_into_one_speed() -> None:
    meter = SpeedMeter(peak_flops=1e3)
    meter.add(window((1.0, 1.0), rows=20, wait=0.5), flops_of_row=10.0)
    meter.add(window((2.0,), rows=20, wait=0.5), flops_of_row=20.0)
    speed = meter.speed()
    assert speed.samples_per_second == 10
    assert speed.data_wait_share == 0.25
    assert speed.step_times.p50 == pytest.approx(1.0, rel=0.005)
    assert speed.step_times.max == 2.0
    assert speed.flops_per_second == pytest.approx((20 * 10 + 20 * 20) / 4)
    assert speed.flops_utilisation == pytest.approx(0.15)


def test_a_stage_that_cannot_be_counted_leaves_no_number_of_operations() -> None:
    meter = SpeedMeter(peak_flops=1e3)
    meter.add(window((1.0,)), flops_of_row=10.0)
    meter.add(window((1.0,)), flops_of_row=None)
    assert meter.speed().flops_per_second is None
    assert meter.speed().flops_utilisation is None
    assert SpeedMeter().speed() == NO_SPEED


def test_without_a_known_peak_there_is_no_utilisation() -> None:
    speed = window_speed(window((1.0,)), 10.0, None)
    assert speed.flops_per_second == 100.0
    assert speed.flops_utilisation is None


def test_a_window_times_each_step() -> None:
    steps, rows = StepWindow("s", CPU), toys.toy_rows(4)
    for pause in (0.01, 0.05):
        steps.begin_step()
        time.sleep(pause)
        steps.add({"loss": torch.tensor(1.0)}, [rows], pause, 0.0)
    summary = steps.close(0, 2)
    assert [pytest.approx(each, abs=0.02) for each in summary.step_seconds] == [0.01, 0.05]
    assert summary.step_seconds[0] >= 0.01
    assert summary.memory.resident_bytes > 50e6


def test_a_matrix_product_is_counted_by_the_book_and_the_backward_pass_twice() -> None:
    module, rows = toys.toy_model(dropout=0.0).trained, toys.toy_rows(5)
    hidden = toys.ToyConfig().hidden
    of_row = 3 * 2 * (toys.N_GENES * hidden + hidden * toys.N_GENES)
    assert flops_of_row(module, rows, KeyedNoise(0), "fp32", CPU) == of_row
    assert flops_of_row(module, rows, KeyedNoise(0), "bf16", CPU) == of_row


def test_counting_changes_no_random_state_buffer_or_gradient() -> None:
    module, rows = toys.toy_model(dropout=0.5).trained, toys.toy_rows(5)
    module.add_module("norm", nn.BatchNorm1d(3))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    flops_of_row(module, rows, KeyedNoise(0), "fp32", CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


class Uncountable(nn.Module):
    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        raise NotImplementedError("no dispatch here")


def test_what_cannot_be_counted_is_told_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert flops_of_row(Uncountable(), toys.toy_rows(2), KeyedNoise(0), "fp32", CPU) is None
    assert "no dispatch here" in caplog.text


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H100 PCIe", "bf16", 756.0),
        ("NVIDIA H200", "bf16", 989.4),
        ("NVIDIA H200 NVL", "bf16", 835.0),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5),
        ("NVIDIA A100 80GB PCIe", "bf16", 312.0),
        ("NVIDIA A10", "bf16", 125.0),
        ("NVIDIA L4", "bf16", 121.0),
        ("NVIDIA L40S", "bf16", 362.0),
        ("Tesla V100-SXM2-16GB", "bf16", None),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "bf16", None),
        ("NVIDIA H999", "bf16", None),
    ],
)
def test_a_gpu_is_known_by_its_whole_name_or_not_at_all(name: str, precision: str, tflops: Any) -> None:
    assert tabled_tflops(name, precision) == tflops


def test_fp32_may_be_tf32_where_torch_may_use_it() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert tabled_tflops("NVIDIA H200", "fp32") == 494.7
        assert tabled_tflops("Tesla T4", "fp32") == 8.1
        torch.set_float32_matmul_precision("highest")
        assert tabled_tflops("NVIDIA H200", "fp32") == 66.9
    finally:
        torch.set_float32_matmul_precision(before)


def test_nothing_is_guessed_about_cpus() -> None:
    assert peak_flops(CPU, "fp32") is None
    assert peak_flops(CPU, "fp32", 100.0) is None


def test_the_peak_of_memory_is_this_process_alone_and_stays_after_the_memory_is_given_back() -> None:
    ballast = np.ones(40_000_000)
    told = peak_memory(CPU)
    del ballast
    assert told.resident_bytes > 320e6
    assert told.gpu_allocated_bytes is None
    assert peak_memory(CPU).resident_bytes > 0.99 * told.resident_bytes
    # A child of this large process, which getrusage would tell the parent's peak of.
    script = "from pertcast.training.memory import peak_resident_bytes as p; a=p(); assert a > 1e6; print(a)"
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(child.stdout) < told.resident_bytes


@dataclass
class SlowSource(toys.ArraySource):
    """Rows that take longer to read than to train on."""

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        for batch in super().batches(epoch, start_step):
            time.sleep(0.03)
            yield batch


def test_slow_data_is_seen_as_waiting_and_as_long_steps() -> None:
    data = toys.toy_data()
    slow = TrainingData(SlowSource(toys.toy_rows(), 16), data.statistics, data.validation)
    result = fit(toys.toy_model(), slow, toys.toy_train_config(prefetch=0))
    assert result.speed.data_wait_share > 0.5
    assert result.speed.step_times.p50 > 0.03


def test_a_fit_tells_its_speed_in_reports_curves_and_result(tmp_path: Path) -> None:
    seen: list[TrainReport] = []
    config: TrainConfig = toys.toy_train_config()
    result = fit(toys.toy_model(), toys.toy_data(), config, tmp_path, report=seen.append)
    steps = [report for report in seen if report.kind == "steps"]
    assert all(0 <= report.speed.data_wait_share <= 1 for report in steps)
    assert all(0 < r.speed.step_times.p50 <= r.speed.step_times.max * 1.01 for r in steps)
    assert all(report.speed.flops_per_second > 0 for report in steps)
    assert {report.speed.flops_utilisation for report in steps} == {None}
    told = result.to_json()["speed"]
    assert told["memory"]["resident_bytes"] > 50e6
    assert told["step_seconds"]["p50"] <= told["step_seconds"]["p99"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(line["samples_per_second"] > 0 and line["step_seconds"]["p95"] > 0 for line in lines)
    assert all({"loss", "squared", "grad_norm"} <= line["losses"].keys() for line in lines)

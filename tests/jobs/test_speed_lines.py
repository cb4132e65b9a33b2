"""A training's speed in words."""

from __future__ import annotations

from pertcast.training.memory import PeakMemory
from pertcast.training.speed import NO_SPEED, Speed
from pertcast.training.step_times import StepTimes
from pertcast_jobs.train.speed_lines import speed_lines, speed_note

ON_CPU = Speed(2000.0, 0.03, StepTimes(0.1, 0.2, 0.3, 0.4), PeakMemory(700_000_000), 5e9)
ON_GPU = Speed(
    9e5, 0.5, StepTimes(1e-3, 2e-3, 3e-3, 4e-3), PeakMemory(10**9, 2 * 10**9, 3 * 10**9), 9e13, 0.29
)


def test_one_line_says_how_fast_a_training_was() -> None:
    (line,) = speed_lines(ON_CPU.to_json())
    for words in (
        "2,000 samples/s",
        "p50 100 ms",
        "p95 200 ms",
        "waiting for data 3.0%",
        "0.70 GB",
        "5 GFLOP/s",
    ):
        assert words in line
    assert "utilisation" not in line


def test_on_a_gpu_its_memory_and_utilisation_are_told() -> None:
    line = speed_lines(ON_GPU.to_json())[0]
    assert "of the GPU 2.00 GB" in line
    assert "utilisation 29.0%" in line


def test_waiting_for_a_fifth_of_the_time_says_what_to_do() -> None:
    assert "train.prefetch" in speed_lines(ON_GPU.to_json())[1]
    assert "waiting 50%" in speed_note(ON_GPU)
    assert len(speed_lines(ON_CPU.to_json())) == 1


def test_a_model_without_steps_has_no_speed_to_tell() -> None:
    assert speed_lines(NO_SPEED.to_json()) == []
    assert speed_lines({}) == []

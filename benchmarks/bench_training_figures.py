"""What a training's figures cost: the CPU time of all that is measured beside that of the steps it measures.

Everything that a window of steps does for its figures (marks, quantiles, memory, report, counting once) is
done many times over and set against `fit` on the same batches; a share this small drowns in the noise of two
whole trainings held against each other. Bar: < 1 %.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from bench_training import Sizes, fit_speed, make_batches, make_model
from pertcast.models.contract import GradientStage
from pertcast.models.noise import KeyedNoise
from pertcast.training.config import EngineConfig
from pertcast.training.flops import flops_of_row
from pertcast.training.memory import peak_memory
from pertcast.training.speed import SpeedMeter, window_speed
from pertcast.training.step_times import StepClock
from pertcast.training.window import WindowSummary

BAR = 0.01
CPU = torch.device("cpu")


def cpu_seconds(work: Callable[[], object], times: int) -> float:
    """Return the mean CPU time of a call."""
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def figures_of_a_window(n_steps: int) -> Callable[[], object]:
    """Return a function that does what one window does for its figures."""
    meter = SpeedMeter()

    def work() -> None:
        clock = StepClock(CPU)
        for _ in range(n_steps + 1):
            clock.mark()
        seconds = tuple(clock.seconds())
        window = WindowSummary({}, n_steps * 256, sum(seconds), 0.0, seconds, peak_memory(CPU))
        meter.add(window, 1.0)
        speed = window_speed(window, 1.0, None)
        json.dumps(speed.to_json())
        speed.scalars()

    return work


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--window", type=int, default=20, help="train.log_every_steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = Sizes(options.genes, options.batch, 4, options.steps)
    batches = make_batches(sizes)
    step = sizes.batch / fit_speed(sizes, batches, EngineConfig()).cpu
    window = cpu_seconds(figures_of_a_window(options.window), 300)
    stage = make_model(sizes).stages()[-1]
    assert isinstance(stage, GradientStage)
    counting = cpu_seconds(lambda: flops_of_row(stage.module, batches[0], KeyedNoise(0), "fp32", CPU), 5)
    share = window / (options.window * step)
    print(f"a step {1e3 * step:.2f} ms, figures of {options.window} steps {1e3 * window:.3f} ms: {share:.3%}")
    print(f"counting operations, once a stage: {1e3 * counting:.1f} ms, {counting / step:.1f} steps")
    print(f"share {share:.3%} (bar < {BAR:.0%}): {'ok' if share < BAR else 'MISSED'}")
    return 0 if share < BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())

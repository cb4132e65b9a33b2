"""Training speed: the loop with its engines beside a bare optimiser step on the same tensors.

The bare step is forward, backward, clip, AdamW and the moving average on batches held in memory, with nothing
around it. Rounds alternate, so that a busy machine slows both; the ratio of CPU times, read-ahead threads
included, hardly feels it at all. Bar: torch engine >= 0.9 of the bare step.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import logging
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import GradientStage
from pertcast.models.noise import KeyedNoise
from pertcast.models.registry import MODELS
from pertcast.models.response_mlp.model import ResponseMlp
from pertcast.training.config import EngineConfig, TrainConfig
from pertcast.training.data import TrainingData
from pertcast.training.ema import MovingAverage
from pertcast.training.engines.base import build_adamw, trained_parameters
from pertcast.training.fit import fit
from pertcast.training.reports import TrainReport

BAR = 0.9
N_CONTEXTS, N_COMPOUNDS, FEATURE_WIDTH = 6, 400, 1024


@dataclass(frozen=True)
class Sizes:
    """What is trained: genes, rows of a batch, batches held in memory, steps of a round."""

    genes: int
    batch: int
    held: int
    steps: int


def make_conditions(n_rows: int, generator: torch.Generator) -> ConditionBatch:
    drawn = torch.randint(N_COMPOUNDS, (n_rows, 1), generator=generator)
    features = (torch.rand(N_COMPOUNDS, FEATURE_WIDTH, generator=generator) < 0.05).float()
    return ConditionBatch(
        context=torch.randint(N_CONTEXTS, (n_rows,), generator=generator),
        group=torch.full((n_rows,), -1),
        perturbation=drawn,
        slot=drawn,
        pert_type=torch.zeros_like(drawn),
        own_gene=torch.full_like(drawn, -1),
        log_dose=torch.rand(n_rows, 1, generator=generator),
        log_time=torch.rand(n_rows, generator=generator),
        key=torch.arange(n_rows),
        features=features,
    )


def make_batches(sizes: Sizes) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    n_rows = sizes.batch * sizes.held
    conditions = make_conditions(n_rows, generator)
    target, basal = (torch.randn(n_rows, sizes.genes, generator=generator) for _ in range(2))
    index = torch.arange(n_rows)
    whole = Batch(conditions, target, basal, torch.zeros_like(index), index)
    return [take(whole, part) for part in index.split(sizes.batch)]


def take(rows: Batch, index: torch.Tensor) -> Batch:
    return Batch(
        rows.conditions.take(index),
        rows.target[index],
        rows.basal[index],
        rows.condition_index[index],
        rows.sample_id[index],
    )


def make_model(sizes: Sizes) -> ResponseMlp:
    space = ModelSpace(
        genes=tuple(f"g{i}" for i in range(sizes.genes)),
        measure="expression",
        contexts=tuple(f"c{i}" for i in range(N_CONTEXTS)),
        perturbations=tuple(f"p{i}" for i in range(N_COMPOUNDS)),
        pert_types=("trt_cp",),
        feature_width=FEATURE_WIDTH,
        n_conditions=N_COMPOUNDS,
    )
    conditions = make_conditions(N_COMPOUNDS, torch.Generator().manual_seed(1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS["response_mlp"].build({"epochs": 1}, space, conditions)


@dataclass(frozen=True)
class HeldBatches:
    """Batches in memory, handed out in turn; `gathers`: copied row by row, as out of a RAM-held store."""

    held: Sequence[Batch]
    n_steps: int
    gathers: bool = False

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""
        return self.n_steps * len(self.held[0])

    def steps(self, epoch: int) -> int:
        """Return the steps of an epoch."""
        return self.n_steps

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches."""
        for batch in itertools.islice(itertools.cycle(self.held), start_step, self.n_steps):
            yield take(batch, torch.randperm(len(batch))) if self.gathers else batch


@dataclass(frozen=True)
class Speed:
    """Rows a second of wall time and of CPU time, and the share of time spent waiting for rows."""

    wall: float
    cpu: float
    wait: float = 0.0


def bare_speed(sizes: Sizes, batches: Sequence[Batch]) -> Speed:
    """Measure the bare step."""
    stage = make_model(sizes).stages()[-1]
    assert isinstance(stage, GradientStage)
    module = stage.module.train()
    parameters = trained_parameters(module)
    optimiser = build_adamw(parameters, stage.optimiser)
    average = MovingAverage(trained_parameters(copy.deepcopy(module)), parameters, 0.999)

    def step(index: int) -> None:
        module(batches[index % len(batches)], KeyedNoise(0, index))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update()

    warm = sizes.steps // 4
    for index in range(warm):
        step(index)
    began, began_cpu = time.perf_counter(), time.process_time()
    for index in range(warm, sizes.steps):
        step(index)
    rows = (sizes.steps - warm) * sizes.batch
    return Speed(rows / (time.perf_counter() - began), rows / (time.process_time() - began_cpu))


def fit_speed(
    sizes: Sizes, batches: Sequence[Batch], engine: EngineConfig, *, prefetch: int = 0, gathers: bool = False
) -> Speed:
    """Measure `fit` between its first and last report: everything that the loop does."""
    warm = sizes.steps // 4
    config = TrainConfig(
        batch_size=sizes.batch, engine=engine, prefetch=prefetch, log_every_steps=warm, patience=None
    )
    held = HeldBatches(batches, sizes.steps, gathers)
    seen: list[tuple[float, float, TrainReport]] = []

    def note(report: TrainReport) -> None:
        if report.kind == "steps":
            seen.append((time.perf_counter(), time.process_time(), report))

    fit(
        make_model(sizes),
        TrainingData(train=held, statistics=HeldBatches(batches, 2), validation=None),
        config,
        report=note,
    )
    (began, began_cpu, first), (ended, ended_cpu, last) = seen[0], seen[-1]
    rows = (last.global_step - first.global_step) * sizes.batch
    wait = statistics.fmean(report.speed.data_wait_share for *_, report in seen[1:])
    return Speed(rows / (ended - began), rows / (ended_cpu - began_cpu), wait)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=120, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(arguments.threads)
    sizes = Sizes(arguments.genes, arguments.batch, held=8, steps=arguments.steps)
    batches = make_batches(sizes)
    n_parameters = sum(p.numel() for p in make_model(sizes).parameters())
    print(
        f"response_mlp, {n_parameters / 1e6:.2f} M parameters, {sizes.genes} genes, batch {sizes.batch}, "
        f"{arguments.threads} thread(s), medians of {arguments.rounds} rounds"
    )
    cases: dict[str, dict[str, object]] = {"torch": {"engine": EngineConfig()}}
    cases["torch, rows gathered"] = {"engine": EngineConfig(), "gathers": True}
    cases["torch, rows gathered, read ahead"] = {"engine": EngineConfig(), "gathers": True, "prefetch": 2}
    for stage in (0, 1, 2, 3):
        cases[f"deepspeed ZeRO {stage}"] = {"engine": EngineConfig(name="deepspeed", zero_stage=stage)}
    pairs: dict[str, list[tuple[Speed, Speed]]] = {name: [] for name in cases}
    for _ in range(arguments.rounds):
        for name, settings in cases.items():
            # Each case stands beside a bare round of its own, run right before it.
            bare = bare_speed(sizes, batches)
            pairs[name].append((bare, fit_speed(sizes, batches, **settings)))  # type: ignore[arg-type]
    return show(pairs)


def show(pairs: dict[str, list[tuple[Speed, Speed]]]) -> int:
    """Print every case beside the bare step; return 1 when the torch engine misses the bar."""
    median = statistics.median
    everything = [bare.wall for found in pairs.values() for bare, _ in found]
    print(f"{'bare step':34s} {median(everything):8,.0f} rows/s")
    for name, found in pairs.items():
        wall = median(case.wall / bare.wall for bare, case in found)
        cpu = median(case.cpu / bare.cpu for bare, case in found)
        rate, wait = median(case.wall for _, case in found), median(case.wait for _, case in found)
        print(
            f"{name:34s} {rate:8,.0f} rows/s   of bare: {wall:.3f} (CPU time {cpu:.3f})   "
            f"data wait {wait:.2%}"
        )
    ratio = median(case.wall / bare.wall for bare, case in pairs["torch"])
    print(f"torch engine / bare step: {ratio:.3f} (bar >= {BAR}) {'ok' if ratio >= BAR else 'BELOW'}")
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())

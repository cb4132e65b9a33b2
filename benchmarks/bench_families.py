"""Training constants of the three families on this device: rows a second, FLOPs a row, memory, by engine.

No Ray, Zarr or Polars: an invented screen in memory, so that it also runs on a bare GPU machine, where it
measures bf16 and utilisation. One process; docs/scaling.md turns its constants into time and cost.

    python benchmarks/bench_families.py [--genes 978] [--batch 512] [--device cuda] [--json out.json]
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from invented_screen import InventedScreen
from pertcast.models.contract import GradientStage
from pertcast.models.noise import KeyedNoise
from pertcast.training.config import EngineConfig, TrainConfig
from pertcast.training.fit import fit
from pertcast.training.flops import flops_of_row
from pertcast.training.reports import TrainReport
from torch.utils._python_dispatch import TorchDispatchMode

FAMILIES: dict[str, dict[str, Any]] = {
    "latent_diffusion": {"epochs": 1, "denoiser": {"epochs": 1}},
    "module_flow": {
        "grouping": {"sizes": "balanced"},
        "flow": {"epochs": 1},
        "autoencoder": {"kind": "modules", "epochs": 1},
    },
    "multiplex_network": {"attention": {"epochs": 1}},
}
STEPS = 24
"""Of a stage in each measurement; the first window of eight is warm-up."""
ENGINES = {
    "torch": EngineConfig(),
    **{f"ZeRO {stage}": EngineConfig(name="deepspeed", zero_stage=stage) for stage in (1, 2)},
}


class _Kernels(TorchDispatchMode):
    """Counts operations that would each be a kernel: views move no data."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@dataclass
class StageConstants:
    """One gradient stage of a family: its size, and rows a second by engine."""

    family: str
    stage: str
    parameters: int
    flops_a_row: float
    operations: int
    rows_a_second: dict[str, float] = field(default_factory=dict)
    peak_gpu_bytes: dict[str, int] = field(default_factory=dict)


def constants(screen: InventedScreen, family: str, batch: int, device: str) -> dict[str, StageConstants]:
    """Return what does not depend on the engine: parameters, model FLOPs of a row, operations of a pass."""
    found = {}
    model = screen.model(family, **FAMILIES[family]).to(device)
    rows = next(screen.data(batch, STEPS).of_stage(_groups(model)).train.batches(0))
    for stage in model.stages():
        if not isinstance(stage, GradientStage):
            sums = {name: value.to(device) for name, value in stage.start().items()}
            for part in screen.data(batch, STEPS).statistics.batches(0):
                stage.update(sums, part)
            stage.finish(sums)
            continue
        counter = _Kernels()
        with torch.no_grad(), counter:
            stage.module.eval()(rows, KeyedNoise(0))
        found[stage.name] = StageConstants(
            family,
            stage.name,
            sum(parameter.numel() for parameter in stage.module.parameters()),
            flops_of_row(stage.module, rows, KeyedNoise(0), "fp32", torch.device(device)) or 0.0,
            counter.count,
        )
    return found


def _groups(model: Any) -> GradientStage:
    return next(stage for stage in reversed(model.stages()) if isinstance(stage, GradientStage))


def measure(
    screen: InventedScreen, family: str, batch: int, device: str, engine: EngineConfig, precision: str
) -> dict[str, tuple[float, int]]:
    """Return rows a second (median of the windows but the first) and peak GPU memory of each stage."""
    told: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}

    def listen(news: TrainReport) -> None:
        if news.kind == "steps":
            told.setdefault(news.stage, []).append(news.speed.samples_per_second)
            if device == "cuda":
                peaks[news.stage] = torch.cuda.max_memory_allocated()

    config = TrainConfig(
        batch_size=batch, engine=engine, precision=precision, log_every_steps=8, prefetch=0, patience=None
    )
    fit(
        screen.model(family, **FAMILIES[family]),
        screen.data(batch, STEPS),
        config,
        device=device,
        report=listen,
    )
    gc.collect()
    return {
        stage: (statistics.median(speeds[1:] or speeds), peaks.get(stage, 0))
        for stage, speeds in told.items()
    }


def matrix_product_flops(device: str, precision: str) -> float:
    """Return FLOPs a second of a bare matrix product: the limit beside which all else is put."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    size = 8192 if device == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    times = []
    for _ in range(6):
        began = time.perf_counter()
        float((left @ right)[0, 0])
        times.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--precision", choices=["fp32", "bf16"], default=None, help="bf16 on a GPU, else fp32"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", default=None, help="also write the constants to this file")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(asked.threads)
    precision = asked.precision or ("bf16" if asked.device == "cuda" else "fp32")
    limit = matrix_product_flops(asked.device, precision)
    screen = InventedScreen(asked.genes, device=asked.device)
    print(
        f"{asked.genes} genes, batch {asked.batch}, {precision}, {asked.device}; bare matrix product "
        f"{limit / 1e9:,.0f} GFLOP/s"
    )
    everything = []
    for family in FAMILIES:
        stages = constants(screen, family, asked.batch, asked.device)
        for name, engine in ENGINES.items():
            for stage, (rate, peak) in measure(
                screen, family, asked.batch, asked.device, engine, precision
            ).items():
                stages[stage].rows_a_second[name] = rate
                stages[stage].peak_gpu_bytes[name] = peak
        for found in stages.values():
            show(found, limit)
            everything.append(asdict(found))
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump({"genes": asked.genes, "limit_flops": limit, "stages": everything}, file, indent=1)


def show(found: StageConstants, limit: float) -> None:
    """Print one stage."""
    rates = ", ".join(
        f"{name} {rate:,.0f} rows/s ({rate * found.flops_a_row / limit:.1%})"
        for name, rate in found.rows_a_second.items()
    )
    print(
        f"{found.family:18s} {found.stage:12s} {found.parameters / 1e6:6.2f} M parameters, "
        f"{found.flops_a_row / 1e6:7.2f} MFLOP a row, {found.operations:4d} operations; {rates}"
    )
    if any(found.peak_gpu_bytes.values()):
        print("  peak memory " + ", ".join(f"{n} {b / 1e9:.2f} GB" for n, b in found.peak_gpu_bytes.items()))


if __name__ == "__main__":
    main()

"""Time and cost of training on many profiles, from the constants that bench_families.py measured.

A step takes the longest of computing (FLOPs at a share of the peak), of starting kernels (operations of a
forward pass, three times, at a fixed time each) and of reading, and then the gradients' way round the ring.
What is measured and what is assumed is printed with the table; no GPU was timed for it.

    python benchmarks/bench_families.py --json constants.json
    python benchmarks/scaling_estimate.py constants.json [--price 3.0]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EPOCHS = {"response": 25, "diffusion": 40, "autoencoder": 30, "flow": 30, "cross_type": 30}
"""Passes that the shipped configurations take at most, by stage."""
PROFILES = {1_000_000: None, 100_000_000: 2}
"""Profiles -> passes of each stage; None: those of the shipped configurations."""
GPUS = (1, 8, 64)


@dataclass(frozen=True)
class Assumed:
    """What no measurement of this machine says."""

    peak_tflops: float
    utilisation: float
    microseconds_a_kernel: float
    gigabytes_a_second: float
    price: float
    rows_a_gpu: int
    rows_a_second_read: float


def step_seconds(stage: dict[str, Any], gpus: int, assumed: Assumed) -> tuple[float, str]:
    """Return the seconds of a step, and what bounds it."""
    compute = assumed.rows_a_gpu * stage["flops_a_row"] / (assumed.utilisation * assumed.peak_tflops * 1e12)
    launch = 3 * stage["operations"] * assumed.microseconds_a_kernel * 1e-6
    bounds = {
        "computing": compute,
        "kernel starts": launch,
        "reading": assumed.rows_a_gpu / assumed.rows_a_second_read,
    }
    slowest = max(bounds, key=lambda name: bounds[name])
    ring = 2 * 4 * stage["parameters"] * (gpus - 1) / gpus / (assumed.gigabytes_a_second * 1e9)
    return bounds[slowest] + ring, slowest


def family_hours(stages: list[dict[str, Any]], profiles: int, gpus: int, assumed: Assumed) -> float:
    """Return the hours of all gradient stages of a family."""
    total = 0.0
    for stage in stages:
        passes = PROFILES[profiles] or EPOCHS[stage["stage"]]
        steps = passes * profiles / (assumed.rows_a_gpu * gpus)
        total += steps * step_seconds(stage, gpus, assumed)[0]
    return total / 3600


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("constants", type=Path, help="JSON of bench_families.py")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bf16 peak of one GPU")
    parser.add_argument("--utilisation", type=float, default=0.3, help="share of the peak while computing")
    parser.add_argument("--microseconds-a-kernel", type=float, default=8.0)
    parser.add_argument("--gigabytes-a-second", type=float, default=50.0, help="of the slowest link")
    parser.add_argument("--price", type=float, default=3.0, help="USD of one GPU for one hour")
    parser.add_argument("--rows-a-gpu", type=int, default=1024, help="rows of a step on one GPU")
    parser.add_argument("--rows-a-second-read", type=float, default=500_000, help="of one worker, from disk")
    asked = vars(parser.parse_args())
    content = json.loads(asked.pop("constants").read_text(encoding="utf-8"))
    assumed = Assumed(**asked)
    print(f"{content['genes']} genes; assumed: {assumed}")
    by_family: dict[str, list[dict[str, Any]]] = {}
    for stage in content["stages"]:
        by_family.setdefault(stage["family"], []).append(stage)
        seconds, bound = step_seconds(stage, 1, assumed)
        print(f"  {stage['family']} {stage['stage']}: {seconds * 1e3:.1f} ms a step, bound by {bound}")
    print("| family | profiles | " + " | ".join(f"{gpus} GPU" for gpus in GPUS) + " |")
    print("|---|---|" + "---|" * len(GPUS))
    for family, stages in by_family.items():
        for profiles in PROFILES:
            cells = []
            for gpus in GPUS:
                hours = family_hours(stages, profiles, gpus, assumed)
                cells.append(f"{hours * 60:,.1f} min, ${hours * gpus * assumed.price:,.2f}")
            print(f"| {family} | {profiles:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

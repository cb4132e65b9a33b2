"""What train.compile gains: twelve steps of every stage of each family, plain and compiled.

    python benchmarks/bench_compile.py [latent_diffusion ...]

One thread; compiling takes one to three minutes a family, which is nearly all of the second time.
"""

from __future__ import annotations

import argparse
import logging
import time
from typing import Any

import torch
from invented_screen import InventedScreen
from pertcast.training.config import TrainConfig
from pertcast.training.fit import fit
from pertcast.training.reports import TrainReport

GENES, BATCH, STEPS = 128, 64, 12
FAMILIES: dict[str, dict[str, Any]] = {
    "response_mlp": {"epochs": 1, "width": 32, "depth": 1},
    "latent_diffusion": {
        "epochs": 1,
        "denoiser": {"epochs": 1},
        "condition": {"width": 64},
        "autoencoder": {"latent_dim": 16},
    },
    "module_flow": {
        "flow": {"epochs": 1, "width": 64},
        "condition": {"width": 64},
        "control_cells": 32,
    },
    "multiplex_network": {"attention": {"epochs": 1}},
}


def train(screen: InventedScreen, family: str, *, compiled: bool) -> tuple[list[TrainReport], float]:
    """Return the report of every step, and the seconds of the whole training."""
    config = TrainConfig(batch_size=BATCH, log_every_steps=1, patience=None, prefetch=0, compile=compiled)
    told: list[TrainReport] = []
    began = time.monotonic()
    fit(screen.model(family, **FAMILIES[family]), screen.data(BATCH, STEPS), config, report=told.append)
    return [news for news in told if news.kind == "steps"], time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", choices=[[], *FAMILIES], default=[])
    families = parser.parse_args().families or list(FAMILIES)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    screen = InventedScreen(GENES, cells=32)
    for family in families:
        plain, plain_seconds = train(screen, family, compiled=False)
        compiled, compiled_seconds = train(screen, family, compiled=True)
        pairs = [
            (one.losses["loss"], other.losses["loss"]) for one, other in zip(plain, compiled, strict=True)
        ]
        difference = max(abs(one - other) / max(1.0, abs(one)) for one, other in pairs)
        last = {one.stage: (one, other) for one, other in zip(plain, compiled, strict=True)}
        speeds = ", ".join(
            f"{stage} {one.speed.samples_per_second:,.0f} -> {other.speed.samples_per_second:,.0f} rows/s"
            for stage, (one, other) in last.items()
        )
        print(
            f"{family}: {speeds}; {plain_seconds:.0f} s -> {compiled_seconds:.0f} s in all; losses differ "
            f"by {difference:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""A training's speed in words: while it runs and when it is done, with what to do where it waits for data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertcast.training.speed import Speed

_WAITS_TOO_LONG = 0.2


def speed_note(speed: Speed) -> str:
    """Return rows a second and the waiting share of the last steps, for a progress bar."""
    words = f"{speed.samples_per_second:,.0f} samples/s"
    share = speed.data_wait_share
    return f"{words}, waiting {share:.0%}" if share >= 0.005 else words


def speed_lines(speed: Mapping[str, Any]) -> list[str]:
    """Return a finished training's speed (`Speed.to_json`) in a line, and advice where it waited.

    Nothing where no optimiser step was taken.
    """
    if not speed.get("samples_per_second"):
        return []
    steps, memory, waiting = speed["step_seconds"], speed["memory"], speed["data_wait_share"]
    words = [
        f"{speed['samples_per_second']:,.0f} samples/s",
        f"step p50 {1e3 * steps['p50']:.3g} ms, p95 {1e3 * steps['p95']:.3g} ms",
        f"waiting for data {waiting:.1%}",
        f"peak memory {memory['resident_bytes'] / 1e9:.2f} GB",
    ]
    if memory["gpu_allocated_bytes"] is not None:
        words.append(f"of the GPU {memory['gpu_allocated_bytes'] / 1e9:.2f} GB")
    if speed["flops_per_second"] is not None:
        words.append(f"{speed['flops_per_second'] / 1e9:,.3g} GFLOP/s")
    if speed["flops_utilisation"] is not None:
        words.append(f"utilisation {speed['flops_utilisation']:.1%}")
    lines = [f"speed    {', '.join(words)}"]
    if waiting > _WAITS_TOO_LONG:
        lines.append(
            f"{waiting:.0%} of the time went into waiting for data: raise train.prefetch, give the run more "
            "CPUs (cluster.cpus_per_worker with Ray), or put the store on a faster disk."
        )
    return lines

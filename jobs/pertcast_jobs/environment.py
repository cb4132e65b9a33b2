"""On what a training ran: versions, processor, GPUs, threads and what else decides the last bits."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "deepspeed",
    "numpy",
    "pertcast",
    "polars",
    "pydantic",
    "ray",
    "rdkit",
    "safetensors",
    "scipy",
    "torch",
    "torch-geometric",
    "zarr",
    "zarrs",
)
_CPU_FACTS = Path("/proc/cpuinfo")
NOT_DECIDING = ("platform", "cpus")
"""A kernel's version and CPUs that are not used change no number."""


def describe_environment() -> dict[str, Any]:
    """Return the facts of this process and machine as plain JSON.

    Returns
    -------
    dict
        "python", "platform", "machine", "cpu", "cpus", "threads" (of torch), "packages" (name -> version or
        None), "gpus" (names), "cuda", "cudnn" (None without) and "determinism".
    """
    has_gpu = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if has_gpu else None,  # type: ignore[no-untyped-call]
        "determinism": _determinism(),
    }


def environment_hash(environment: Mapping[str, Any]) -> str:
    """Return a hash (16 hexadecimal digits) of what may change the bits of a result."""
    deciding = {name: value for name, value in environment.items() if name not in NOT_DECIDING}
    text = json.dumps(deciding, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_deterministic(environment: Mapping[str, Any]) -> bool:
    """Whether two trainings in an environment must agree bit for bit.

    Operations on CPUs do; on GPUs some add up in any order, unless torch was told to use others.
    """
    return not environment["gpus"] or bool(environment["determinism"]["algorithms"])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    """Return the processor's name as Linux tells it, or what Python knows elsewhere."""
    if _CPU_FACTS.is_file():
        for line in _CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _determinism() -> dict[str, Any]:
    """Return torch's switches that decide whether, and how exactly, a result repeats."""
    return {
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }

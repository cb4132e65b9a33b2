"""Floating-point operations of a training step, and what a GPU could do at most.

Convention of PaLM (Chowdhery et al. 2022, appendix B): operations that the model needs, a backward pass
counted as twice the forward pass, recomputation not counted.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pertcast.models.batch import Batch
from pertcast.models.noise import KeyedNoise

log = logging.getLogger(__name__)

_FORWARD_AND_BACKWARD = 3

_PEAK_TFLOPS: dict[str, tuple[float | None, float | None, float]] = {
    r"NVIDIA B200": (2250.0, 1100.0, 75.0),
    r"NVIDIA (GH200 .*|H200|H100 80GB HBM3)": (989.4, 494.7, 66.9),
    r"NVIDIA (H200|H100) NVL": (835.0, 417.5, 60.0),
    r"NVIDIA H100 PCIe": (756.0, 378.0, 51.2),
    r"NVIDIA A100(-SXM4-| )\d+GB( PCIe)?|NVIDIA A100-PCIE-\d+GB": (312.0, 156.0, 19.5),
    r"NVIDIA L40S": (362.0, 183.0, 91.6),
    r"NVIDIA L40": (181.0, 90.5, 90.5),
    r"NVIDIA L4": (121.0, 60.0, 30.3),
    r"NVIDIA A40": (149.7, 74.8, 37.4),
    r"NVIDIA A30": (165.0, 82.0, 10.3),
    r"NVIDIA A10": (125.0, 62.5, 31.2),
    r"NVIDIA RTX A6000": (154.8, 77.4, 38.7),
    r"Tesla V100-SXM\d-\d+GB": (None, None, 15.7),
    r"Tesla V100-PCIE-\d+GB": (None, None, 14.0),
    r"Tesla T4": (None, None, 8.1),
    r"AMD Instinct MI300X.*": (1307.4, 653.7, 163.4),
}
"""Name that torch gives a GPU (regular expression, the whole of it) -> dense peaks of its data sheet in
TFLOP/s: bfloat16, TF32, float32 without tensor cores. None: the GPU has no such unit. Figures that data
sheets give with structured sparsity are halved. Slices of a GPU (MIG) carry other names and are not here.
"""


class _OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up operations by torch's own formulas.

    torch's FlopCounterMode also follows which module calls, and fails where one is given a parameter.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        return result


@torch.no_grad()
def flops_of_row(
    module: nn.Module, batch: Batch, noise: KeyedNoise, precision: str, device: torch.device
) -> float | None:
    """Return the operations of forward and backward pass for one row, or None where they cannot be counted.

    Runs the module once in evaluation, as validation does: no random state, buffer or gradient changes.

    Parameters
    ----------
    module
        The stage's module; called as ``module(batch, noise)``.
    batch
        A batch as it is trained on.
    noise
        Noise of the call.
    precision
        "fp32" or "bf16", as in training.
    device
        Where module and batch live.
    """
    gpus = [device] if device.type == "cuda" else []
    mixed = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
    try:
        with torch.random.fork_rng(devices=gpus), mixed, _OperationCounter() as counter:  # type: ignore[no-untyped-call]
            module.eval()(batch, noise)
    except Exception as error:  # noqa: BLE001 (a figure that only informs must not end a training)
        log.warning("floating-point operations are not told: counting failed with %r", error)
        return None
    total: int = counter.total
    return _FORWARD_AND_BACKWARD * total / len(batch)


def peak_flops(device: torch.device, precision: str, given_tflops: float | None = None) -> float | None:
    """Return the most operations a second that one device could do, or None where that is not known.

    Parameters
    ----------
    device
        The device. Nothing is known of CPUs.
    precision
        "bf16", or "fp32": TF32 where torch may use it for matrix products, float32 otherwise.
    given_tflops
        What the user says, in TFLOP/s of one GPU; goes before the table.
    """
    if device.type != "cuda":
        return None
    if given_tflops is not None:
        return given_tflops * 1e12
    tflops = tabled_tflops(torch.cuda.get_device_name(device), precision)
    return None if tflops is None else tflops * 1e12


def tabled_tflops(gpu: str, precision: str) -> float | None:
    """Return a GPU's dense peak in TFLOP/s by the name torch gives it; None for one not in the table."""
    for pattern, (bf16, tf32, fp32) in _PEAK_TFLOPS.items():
        if re.fullmatch(pattern, gpu):
            if precision == "bf16":
                return bf16
            uses_tf32 = tf32 is not None and torch.get_float32_matmul_precision() != "highest"
            return tf32 if uses_tf32 else fp32
    return None

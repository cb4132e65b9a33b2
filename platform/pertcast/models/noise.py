"""Counter-based noise: a value depends on (seed, step, key, position) alone.

So a draw is the same in any batch, on any worker, in any order. The mixing function is
splitmix64's finaliser (Steele, Lea & Flood 2014), in wrapping int64 arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift_right(values: Tensor, bits: int) -> Tensor:
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def mix_bits(values: Tensor) -> Tensor:
    """Return int64 values whose bits are mixed: equal for equal input, unrelated otherwise."""
    values = (values ^ _shift_right(values, 30)) * _MIX_1
    values = (values ^ _shift_right(values, 27)) * _MIX_2
    return values ^ _shift_right(values, 31)


def _keyed_bits(keys: Tensor, seed: int, step: int, stream: int, width: int) -> Tensor:
    start = torch.tensor([seed, step, stream], dtype=torch.int64, device=keys.device)
    base = mix_bits(start[0] * _GOLDEN + start[1])
    base = mix_bits(base * _GOLDEN + start[2])
    rows = mix_bits(keys.to(torch.int64) * _GOLDEN + base)
    columns = torch.arange(width, dtype=torch.int64, device=keys.device) * _GOLDEN
    return mix_bits(rows.unsqueeze(1) + columns)


# Inductor reckons with integers that do not wrap: for torch.compile the bits are one operation of their own.
_compiled_bits = torch.library.custom_op(
    "pertcast::keyed_bits",
    _keyed_bits,
    mutates_args=(),
    schema="(Tensor keys, SymInt seed, SymInt step, SymInt stream, SymInt width) -> Tensor",
)


@_compiled_bits.register_fake
def _shape_of_bits(keys: Tensor, seed: int, step: int, stream: int, width: int) -> Tensor:
    return keys.new_empty((keys.shape[0], width), dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class KeyedNoise:
    """Noise keyed by (seed, step) and, in each call, by the samples' or conditions' keys.

    Attributes
    ----------
    seed
        Seed of the run or of the prediction.
    step
        Training step, or 0 in prediction.
    """

    seed: int
    step: int = 0

    def _bits(self, keys: Tensor, width: int, stream: int) -> Tensor:
        draw = _compiled_bits if torch.compiler.is_compiling() else _keyed_bits
        return draw(keys, self.seed, self.step, stream, width)

    def uniform(self, keys: Tensor, width: int, stream: int = 0) -> Tensor:
        """Return (N, width) float32 in (0, 1); `stream` separates independent draws under one key."""
        return (_shift_right(self._bits(keys, width, stream), 40).to(torch.float32) + 0.5) * 2.0**-24

    def normal(self, keys: Tensor, width: int, stream: int = 0) -> Tensor:
        """Return (N, width) float32 standard normal draws (Box-Muller)."""
        half = (width + 1) // 2
        draws = self.uniform(keys, 2 * half, stream)
        radius = torch.sqrt(-2.0 * torch.log(draws[:, :half]))
        angle = 2.0 * math.pi * draws[:, half:]
        return torch.cat((radius * torch.cos(angle), radius * torch.sin(angle)), dim=1)[:, :width]

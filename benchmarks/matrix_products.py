"""The dense matrix products of a model, counted as it runs and timed alone: the floor of a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from pertcast.predictor import Predictor
from timing import cpu_seconds
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

BATCH_SIZE, ROUNDS = 256, 3

Shapes = tuple[tuple[int, ...], tuple[int, ...]]


class MatrixProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the shapes of every dense matrix product that runs under it.

    Attributes
    ----------
    shapes
        Shapes of the two factors, in the order of the calls.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: list[Shapes] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note its factors if it multiplies matrices."""
        name = func.name().split(".")[0].rstrip("_")
        tensors = [value for value in args if isinstance(value, Tensor)]
        if name == "aten::linear":
            self._note(tensors[0].shape, tensors[1].shape[::-1])
        elif name in ("aten::addmm", "aten::baddbmm"):
            self._note(tensors[1].shape, tensors[2].shape)
        elif name in ("aten::mm", "aten::bmm", "aten::matmul"):
            self._note(tensors[0].shape, tensors[1].shape)
        elif "scaled_dot_product" in name:
            query, key, value = (tensor.shape for tensor in tensors[:3])
            self._note(query, (*key[:-2], key[-1], key[-2]))
            self._note((*query[:-1], key[-2]), value)
        return func(*args, **(kwargs or {}))

    def _note(self, first: Sequence[int], second: Sequence[int]) -> None:
        self.shapes.append((tuple(first), tuple(second)))


def bare_rate(predictor: Predictor, block: pl.DataFrame) -> tuple[float, int, float]:
    """Return profiles a second of a batch's products alone, their number, multiply-adds a profile."""
    table = block.head(BATCH_SIZE)
    conditions, basal = predictor.encoder.encode(table), predictor.basal.lookup(table)
    noted = MatrixProducts()
    with noted:
        predictor.predict_encoded(conditions, basal, batch_size=BATCH_SIZE)
    if not noted.shapes:
        raise SystemExit(
            f"{predictor.bundle.model_name} multiplies no matrices: there is nothing to compare with."
        )
    factors = [(torch.randn(first), torch.randn(second)) for first, second in noted.shapes]
    work = sum(float(np.prod(first)) * second[-1] for first, second in noted.shapes) / len(table)

    def multiply() -> None:
        for first, second in factors:
            torch.matmul(first, second)

    with torch.inference_mode():
        multiply()
        return len(table) / cpu_seconds(multiply, 10), len(factors), work

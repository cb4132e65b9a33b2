"""Answers as JSON bytes, written where they were computed, so that they cross processes once, as bytes.

Numbers are float32 and are written with the fewest digits that give the same float32 again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pertcast_serve.schemas.predict import PredictHead


@dataclass(frozen=True)
class Answer:
    """One answer of /v1/predict.

    Attributes
    ----------
    head
        All of it but the numbers.
    mean
        (items, genes) float32, finite.
    sd
        (items, genes) float32, finite, or None.
    """

    head: PredictHead
    mean: NDArray[np.float32]
    sd: NDArray[np.float32] | None

    def to_json(self) -> bytes:
        """Return the body that `schemas.PredictResponse` describes."""
        head = self.head.model_dump_json().encode().removesuffix(b"}")
        sd = b"null" if self.sd is None else json_numbers(self.sd)
        return b"".join((head, b',"mean":', json_numbers(self.mean), b',"sd":', sd, b"}"))


def json_numbers(values: NDArray[np.float32]) -> bytes:
    """Return finite float32 values, row by row, as one flat JSON array."""
    texts = pc.cast(pa.array(values.ravel()), pa.string())
    whole = pa.ListArray.from_arrays([0, len(texts)], texts)
    joined: str = pc.binary_join(whole, ",")[0].as_py()
    return f"[{joined}]".encode()

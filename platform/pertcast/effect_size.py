"""How large a response is, in one number: what screens rank by and what hits are calibrated on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def effect_sizes(responses: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return (N,) float64 the root mean square over genes of (N, G) responses, in the response's unit."""
    sizes: NDArray[np.float64] = np.sqrt(np.square(responses, dtype=np.float64).mean(axis=1))
    return sizes

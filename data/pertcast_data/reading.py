"""How profiles are asked for by row, whatever holds them: a store, a screen, an array."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

ProfileReader = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Returns the profiles (M, G) float32 of rows (M,) int64."""

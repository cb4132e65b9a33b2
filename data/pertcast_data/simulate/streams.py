"""Random streams by name: each part of the simulation draws from its own child of the atlas seed.

A part that draws more or less than before then leaves every other part as it was.
"""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream called `name` of an atlas seed; the same for the same two arguments."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])

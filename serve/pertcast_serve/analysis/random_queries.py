"""Scores of random queries of one library, remembered: for sets of genes they are most of a question's time.

Random sets depend on how many genes a signature names, not on which; random values depend on its values.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast.analysis.connectivity import ConnectivityIndex
from pertcast.analysis.connectivity.prepared import SET_SCORES, PreparedQuery
from pertcast.analysis.connectivity.significance import random_scores
from pertcast.analysis.connectivity.strata import Strata

_KEPT: Final = 8
"""Nulls that are kept of a library: half a million scores each, 2 MB."""

_Key = tuple[str, int, int, int, int, str]
_Null = NDArray[np.float32] | None


class RandomQueries:
    """`random_scores` of one library; a `NullReader`."""

    def __init__(self) -> None:
        self._found: OrderedDict[_Key, _Null] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(
        self,
        index: ConnectivityIndex,
        rows: NDArray[np.int64],
        strata: Strata,
        prepared: PreparedQuery,
        seed: int,
        count: int,
    ) -> _Null:
        """Return the scores, computed where the same were not asked for lately."""
        if prepared.score not in SET_SCORES:
            return random_scores(index, rows, strata, prepared, seed, count)
        sizes = prepared.sizes
        searched = hashlib.sha256(rows.tobytes()).hexdigest()
        key = (prepared.score, sizes.up, sizes.down, seed, count, searched)
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        null = random_scores(index, rows, strata, prepared, seed, count)
        with self._lock:
            self._found[key] = null
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)
        return null

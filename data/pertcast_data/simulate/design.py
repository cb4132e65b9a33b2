"""How an experiment is laid out: which conditions share plates and batches, and what that does to them.

Declared by a regime. The default is a balanced experiment, in which no condition is confounded with anything.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Design:
    """Layout of wells and cells.

    Attributes
    ----------
    plate_maps
        Least number of plate maps of a line and time. Where there are several, a compound keeps to one map
        (it may straddle two), so that compounds and plates are confounded.
    treated_shift
        log2 sd at noise 1 of a shift, gene by gene, that all treated wells of a plate map have and its
        vehicle wells lack, on every replicate: what treated wells differ in is then partly their plate.
    home_batch_share
        Share of a condition's cells that come from one batch, its home; the others, and all control cells,
        are dealt evenly. At 0 every condition is dealt evenly.
    """

    plate_maps: int = 1
    treated_shift: float = 0.0
    home_batch_share: float = 0.0


BALANCED = Design()
"""No condition is confounded with a plate or batch."""

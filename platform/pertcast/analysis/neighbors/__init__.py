"""Which perturbations look alike and which look opposite: cosine neighbours, a block at a time.

Compared within one cell line and perturbation type; comparing across them measures the context.
"""

from pertcast.analysis.neighbors.best import PER_TAIL
from pertcast.analysis.neighbors.blocks import NeighborBlock, neighbor_blocks
from pertcast.analysis.neighbors.one_profile import neighbors_of
from pertcast.analysis.neighbors.tables import (
    NEIGHBOR_SCHEMA,
    NameReader,
    nearest_and_opposite,
    write_neighbors,
)

__all__ = [
    "NEIGHBOR_SCHEMA",
    "PER_TAIL",
    "NameReader",
    "NeighborBlock",
    "nearest_and_opposite",
    "neighbor_blocks",
    "neighbors_of",
    "write_neighbors",
]

"""Gene sets restricted to a gene space; `read_gmt` reads them from a file.

Sets that a gene space hardly covers are dropped by name, never silently: a screen on 978 landmark
genes sees only a part of most pathways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.gene_sets.gmt import GeneSets, read_gmt

__all__ = ["MIN_SIZE", "DroppedSet", "GeneSets", "SetIndex", "index_sets", "read_gmt"]

MIN_SIZE = 5
"""Fewest genes of a set in the gene space. (gseapy's default of 15 drops 15 of 50 hallmark sets.)"""


@dataclass(frozen=True, slots=True)
class DroppedSet:
    """A set that is not tested, and why."""

    name: str
    size: int
    genes_in_space: int
    reason: str


@dataclass(frozen=True, slots=True)
class SetIndex:
    """Gene sets as positions in a gene space of G genes.

    Attributes
    ----------
    names
        Names of the S sets.
    members
        (T,) int32, positions of the sets' genes, set after set, rising within a set.
    starts
        (S,) int64, where each set begins in `members`.
    sizes
        (S,) int64, genes of each set that the gene space holds.
    full_sizes
        (S,) int64, genes of each set in its file.
    n_genes
        G.
    dropped
        Sets that are not tested.
    """

    names: tuple[str, ...]
    members: NDArray[np.int32]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    full_sizes: NDArray[np.int64]
    n_genes: int
    dropped: tuple[DroppedSet, ...]

    def __len__(self) -> int:
        return len(self.names)

    def members_of(self, index: int) -> NDArray[np.int32]:
        """Return the positions of the genes of set number `index`."""
        start = int(self.starts[index])
        return self.members[start : start + int(self.sizes[index])]


def index_sets(
    sets: GeneSets, genes: Sequence[str], min_size: int = MIN_SIZE, max_size: int | None = None
) -> SetIndex:
    """Restrict gene sets to a gene space.

    Parameters
    ----------
    sets
        The sets.
    genes
        Names of the G genes of the profiles.
    min_size, max_size
        Sets with fewer or more genes in the gene space are dropped; so are sets that hold every gene.

    Raises
    ------
    SchemaError
        No set is left; the message shows names from both sides.
    """
    position = {gene: index for index, gene in enumerate(genes)}
    largest = len(genes) - 1 if max_size is None else min(max_size, len(genes) - 1)
    kept: list[tuple[str, NDArray[np.int32], int]] = []
    dropped: list[DroppedSet] = []
    for name, wanted in sets.members.items():
        found = np.array(sorted(position[gene] for gene in wanted if gene in position), dtype=np.int32)
        if min_size <= len(found) <= largest:
            kept.append((name, found, len(wanted)))
            continue
        reason = f"fewer than {min_size} genes" if len(found) < min_size else f"more than {largest} genes"
        dropped.append(DroppedSet(name, len(wanted), len(found), reason))
    if not kept:
        raise SchemaError(_no_overlap(sets, genes, min_size))
    sizes = np.array([len(found) for _, found, _ in kept], dtype=np.int64)
    return SetIndex(
        names=tuple(name for name, _, _ in kept),
        members=np.concatenate([found for _, found, _ in kept]),
        starts=np.cumsum(sizes) - sizes,
        sizes=sizes,
        full_sizes=np.array([size for _, _, size in kept], dtype=np.int64),
        n_genes=len(genes),
        dropped=tuple(dropped),
    )


def _no_overlap(sets: GeneSets, genes: Sequence[str], min_size: int) -> str:
    wanted = next(iter(sets.members.values()))[:3]
    return (
        f"None of the {len(sets)} gene sets of {sets.source or 'the collection'} has {min_size} genes among "
        f"the {len(genes)} genes of the profiles. The sets hold names like {', '.join(wanted)}; the "
        f"profiles hold {', '.join(genes[:3])}. Use sets with the same kind of gene names."
    )

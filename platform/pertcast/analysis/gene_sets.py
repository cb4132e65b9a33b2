"""Gene sets: reading a GMT file with validation, and restricting the sets to a gene space.

Sets that a gene space hardly covers are dropped by name, never silently: a screen on 978 landmark
genes sees only a part of most pathways.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import FormatError, SchemaError

MIN_SIZE = 5
"""Fewest genes of a set in the gene space. (gseapy's default of 15 drops 15 of 50 hallmark sets.)"""


@dataclass(frozen=True, slots=True)
class GeneSets:
    """Named sets of gene symbols, in the file's order.

    Attributes
    ----------
    members
        Set name -> its distinct genes, in the file's order.
    source
        Name of the file they come from (without folder).
    sha256
        Hash of the file's bytes; empty for sets that come from no file.
    """

    members: Mapping[str, tuple[str, ...]]
    source: str = ""
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.members)


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


def read_gmt(path: Path | str) -> GeneSets:
    """Read a GMT file: a line a set, separated by tabs: name, description (may be empty), genes.

    Blank lines and empty fields are skipped, repeated genes count once, and a weight after a comma
    ("TP53,1.0", as Enrichr writes it) is ignored.

    Raises
    ------
    FormatError
        The file is not text, holds no set, or a line is not tab-separated (the line is named).
    SchemaError
        Two sets have one name.
    """
    path = Path(path)
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not a GMT file: it is not text ({error.reason}).") from error
    members: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, genes = _parse_line(line, f"{path}, line {number}")
        if name in members:
            raise SchemaError(
                f"{path}, line {number}: the set {name!r} stands there twice. Rename one of them."
            )
        members[name] = genes
    if not members:
        raise FormatError(
            f"{path} holds no gene set. A line of a GMT file is: name, description, genes (tabs)."
        )
    return GeneSets(members, source=path.name, sha256=hashlib.sha256(content).hexdigest())


def _parse_line(line: str, where: str) -> tuple[str, tuple[str, ...]]:
    fields = line.split("\t")
    if len(fields) < 3:
        raise FormatError(
            f"{where} has {len(fields)} tab-separated fields, a GMT line has a name, a description "
            f"(may be empty) and at least one gene. It begins {line[:40]!r}."
        )
    name = fields[0].strip()
    if not name:
        raise FormatError(f"{where}: the set has no name.")
    genes = (field.split(",", 1)[0].strip() for field in fields[2:])
    return name, tuple(dict.fromkeys(gene for gene in genes if gene))


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

"""What modules of genes are: the gene sets that are over-represented in them, by gseapy's Fisher test.

Nothing is fetched: sets are local, and the background is the gene space of the profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gseapy
import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from pertcast.analysis.gene_modules.modules import GeneModules
from pertcast.analysis.gene_sets import MIN_SIZE, DroppedSet, GeneSets, SetIndex, index_sets

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A gene set that shares genes with a module.

    Attributes
    ----------
    name
        Of the set.
    overlap, size
        Genes that module and set share, and genes of the set in the gene space.
    p, q
        One-sided hypergeometric p; Benjamini-Hochberg over all pairs of module and set.
    """

    name: str
    overlap: int
    size: int
    p: float
    q: float


@dataclass(frozen=True)
class ModuleNames:
    """Gene sets in K modules.

    Attributes
    ----------
    source
        Where the sets come from.
    n_sets
        Sets that were tested.
    found
        For each module the sets that share a gene with it, the smallest p first (equal ones in the order of
        the file).
    dropped
        Sets that were not tested, and why.
    """

    source: str
    n_sets: int
    found: tuple[tuple[NamedSet, ...], ...]
    dropped: tuple[DroppedSet, ...]

    def best(self, module: int) -> NamedSet | None:
        """Return the set with the smallest p, significant or not; None where none shares a gene."""
        return self.found[module][0] if self.found[module] else None

    def significant(self, module: int, fdr: float = SIGNIFICANT) -> tuple[NamedSet, ...]:
        """Return the sets whose q is at most `fdr`, the best first."""
        return tuple(each for each in self.found[module] if each.q <= fdr)

    @property
    def n_named(self) -> int:
        """Modules with at least one significant set."""
        return sum(bool(self.significant(module)) for module in range(len(self.found)))


def module_names(modules: GeneModules, sets: GeneSets, min_size: int = MIN_SIZE) -> ModuleNames:
    """Find the gene sets that are over-represented in each module.

    p is gseapy's (`gseapy.enrich`: hypergeometric, at least so many shared genes) with all G genes as the
    background. gseapy corrects within one list, and for the sets that share a gene with it only; here q is
    over all K x S pairs, those without a shared gene (p = 1) included.

    Parameters
    ----------
    modules
        G genes in K modules.
    sets
        S gene sets.
    min_size
        Sets with fewer genes in the gene space are dropped, by name.

    Raises
    ------
    SchemaError
        No set is left.
    """
    index = index_sets(sets, modules.genes, min_size)
    overlap = _overlaps(modules, index)
    p = np.ones((modules.n_modules, len(index)))
    # gseapy folds case and takes names of digits alone for Entrez numbers: positions have neither trouble.
    tested = {f"S{s}": _tokens(index.members_of(s)) for s in range(len(index))}
    background = _tokens(np.arange(index.n_genes))
    for module in np.flatnonzero(overlap.any(axis=1)).tolist():
        found = _p_values(_tokens(np.flatnonzero(modules.labels == module)), tested, background)
        for token, value in found.items():
            p[module, int(token[1:])] = value
    q = false_discovery_control(np.clip(p, 0.0, 1.0).ravel()).reshape(p.shape)
    return ModuleNames(
        source=sets.source or "the given sets",
        n_sets=len(index),
        found=tuple(_ranked(index, overlap[m], p[m], q[m]) for m in range(modules.n_modules)),
        dropped=index.dropped,
    )


def _tokens(places: NDArray[np.integer]) -> list[str]:
    return [f"G{place}" for place in places.tolist()]


def _overlaps(modules: GeneModules, index: SetIndex) -> NDArray[np.int64]:
    """Return (K, S) how many genes each module shares with each set."""
    set_of_member = np.repeat(np.arange(len(index)), index.sizes)
    cell = modules.labels[index.members] * len(index) + set_of_member
    counts = np.bincount(cell, minlength=modules.n_modules * len(index))
    return counts.astype(np.int64).reshape(modules.n_modules, len(index))


def _p_values(members: list[str], tested: Mapping[str, list[str]], background: list[str]) -> dict[str, float]:
    """Return the p of every set that shares a gene with `members`, by its token."""
    outcome = gseapy.enrich(
        gene_list=members,
        gene_sets=dict(tested),
        background=background,
        outdir=None,
        no_plot=True,
        verbose=False,
    )
    outcome.close()
    table = outcome.res2d
    return {str(term): float(p) for term, p in zip(table["Term"], table["P-value"], strict=True)}


def _ranked(
    index: SetIndex, overlap: NDArray[np.int64], p: NDArray[np.float64], q: NDArray[np.float64]
) -> tuple[NamedSet, ...]:
    order = np.argsort(p, kind="stable")
    return tuple(
        NamedSet(index.names[s], int(overlap[s]), int(index.sizes[s]), float(p[s]), float(q[s]))
        for s in order.tolist()
        if overlap[s]
    )

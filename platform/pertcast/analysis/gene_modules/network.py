"""Whether modules of genes are connected in a network more densely than chance would have it.

The chance is that of permuted labels: modules of the same sizes among the genes that the network knows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

from pertcast.analysis.association import FloatArray
from pertcast.analysis.gene_modules.modules import GeneModules, LabelArray

PERMUTATIONS = 100


@dataclass(frozen=True)
class ModuleConnections:
    """Edges within K modules against permuted labels.

    Attributes
    ----------
    source
        Which network it is.
    n_genes, n_edges
        Genes with at least one edge, and edges, within the gene space.
    n_within
        Edges whose genes share a module.
    density, expected, z
        Of all modules together: share of the pairs of genes within a module that are connected; its mean over
        permutations; (density - mean) / sd over permutations. NaN where undefined.
    module_density, module_expected, module_z
        (K,) the same of each module; NaN for modules with fewer than two genes in the network.
    module_edges
        (K,) int64, edges within each.
    permutations, seed
        Of the labels.
    """

    source: str
    n_genes: int
    n_edges: int
    n_within: int
    density: float
    expected: float
    z: float
    module_density: FloatArray
    module_expected: FloatArray
    module_z: FloatArray
    module_edges: LabelArray
    permutations: int
    seed: int


def module_connections(
    modules: GeneModules,
    edges: NDArray[np.integer],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    source: str = "",
) -> ModuleConnections:
    """Compare the density of edges within modules with that under permuted labels.

    Labels are permuted among the genes that have an edge: what the network does not know neither counts as
    unconnected nor helps a module by being somewhere else.

    Parameters
    ----------
    modules
        G genes in K modules.
    edges
        (E, 2) positions of connected genes. The order of a pair does not matter, a pair given twice counts
        once, and a gene is not connected with itself.
    permutations, seed
        Of the labels.
    source
        Which network it is, for reports.

    Raises
    ------
    SchemaError
        Edges are no pairs of positions below G, or connect nothing.
    """
    pairs = _distinct_pairs(edges, len(modules.genes))
    known = np.unique(pairs)
    place = np.full(len(modules.genes), -1, dtype=np.int64)
    place[known] = np.arange(len(known))
    labels, ends = modules.labels[known], place[pairs]
    n_pairs = _pairs_within(labels, modules.n_modules)
    observed = _edges_within(labels, ends, modules.n_modules)
    random = np.random.default_rng(seed)
    by_chance = np.stack(
        [_edges_within(random.permutation(labels), ends, modules.n_modules) for _ in range(permutations)]
    )
    every = _against(observed.sum(keepdims=True), by_chance.sum(axis=1, keepdims=True), n_pairs.sum())
    each = _against(observed, by_chance, n_pairs)
    return ModuleConnections(
        source=source,
        n_genes=len(known),
        n_edges=len(pairs),
        n_within=int(observed.sum()),
        density=float(every[0][0]),
        expected=float(every[1][0]),
        z=float(every[2][0]),
        module_density=each[0],
        module_expected=each[1],
        module_z=each[2],
        module_edges=observed,
        permutations=permutations,
        seed=seed,
    )


def _distinct_pairs(edges: NDArray[np.integer], n_genes: int) -> LabelArray:
    found = np.asarray(edges)
    is_pairs = found.ndim == 2 and found.shape[1] == 2 and np.issubdtype(found.dtype, np.integer)
    if not is_pairs or (len(found) and (found.min() < 0 or found.max() >= n_genes)):
        raise SchemaError(
            f"Edges of shape {found.shape} and type {found.dtype} are no pairs of the positions of "
            f"{n_genes} genes; give whole numbers from 0 to {n_genes - 1}, two a row."
        )
    ordered = np.sort(found.astype(np.int64), axis=1)
    ordered = ordered[ordered[:, 0] < ordered[:, 1]]
    if not len(ordered):
        raise SchemaError(
            f"The network connects no two of the {n_genes} genes: its names may be of another kind than the "
            "profiles'."
        )
    return np.unique(ordered, axis=0)


def _edges_within(labels: LabelArray, ends: LabelArray, n_modules: int) -> LabelArray:
    """Return (K,) how many of the (E, 2) edges have both ends in each module."""
    first, second = labels[ends[:, 0]], labels[ends[:, 1]]
    return np.bincount(first[first == second], minlength=n_modules).astype(np.int64)


def _pairs_within(labels: LabelArray, n_modules: int) -> LabelArray:
    sizes = np.bincount(labels, minlength=n_modules).astype(np.int64)
    pairs: LabelArray = sizes * (sizes - 1) // 2
    return pairs


def _against(
    observed: LabelArray, by_chance: LabelArray, n_pairs: LabelArray | np.int64
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return density, its mean by chance and z of (M,) counts, chance being (P, M)."""
    mean = by_chance.mean(axis=0)
    spread = by_chance.std(axis=0, ddof=1) if len(by_chance) > 1 else np.zeros(len(mean))
    with np.errstate(divide="ignore", invalid="ignore"):
        density, expected = observed / n_pairs, mean / n_pairs
        z = np.where((spread > 0) & (n_pairs > 0), (observed - mean) / spread, np.nan)
    return density, expected, z

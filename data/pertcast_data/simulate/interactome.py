"""Who touches whom: complexes, signalling pathways and physical interactions between genes.

Drawn independently of the modules, so that co-expression does not tell it; the regime `network` sends the
signal of a lost gene along it, and the atlas' network files are noisy, incomplete views of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

N_PROCESSES: Final = 4
GENES_PER_PATHWAY: Final = 35
ORPHAN_SHARE: Final = 0.05
COMPLEX_SHARE: Final = 0.35
COMPLEX_SIZES: Final = (3, 9)
EDGES_PER_GENE: Final = 2
CROSSING_SHARE: Final = 0.06
EDGE_WEIGHTS: Final = {"complex": 1.0, "pathway": 0.6, "crossing": 0.3}

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interactome:
    """Interactions of G genes in P pathways.

    Attributes
    ----------
    pathway
        (G,) int64, the signalling pathway of each gene; -1 for an orphan, which nothing touches.
    hubs
        (P,) int64, the gene of each pathway that most others touch.
    process
        (P,) int64, the cellular process (one of `N_PROCESSES`) that each pathway serves.
    complexes
        (K, G) CSR of ones: the members of each protein complex, all of one pathway.
    interactions
        (G, G) CSR float64, symmetric, no diagonal: 1 within complexes, 0.6 within pathways, 0.3 across them.
    """

    pathway: Integers
    hubs: Integers
    process: Integers
    complexes: Any
    interactions: Any

    @property
    def degree(self) -> Integers:
        """(G,) int64: how many genes each gene touches."""
        return np.asarray(np.diff(self.interactions.indptr), dtype=np.int64)


def build_interactome(n_genes: int, regulators: Integers, random: np.random.Generator) -> Interactome:
    """Draw pathways of log-normal size, complexes inside them, and interactions that prefer popular genes.

    Every pathway is connected and has its even share of the regulators; a regulator is never an orphan.
    """
    n_pathways = max(n_genes // GENES_PER_PATHWAY, N_PROCESSES)
    pathway = _pathways(n_genes, n_pathways, regulators, random)
    popularity = random.lognormal(0.0, 0.8, size=n_genes)
    order = np.lexsort((-popularity, pathway))
    starts = np.searchsorted(pathway[order], np.arange(n_pathways + 1))
    members = [order[start:stop] for start, stop in pairwise(starts)]
    complexes = _complexes(members, n_genes, random)
    inside = [_pathway_edges(genes, popularity[genes], random) for genes in members]
    within = np.concatenate(inside)
    drawn_in = np.flatnonzero(pathway >= 0)
    chance = popularity[drawn_in] / popularity[drawn_in].sum()
    crossing = random.choice(drawn_in, size=(round(CROSSING_SHARE * len(within)), 2), p=chance)
    return Interactome(
        pathway=pathway,
        hubs=np.array([genes[0] for genes in members], dtype=np.int64),
        process=random.permutation(np.arange(n_pathways) % N_PROCESSES),
        complexes=complexes,
        interactions=_interactions(complexes, within, crossing),
    )


def _pathways(n_genes: int, n_pathways: int, regulators: Integers, random: np.random.Generator) -> Integers:
    """Deal regulators evenly to pathways and other genes by the pathways' log-normal sizes."""
    size = random.lognormal(0.0, 0.4, size=n_pathways)
    pathway = random.choice(n_pathways, size=n_genes, p=size / size.sum()).astype(np.int64)
    pathway[random.random(n_genes) < ORPHAN_SHARE] = -1
    pathway[regulators] = random.permutation(np.arange(len(regulators)) % n_pathways)
    return pathway


def _complexes(members: list[Integers], n_genes: int, random: np.random.Generator) -> Any:
    """Group about a third of each pathway's genes into complexes of 3 to 8."""
    rows, genes, number = [], [], 0
    for pathway in members:
        left = random.permutation(pathway)[: round(COMPLEX_SHARE * len(pathway))]
        while len(left) >= COMPLEX_SIZES[0]:
            size = min(int(random.integers(*COMPLEX_SIZES)), len(left))
            rows.append(np.full(size, number))
            genes.append(left[:size])
            left, number = left[size:], number + 1
    if not rows:
        return sparse.csr_matrix((0, n_genes))
    places = np.concatenate(rows), np.concatenate(genes)
    return sparse.csr_matrix((np.ones(len(places[0])), places), shape=(number, n_genes))


def _pathway_edges(genes: Integers, popularity: NDArray[np.float64], random: np.random.Generator) -> Integers:
    """Return (E, 2) edges: each gene touches a more popular one, so all hang together, and others at random.

    `genes` come in falling order of their popularity.
    """
    if len(genes) < 2:
        return np.empty((0, 2), dtype=np.int64)
    reach = np.cumsum(popularity)
    younger = np.arange(1, len(genes))
    elder = np.searchsorted(reach, random.random(len(younger)) * reach[younger - 1])
    extra = np.searchsorted(reach, random.random((EDGES_PER_GENE * len(genes), 2)) * reach[-1])
    return np.asarray(genes[np.concatenate([np.stack([younger, elder], axis=1), extra])], dtype=np.int64)


def _interactions(complexes: Any, within: Integers, crossing: Integers) -> Any:
    """Join all edges to one symmetric matrix; where two kinds of edge meet, the heavier one counts."""
    n_genes = complexes.shape[1]

    def matrix(edges: Integers, weight: float) -> Any:
        touches = sparse.csr_matrix(
            (np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n_genes, n_genes)
        )
        return weight * ((touches + touches.T) > 0).astype(np.float64)

    cliques = EDGE_WEIGHTS["complex"] * ((complexes.T @ complexes) > 0).astype(np.float64)
    loose = matrix(within, EDGE_WEIGHTS["pathway"]).maximum(matrix(crossing, EDGE_WEIGHTS["crossing"]))
    joined = sparse.csr_matrix(cliques.maximum(loose))
    joined.setdiag(0.0)
    joined.eliminate_zeros()
    joined.sort_indices()
    return joined

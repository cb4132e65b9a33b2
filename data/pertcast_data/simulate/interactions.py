"""What connects genes in the simulated genome: the layers of which networks on file show a part.

Regulation and co-expression follow the modules; interactions, complexes and pathways follow the interactome;
neighbourhood on a chromosome says nothing of responses: a model should not believe every network it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pertcast_data.simulate.genome import Network

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

PARTNERS_IN_EXPRESSION: Final = 5
LOWEST_COEXPRESSION: Final = 0.5
HOMODIMER_SHARE: Final = 0.02
PLACED_SHARE: Final = 0.8
NEIGHBOURS: Final = 2


@dataclass(frozen=True, slots=True)
class Layer:
    """True connections of one kind.

    Attributes
    ----------
    edges
        (E, 2) int64 gene indices, each pair once, in ascending order; first < second (equal in a homodimer),
        or source and target in a directed layer.
    weight
        (E,) float64 strength; signed in the regulatory layer, within (0, 1] in the others.
    """

    edges: Integers
    weight: Floats


def _layer(first: Integers, second: Integers, weight: Floats, n_genes: int) -> Layer:
    """Order each pair, keep the strongest of equal pairs and sort them."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((-weight, high, low))
    key = (low * n_genes + high)[order]
    chosen = order[np.flatnonzero(np.diff(key, prepend=-1))]
    return Layer(np.stack([low[chosen], high[chosen]], axis=1), np.asarray(weight[chosen], dtype=np.float64))


def _pairs_in_modules(
    network: Network, each: int, weight: Floats, random: np.random.Generator
) -> tuple[Integers, Integers]:
    """Let every member of every module draw `each` other members, in proportion to their (G,) weight."""
    first, second = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for module in range(network.n_modules):
        members = network.module_genes(module)
        chance = weight[members] / weight[members].sum()
        drawn = random.choice(members, size=(len(members), each), p=chance)
        asking = np.repeat(members, each)
        is_pair = asking != drawn.ravel()
        first.append(asking[is_pair])
        second.append(drawn.ravel()[is_pair])
    return np.concatenate(first), np.concatenate(second)


def protein_interactions(network: Network, random: np.random.Generator) -> Layer:
    """Return the interactome's edges, and some proteins that bind to themselves."""
    upper = sparse.coo_matrix(sparse.triu(network.interactome.interactions, k=1))
    homodimers = random.choice(network.n_genes, size=round(HOMODIMER_SHARE * network.n_genes), replace=False)
    first = np.concatenate([upper.row.astype(np.int64), homodimers])
    second = np.concatenate([upper.col.astype(np.int64), homodimers])
    return _layer(first, second, np.ones(len(first)), network.n_genes)


def coexpression(network: Network, random: np.random.Generator) -> Layer:
    """Pair genes whose answers to the regulators point the same way; weight is the cosine, at least 0.5."""
    even = np.ones(network.n_genes)
    first, second = _pairs_in_modules(network, PARTNERS_IN_EXPRESSION, even, random)
    answers = sparse.csr_matrix((network.control @ network.membership).T)
    lengths = np.sqrt(np.asarray(answers.multiply(answers).sum(axis=1))).ravel()
    dots = np.asarray(answers[first].multiply(answers[second]).sum(axis=1)).ravel()
    cosine = np.minimum(dots / np.maximum(lengths[first] * lengths[second], 1e-12), 1.0)
    alike = cosine >= LOWEST_COEXPRESSION
    return _layer(first[alike], second[alike], cosine[alike], network.n_genes)


def regulation(network: Network, random: np.random.Generator) -> Layer:
    """Return regulator -> target with its signed strength, over all modules of both; nothing is drawn."""
    action = sparse.coo_matrix(network.control @ network.membership)
    source, target = network.regulators[action.row], action.col.astype(np.int64)
    kept = (source != target) & (action.data != 0)
    order = np.lexsort((target[kept], source[kept]))
    edges = np.stack([source[kept][order], target[kept][order]], axis=1)
    return Layer(edges, np.asarray(action.data[kept][order], dtype=np.float64))


def complexes(network: Network, random: np.random.Generator) -> Layer:
    """Return all pairs of each complex, weight 1 / (size - 1); nothing is drawn."""
    of_complex = network.interactome.complexes
    size = np.diff(of_complex.indptr)
    weight = sparse.diags(1.0 / (size - 1))
    pairs = sparse.coo_matrix(sparse.triu(of_complex.T @ weight @ of_complex, k=1))
    return _layer(pairs.row.astype(np.int64), pairs.col.astype(np.int64), pairs.data, network.n_genes)


def pathways(network: Network, random: np.random.Generator) -> Layer:
    """Return all pairs of genes of one pathway, weight 1 / (size - 1); nothing is drawn."""
    pathway = network.interactome.pathway
    first, second, weight = ([np.zeros(0, dtype=np.int64)] for _ in range(3))
    for number in range(len(network.interactome.hubs)):
        genes = np.flatnonzero(pathway == number)
        left, right = np.triu_indices(len(genes), k=1)
        first.append(genes[left])
        second.append(genes[right])
        weight.append(np.full(len(left), 1.0 / max(len(genes) - 1, 1)))
    return _layer(np.concatenate(first), np.concatenate(second), np.concatenate(weight), network.n_genes)


def neighbourhood(network: Network, random: np.random.Generator) -> Layer:
    """Place genes on chromosomes; neighbours of up to two places, weight 1 / distance."""
    placed = random.permutation(network.n_genes)[: round(PLACED_SHARE * network.n_genes)]
    first = [placed[:-step] for step in range(1, NEIGHBOURS + 1)]
    second = [placed[step:] for step in range(1, NEIGHBOURS + 1)]
    weight = [np.full(len(part), 1.0 / step) for step, part in enumerate(first, start=1)]
    return _layer(np.concatenate(first), np.concatenate(second), np.concatenate(weight), network.n_genes)


LAYERS: Final[Mapping[str, Callable[[Network, np.random.Generator], Layer]]] = MappingProxyType(
    {
        "protein_interactions": protein_interactions,
        "coexpression": coexpression,
        "regulation": regulation,
        "complexes": complexes,
        "pathways": pathways,
        "neighbourhood": neighbourhood,
    }
)
"""Name -> how the true layer follows from the regulatory network."""

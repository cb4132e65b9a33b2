"""The regulatory network that all data of an atlas come from: genes, modules, regulators, signed weights.

Regulators (transcription-factor-like genes) drive modules, modules move their member genes, and the loss of
a gene acts back on the regulators of the modules it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pertcast_data.simulate.interactome import Interactome, build_interactome

SMALLEST_MODULE: Final = 10
LARGEST_MODULE: Final = 300
MEMBERSHIPS_PER_GENE: Final = 1.5
FEEDBACK_OF_A_MEMBER: Final = 0.6


@dataclass(frozen=True, slots=True)
class Network:
    """A regulatory network of G genes, M modules and R regulators.

    Attributes
    ----------
    gene_symbols, gene_ids
        G names; no real gene is called so.
    regulators
        (R,) int64, the gene that each regulator is.
    membership
        (M, G) CSR float64: signed weight of each gene in each module, log2 units a unit of module activity.
    control
        (R, M) CSR float64: signed action of each regulator on each module.
    crosstalk
        (R, R) float64: action of a regulator (row) on another (column); every column sums to less than 1 in
        absolute value, so that signals die out.
    influence
        (G, R) CSR float64: the drive on the regulators when a gene is knocked out.
    interactome
        Pathways, complexes and physical interactions of the same genes.
    """

    gene_symbols: tuple[str, ...]
    gene_ids: tuple[str, ...]
    regulators: NDArray[np.int64]
    membership: Any
    control: Any
    crosstalk: NDArray[np.float64]
    influence: Any
    interactome: Interactome

    @property
    def n_genes(self) -> int:
        """G, the number of genes."""
        return len(self.gene_symbols)

    @property
    def n_regulators(self) -> int:
        """R, the number of regulators."""
        return len(self.regulators)

    @property
    def n_modules(self) -> int:
        """M, the number of modules."""
        return int(self.membership.shape[0])

    @property
    def targets(self) -> Any:
        """(R, G) CSR float64: signed action of each regulator on each gene, through its modules."""
        return sparse.csr_matrix(self.control @ self.membership)

    def steady_answer(self, drive: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (N, G) answer to an (N, R) drive: regulators hear each other, all passes on linearly."""
        identity = np.eye(self.n_regulators)
        regulators = np.linalg.solve((identity - self.crosstalk).T, drive.T).T
        return np.asarray((regulators @ self.control) @ self.membership, dtype=np.float64)

    def module_genes(self, module: int) -> NDArray[np.int64]:
        """Return the members of a module, as sorted gene indices."""
        start, stop = self.membership.indptr[module : module + 2]
        return np.sort(self.membership.indices[start:stop]).astype(np.int64)


def module_sizes(n_genes: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw module sizes, log-normal within 10-300 (less for few genes), until genes have 1.5 modules each."""
    largest = min(LARGEST_MODULE, n_genes // 3)
    median = float(np.clip(n_genes / 12, 12, 45))
    draws = random.lognormal(np.log(median), 0.7, size=n_genes)
    sizes = np.clip(draws, min(SMALLEST_MODULE, largest), largest).astype(np.int64)
    enough = int(np.searchsorted(np.cumsum(sizes), MEMBERSHIPS_PER_GENE * n_genes)) + 1
    return sizes[: max(enough, 4)]


def build_network(n_genes: int, random: np.random.Generator) -> Network:
    """Draw a network of `n_genes` genes; about four regulators for three modules."""
    sizes = module_sizes(n_genes, random)
    n_modules = len(sizes)
    n_regulators = min(n_modules + n_modules // 3 + 2, n_genes // 3)
    regulators = np.sort(random.choice(n_genes, size=n_regulators, replace=False)).astype(np.int64)
    control = _control(n_regulators, n_modules, random)
    membership = _membership(sizes, n_genes, regulators, control, random)
    symbols = [f"SIMG{gene:05d}" for gene in range(1, n_genes + 1)]
    for gene in regulators:
        symbols[gene] = f"SIMTF{gene + 1:05d}"
    return Network(
        gene_symbols=tuple(symbols),
        gene_ids=tuple(f"SIM:{gene:07d}" for gene in range(1, n_genes + 1)),
        regulators=regulators,
        membership=membership,
        control=control,
        crosstalk=_crosstalk(n_regulators, random),
        influence=_influence(membership, control, regulators),
        interactome=build_interactome(n_genes, regulators, random),
    )


def _signs(count: int, share_positive: float, random: np.random.Generator) -> NDArray[np.float64]:
    return np.where(random.random(count) < share_positive, 1.0, -1.0)


def _control(n_regulators: int, n_modules: int, random: np.random.Generator) -> Any:
    """Give each module a lead regulator and, on average, one weaker second one; none is left idle."""
    matrix = sparse.lil_matrix((n_regulators, n_modules), dtype=np.float64)
    order = random.permutation(n_regulators)
    for place, regulator in enumerate(order):
        is_lead = place < n_modules
        module = place if is_lead else int(random.integers(n_modules))
        low, high = (0.6, 1.2) if is_lead else (0.3, 0.7)
        matrix[regulator, module] = _signs(1, 0.6, random)[0] * random.uniform(low, high)
    for _ in range(n_modules):
        regulator, module = int(random.integers(n_regulators)), int(random.integers(n_modules))
        if matrix[regulator, module] == 0:
            matrix[regulator, module] = _signs(1, 0.6, random)[0] * random.uniform(0.2, 0.6)
    return matrix.tocsr()


def _membership(
    sizes: NDArray[np.int64],
    n_genes: int,
    regulators: NDArray[np.int64],
    control: Any,
    random: np.random.Generator,
) -> Any:
    """Fill modules with genes (some are in many, some in none) and with the regulators they answer to."""
    popularity = random.lognormal(0.0, 0.6, size=n_genes)
    popularity /= popularity.sum()
    by_module = control.tocsc()
    modules, genes, weights = [], [], []
    for module, size in enumerate(sizes):
        leads = regulators[by_module.indices[by_module.indptr[module] : by_module.indptr[module + 1]]]
        drawn = random.choice(n_genes, size=int(size), replace=False, p=popularity)
        members = np.unique(np.concatenate([leads, drawn]))
        weight = _signs(len(members), 0.8, random) * random.lognormal(-0.5, 0.4, size=len(members))
        modules.append(np.full(len(members), module))
        genes.append(members)
        weights.append(weight)
    shape = (len(sizes), n_genes)
    places = (np.concatenate(modules), np.concatenate(genes))
    return sparse.csr_matrix((np.concatenate(weights), places), shape=shape)


def _crosstalk(n_regulators: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Let each regulator hear two others, weakly; the sum of what it hears stays under 0.6."""
    matrix = np.zeros((n_regulators, n_regulators))
    for listener in range(n_regulators):
        speakers = random.choice(n_regulators, size=2, replace=False)
        speakers = speakers[speakers != listener]
        matrix[speakers, listener] = _signs(len(speakers), 0.5, random) * random.uniform(
            0.1, 0.3, len(speakers)
        )
    return matrix


def _influence(membership: Any, control: Any, regulators: NDArray[np.int64]) -> Any:
    """Return what a gene's loss does: a regulator falls silent, a member weakens its modules' regulators."""
    n_genes, n_regulators = membership.shape[1], control.shape[0]
    lengths = np.sqrt(np.asarray(membership.multiply(membership).sum(axis=0))).ravel()
    scale = sparse.diags(1.0 / np.maximum(lengths, 1e-12))
    feedback = -FEEDBACK_OF_A_MEMBER * (scale @ membership.T @ control.T)
    ones = np.full(n_regulators, -1.0)
    own = sparse.csr_matrix((ones, (regulators, np.arange(n_regulators))), shape=(n_genes, n_regulators))
    return sparse.csr_matrix(feedback + own)

"""Leading eigenvectors: against exact decomposition, with islands, the same at every call."""

from __future__ import annotations

import pytest
import torch
from pertcast.models.multiplex_network.integration.adjacency import adjacency, degrees, regularised_walk
from pertcast.models.multiplex_network.integration.eigen import TOLERANCE, leading_eigenpairs, signed
from torch import Tensor

CPU = torch.device("cpu")


def random_edges(n_genes: int, n_edges: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(n_genes, (n_edges, 2), generator=generator).sort(dim=1).values
    return ends[ends[:, 0] < ends[:, 1]].unique(dim=0)


def network(n_genes: int, n_edges: int, seed: int) -> Tensor:
    edges = random_edges(n_genes, n_edges, seed)
    return adjacency(edges, torch.ones(len(edges)), n_genes, CPU)


def walk_matrix(matrix: Tensor) -> Tensor:
    """Return the dense S of the formula, made without the operator."""
    dense = matrix.to_dense()
    degree = dense.sum(dim=1)
    root = (degree + degree.mean()).rsqrt()
    return root[:, None] * (dense + degree.mean() / len(dense)) * root


def test_a_large_network_has_the_eigenpairs_of_its_dense_matrix() -> None:
    matrix = network(1300, 4000, 0)
    exact, exact_vectors = torch.linalg.eigh(walk_matrix(matrix))
    pairs = leading_eigenpairs(regularised_walk(matrix), 1300, 24, device=CPU)
    assert 0 < pairs.residual <= TOLERANCE
    torch.testing.assert_close(pairs.values, exact.flip(0)[:24], atol=1e-7, rtol=0)
    torch.testing.assert_close(pairs.vectors.T @ pairs.vectors, torch.eye(24, dtype=torch.float64))
    projection = exact_vectors.flip(1)[:, :12].T @ pairs.vectors[:, :12]
    torch.testing.assert_close(projection.abs(), torch.eye(12, dtype=torch.float64), atol=1e-3, rtol=0)


def test_equal_eigenvalues_of_many_islands_are_all_found() -> None:
    rows = torch.arange(1200).reshape(-1, 3)
    triangles = torch.cat((rows[:, [0, 1]], rows[:, [1, 2]], rows[:, [0, 2]]))
    matrix = adjacency(triangles, torch.ones(len(triangles)), 1200, CPU)
    exact = torch.linalg.eigvalsh(walk_matrix(matrix)).flip(0)[:40]
    assert exact[1] - exact[39] < 1e-12
    pairs = leading_eigenpairs(regularised_walk(matrix), 1200, 40, device=CPU)
    torch.testing.assert_close(pairs.values, exact, atol=1e-9, rtol=0)


def test_a_small_operator_is_decomposed_exactly_and_twice_alike() -> None:
    matrix = network(200, 700, 1)
    pairs = leading_eigenpairs(regularised_walk(matrix), 200, 200, device=CPU)
    again = leading_eigenpairs(regularised_walk(matrix), 200, 200, device=CPU)
    assert pairs.residual == 0 and torch.equal(pairs.vectors, again.vectors)
    rebuilt = pairs.vectors * pairs.values @ pairs.vectors.T
    torch.testing.assert_close(rebuilt, walk_matrix(matrix))


def test_the_sign_of_a_vector_is_that_at_which_the_first_of_its_largest_entries_is_positive() -> None:
    vectors = torch.tensor([[0.1, 0.5, -0.2], [-0.9, -0.5 * (1 + 1e-9), 0.2], [0.3, 0.1, 0.1]])
    expected = torch.tensor([[-0.1, 0.5, 0.2], [0.9, -0.5, -0.2], [-0.3, 0.1, -0.1]])
    torch.testing.assert_close(signed(vectors.double()), expected.double())


def test_the_adjacency_is_symmetric_and_does_not_depend_on_the_order_of_edges() -> None:
    edges = random_edges(50, 120, 2)
    weight = torch.rand(len(edges), generator=torch.Generator().manual_seed(0))
    turned = torch.randperm(len(edges), generator=torch.Generator().manual_seed(1))
    one, two = adjacency(edges, weight, 50, CPU), adjacency(edges[turned], weight[turned], 50, CPU)
    assert torch.equal(one.to_dense(), two.to_dense()) and torch.equal(one.to_dense(), one.to_dense().T)
    assert float(degrees(one).sum()) == pytest.approx(2 * float(weight.sum()), rel=1e-6)

"""The two losses over populations of cells: correlations of module means, and pathway scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pertcast.errors import ConfigError
from pertcast.models.module_flow.alignment import (
    ModuleMeans,
    PathwayScores,
    correlation_distance,
    correlations,
    membership_means,
    pathway_distance,
)
from torch import Tensor

N_MODULES = 32
# What two samples of one population differ by at 64, 256 and 1024 cells, in the method's description.
DESCRIBED = {64: 0.166, 256: 0.083, 1024: 0.043}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def module_cells(seed: int, groups: int, n: int, n_modules: int = N_MODULES) -> Tensor:
    """Cells whose modules share two weak programs."""
    loading = 0.5 * torch.randn(2, n_modules, generator=seeded(99))
    generator = seeded(seed)
    programs = torch.randn(groups, n, 2, generator=generator)
    return programs @ loading + torch.randn(groups, n, n_modules, generator=generator)


# --- linear maps


def test_module_means_are_the_means_of_each_modules_genes() -> None:
    labels = torch.tensor([1, 0, 1, -1, 1, 0])
    cells = torch.randn(4, 5, 6, generator=seeded(0))
    means = ModuleMeans(labels, 3)(cells)
    assert means.shape == (4, 5, 3)
    assert torch.allclose(means[..., 0], cells[..., [1, 5]].mean(dim=-1), atol=1e-6)
    assert torch.allclose(means[..., 1], cells[..., [0, 2, 4]].mean(dim=-1), atol=1e-6)
    assert torch.equal(means[..., 2], torch.zeros(4, 5))


def test_weighted_means_of_sets_weigh_their_genes() -> None:
    sets = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    mapped = membership_means(sets, torch.tensor([2.0, 4.0, 8.0]))
    assert torch.equal(mapped, torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]]))


def test_a_label_beyond_the_modules_is_an_error_that_names_the_gene() -> None:
    with pytest.raises(ConfigError, match="Gene 2 has module 3"):
        ModuleMeans(torch.tensor([0, 1, 3]), 3)


def test_pathway_scores_of_controls_have_unit_sd() -> None:
    membership = (torch.rand(20, 200, generator=seeded(1)) < 0.15).float()
    scale = torch.linspace(0.1, 2.0, 200)
    controls = scale * torch.randn(500, 200, generator=seeded(2))
    scores = PathwayScores(membership, controls)
    assert torch.equal(scores.kept, torch.arange(20))
    assert torch.allclose(scores(controls).std(dim=0, correction=0), torch.ones(20), rtol=1e-4)
    members = membership[3] > 0
    raw = controls[:, members].mean(dim=1)
    assert torch.allclose(scores(controls)[:, 3], raw / raw.std(correction=0), atol=1e-5)


def test_pathways_too_small_or_too_large_are_left_out() -> None:
    membership = torch.zeros(4, 400)
    for row, size in enumerate((9, 10, 300, 301)):
        membership[row, :size] = 1
    controls = torch.randn(50, 400, generator=seeded(3))
    assert PathwayScores(membership, controls).kept.tolist() == [1, 2]
    assert PathwayScores(membership, controls, smallest=1, largest=400).kept.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [0, 3])
def test_no_pathway_of_a_useful_size_is_an_error_that_says_so(count: int) -> None:
    with pytest.raises(ConfigError, match="No pathway has 10 to 300 of the 40 genes"):
        PathwayScores(torch.ones(count, 40) * (torch.arange(40) < 2), torch.randn(5, 40, generator=seeded(4)))


def test_a_pathway_silent_in_controls_is_measured_by_the_others() -> None:
    membership = torch.zeros(3, 60)
    for row in range(3):
        membership[row, 20 * row : 20 * row + 20] = 1
    controls = torch.randn(100, 60, generator=seeded(5))
    controls[:, 40:] = 0
    scores = PathwayScores(membership, controls)
    ratio = scores.weight[40:, 2].max() / scores.weight[:20, 0].max()
    assert 5 < float(ratio) < 20
    assert bool(scores.weight.isfinite().all())


def test_without_controls_the_unit_is_that_of_independent_genes() -> None:
    membership = torch.zeros(2, 100)
    membership[0, :16], membership[1, :64] = 1, 1
    scores = PathwayScores(membership, torch.zeros(0, 100))
    assert float(scores.weight[0, 0]) == pytest.approx(1 / 4)
    assert float(scores.weight[0, 1]) == pytest.approx(1 / 8)


def test_maps_move_with_the_module_keep_float32_under_autocast_and_are_not_saved() -> None:
    mapped = ModuleMeans(torch.tensor([0, 1, 0]), 2)
    cells = torch.randn(3, 3, generator=seeded(6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mapped(cells)
    assert found.dtype == torch.float32 and torch.equal(found, mapped(cells))
    assert mapped.state_dict() == {}
    assert mapped.to("meta").weight.device.type == "meta"


# --- correlations


def test_correlations_are_those_of_numpy() -> None:
    cells = module_cells(0, 3, 50, 6)
    found = correlations(cells)
    for group in range(3):
        expected = np.corrcoef(cells[group].double().numpy(), rowvar=False)
        assert np.allclose(found[group].numpy(), expected, atol=1e-5)


def test_distance_to_ones_own_correlations_is_zero_with_a_finite_gradient() -> None:
    cells = module_cells(1, 2, 40).requires_grad_()
    distance = correlation_distance(cells, correlations(cells.detach()))
    distance.sum().backward()
    assert torch.equal(distance, torch.zeros(2))
    assert cells.grad is not None and torch.equal(cells.grad, torch.zeros_like(cells.grad))


@pytest.mark.parametrize("n", list(DESCRIBED))
def test_two_true_samples_differ_as_described(n: int) -> None:
    first, second = module_cells(2, 10, n), module_cells(3, 10, n)
    noise = float(correlation_distance(first, correlations(second)).mean())
    assert noise == pytest.approx(DESCRIBED[n], rel=0.25)


def test_the_distance_of_true_samples_falls_as_one_over_the_root_of_their_cells() -> None:
    truth = correlations(module_cells(4, 1, 200_000)).expand(10, -1, -1)
    noise = {n: float(correlation_distance(module_cells(5, 10, n), truth).mean()) for n in DESCRIBED}
    assert noise[64] / noise[256] == pytest.approx(2, rel=0.1)
    assert noise[256] / noise[1024] == pytest.approx(2, rel=0.1)
    # Against correlations of all cells, the noise is that of one sample and not of two.
    assert all(noise[n] == pytest.approx(DESCRIBED[n] / 2**0.5, rel=0.25) for n in DESCRIBED)


def test_the_correlation_gradient_is_that_of_finite_differences() -> None:
    cells = module_cells(6, 2, 12, 4).double().requires_grad_()
    target = correlations(module_cells(7, 2, 30, 4)).double()
    assert torch.autograd.gradcheck(lambda x: correlation_distance(x, target), (cells,), atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 1000.0])
def test_a_module_that_does_not_vary_leaves_the_gradient_finite(level: float) -> None:
    cells = module_cells(8, 3, 64).clone()
    target = correlations(module_cells(9, 3, 256))
    cells[0, :, 5] = level
    cells[1] = level
    cells.requires_grad_()
    distance = correlation_distance(cells, target)
    distance.sum().backward()
    assert cells.grad is not None
    assert bool(distance.isfinite().all()) and bool(cells.grad.isfinite().all())
    assert torch.equal(cells.grad[0, :, 5], torch.zeros(64))
    assert torch.equal(cells.grad[1], torch.zeros(64, N_MODULES))
    assert float(cells.grad[0].abs().max()) > 0
    assert torch.equal(correlations(cells.detach())[0, 5], torch.zeros(N_MODULES))


def test_correlations_do_not_depend_on_level_or_unit_of_a_module() -> None:
    cells = module_cells(10, 2, 100)
    unit = torch.logspace(-1, 1, N_MODULES)
    assert torch.allclose(correlations(cells * unit + 3.0), correlations(cells), atol=1e-4)


def test_descending_the_correlation_distance_restores_correlations() -> None:
    target = correlations(module_cells(11, 1, 20_000, 8))
    cells = torch.randn(1, 256, 8, generator=seeded(12)).requires_grad_()
    optimiser = torch.optim.Adam([cells], lr=0.03)
    before = float(correlation_distance(cells.detach(), target))
    for _ in range(100):
        optimiser.zero_grad()
        correlation_distance(cells, target).sum().backward()
        optimiser.step()
    assert float(correlation_distance(cells, target)) < 0.1 * before


# --- pathways


def test_pathway_distance_is_zero_for_the_same_cells_and_grows_with_the_shift() -> None:
    measured = torch.randn(2, 64, 20, generator=seeded(13))
    shuffled = measured[:, torch.randperm(64, generator=seeded(14))]
    assert float(pathway_distance(shuffled, measured).abs().max()) < 1e-4
    near = torch.randn(2, 64, 20, generator=seeded(15))
    distances = [pathway_distance(near + shift, measured) for shift in (0.0, 0.5, 2.0)]
    assert bool((distances[0] > 0).all())
    assert bool((distances[0] < distances[1]).all()) and bool((distances[1] < distances[2]).all())


def test_a_pure_shift_costs_its_square_a_pathway_however_many_there_are() -> None:
    for count in (5, 200):
        measured = torch.randn(3, 50, count, generator=seeded(16))
        assert torch.allclose(pathway_distance(measured + 0.7, measured), torch.full((3,), 0.49), rtol=1e-3)


@pytest.mark.parametrize("epsilon", [0.05, 0.1])
@pytest.mark.parametrize("shift", [32.0, 1000.0])
def test_pathway_distance_and_gradient_are_finite_and_not_zero_at_large_costs(
    shift: float, epsilon: float
) -> None:
    measured = torch.randn(2, 48, 30, generator=seeded(17))
    generated = (torch.randn(2, 64, 30, generator=seeded(18)) + shift).requires_grad_()
    distance = pathway_distance(generated, measured, epsilon)
    distance.sum().backward()
    assert bool((distance > 1000).all()) and bool(distance.isfinite().all())
    assert generated.grad is not None and bool(generated.grad.isfinite().all())
    assert bool((generated.grad > 0).all())
    cost = torch.cdist(generated.detach(), measured).square() / 30
    assert float(torch.exp(-cost / 0.1).max()) == 0.0


def test_a_step_along_the_pathway_gradient_lowers_the_distance() -> None:
    measured = torch.randn(2, 64, 10, generator=seeded(19)) * torch.linspace(0.3, 2.0, 10)
    generated = torch.randn(2, 96, 10, generator=seeded(20)).requires_grad_()
    before = pathway_distance(generated, measured)
    (slope,) = torch.autograd.grad(before.sum(), generated)
    after = pathway_distance(generated.detach() - 20 * slope, measured)
    assert bool((after < before).all())


def test_pathway_distance_does_not_depend_on_the_order_of_cells_or_on_other_groups() -> None:
    measured = torch.randn(3, 40, 12, generator=seeded(21))
    generated = 1.5 * torch.randn(3, 56, 12, generator=seeded(22))
    together = pathway_distance(generated, measured)
    mixed = pathway_distance(generated[:, torch.randperm(56, generator=seeded(23))], measured)
    assert torch.allclose(mixed, together, rtol=1e-4)
    alone = torch.cat([pathway_distance(generated[i : i + 1], measured[i : i + 1]) for i in range(3)])
    assert torch.allclose(alone, together, rtol=1e-5)


def test_a_constant_pathway_and_equal_cells_leave_the_gradient_finite() -> None:
    measured = torch.randn(2, 40, 12, generator=seeded(24))
    measured[..., 4] = 0
    generated = torch.zeros(2, 40, 12, requires_grad=True)
    pathway_distance(generated, measured).sum().backward()
    assert generated.grad is not None and bool(generated.grad.isfinite().all())
    assert torch.equal(pathway_distance(torch.zeros(1, 8, 3), torch.zeros(1, 8, 3)), torch.zeros(1))

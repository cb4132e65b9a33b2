"""Entropic transport against POT and against what must hold; pairing of cells by it.

The pairing of 16 groups of 128 x 128 points in 50 dimensions at epsilon 0.05 takes about ten times as long as
the bare matrix product of its cost: 5 to 6 ms against 0.5 ms on one core (best of 60, float32).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast.models.module_flow.pairing import balanced, pair_by_transport, pair_independently
from pertcast.models.noise import KeyedNoise
from pertcast.models.transport.kernel_scaling import KernelScaling
from pertcast.models.transport.sinkhorn import (
    Transport,
    centred,
    entropic_transport,
    relative_epsilon,
    self_transport,
    sinkhorn_divergence,
    squared_distances,
)
from torch import Tensor

PROBLEMS = [(0, 40, 40, 3), (1, 30, 50, 8), (2, 64, 17, 2), (3, 1, 9, 4)]
SHARES = [0.05, 0.1, 1.0]


def clouds(seed: int, n: int, m: int, dim: int, batch: int = 1, shift: float = 0.5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(batch, n, dim, generator=generator)
    return first, 1.3 * torch.randn(batch, m, dim, generator=generator) + shift


def solved(first: Tensor, second: Tensor, share: float) -> tuple[Transport, Tensor, Tensor]:
    cost = squared_distances(first, second)
    epsilon = relative_epsilon(cost, share)
    return entropic_transport(cost, epsilon, rounds=5000, tolerance=1e-6), cost, epsilon


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("seed", "n", "m", "dim"), PROBLEMS)
def test_plan_and_cost_are_those_of_pot(seed: int, n: int, m: int, dim: int, share: float) -> None:
    ot = pytest.importorskip("ot")
    first, second = clouds(seed, n, m, dim)
    ours, cost, epsilon = solved(first, second, share)
    exact = ot.dist(first[0].double().numpy(), second[0].double().numpy())
    weights = np.full(n, 1 / n), np.full(m, 1 / m)
    plan = ot.sinkhorn(
        *weights, exact, float(epsilon[0]), method="sinkhorn_log", numItermax=2000, stopThr=1e-9
    )
    assert np.abs(ours.plan[0].numpy() - plan).max() * max(n, m) < 1e-4
    assert float(ours.cost_under(cost)[0]) == pytest.approx((plan * exact).sum(), rel=1e-4)
    divergence = (plan * np.log(np.maximum(plan, 1e-300) * n * m)).sum()
    assert float(ours.value[0]) == pytest.approx(
        (plan * exact).sum() + float(epsilon[0]) * divergence, rel=1e-4
    )


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("seed", "n", "m", "dim"), PROBLEMS)
def test_debiased_cost_is_the_empirical_divergence_of_pot(
    seed: int, n: int, m: int, dim: int, share: float
) -> None:
    """POT's function leaves the entropic terms out of all three costs."""
    ot = pytest.importorskip("ot")
    first, second = clouds(seed, n, m, dim)
    between, cost, epsilon = solved(first, second, share)
    debiased = between.cost_under(cost)
    for cloud in (first, second):
        own = squared_distances(cloud, cloud)
        debiased = debiased - 0.5 * self_transport(own, epsilon, tolerance=1e-6).cost_under(own)
    theirs = ot.bregman.empirical_sinkhorn_divergence(
        first[0].double().numpy(),
        second[0].double().numpy(),
        float(epsilon[0]),
        method="sinkhorn_log",
        numIterMax=2000,
        stopThr=1e-9,
    )
    assert float(debiased[0]) == pytest.approx(float(theirs), abs=1e-4 * float(cost.mean()))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("seed", "n", "m", "dim"), PROBLEMS)
def test_divergence_is_that_of_the_regularised_values_of_pot(
    seed: int, n: int, m: int, dim: int, share: float
) -> None:
    ot = pytest.importorskip("ot")
    first, second = clouds(seed, n, m, dim)
    cost = squared_distances(first, second)
    epsilon = relative_epsilon(cost, share)

    def value(x: Tensor, y: Tensor) -> float:
        exact = ot.dist(x[0].double().numpy(), y[0].double().numpy())
        return float(ot.solve(exact, reg=float(epsilon[0]), reg_type="KL", max_iter=2000, tol=1e-9).value)

    expected = value(first, second) - 0.5 * (value(first, first) + value(second, second))
    ours = sinkhorn_divergence(first, second, epsilon, rounds=5000, tolerance=1e-6)
    assert float(ours[0]) == pytest.approx(expected, abs=1e-4 * float(cost.mean()))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 24),
    m=st.integers(1, 24),
    share=st.floats(0.01, 2.0),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_marginals_are_uniform(seed: int, n: int, m: int, share: float, scale: float) -> None:
    first, second = clouds(seed, n, m, 3, batch=2)
    cost = squared_distances(scale * first, scale * second)
    found = entropic_transport(cost, relative_epsilon(cost, share), rounds=5000)
    assert torch.allclose(found.plan.sum(dim=1) * m, torch.ones(2, m), atol=1e-5)
    row_error = (found.plan.sum(dim=2) * n - 1).abs().mean(dim=1)
    assert bool((row_error <= 2 * found.error + 1e-5).all())
    assert torch.allclose(balanced(found.plan).sum(dim=2) * n, torch.ones(2, n), atol=1e-5)
    assert torch.allclose(balanced(found.plan).sum(dim=1) * m, torch.ones(2, m), atol=1e-5)


def test_a_plan_that_is_not_balanced_is_made_so() -> None:
    plan = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(0)) ** 4
    plan = plan / plan.sum(dim=(1, 2), keepdim=True)
    exact = balanced(plan)
    assert torch.allclose(exact.sum(dim=2), torch.full((3, 7), 1 / 7), atol=1e-6)
    assert torch.allclose(exact.sum(dim=1), torch.full((3, 5), 1 / 5), atol=1e-6)
    lacking = 0.5 * ((plan.sum(dim=2) - 1 / 7).abs().sum(dim=1) + (plan.sum(dim=1) - 1 / 5).abs().sum(dim=1))
    assert bool(((exact - plan).abs().sum(dim=(1, 2)) <= 4 * lacking).all())


@pytest.mark.parametrize("epsilon", [0.1, 20.0])
def test_at_cost_1e3_the_plain_kernel_is_zero_and_the_divergence_has_value_and_gradient(
    epsilon: float,
) -> None:
    """Epsilon 0.1 is that of the paper; 20 is 0.02 of the cost."""
    first, second = clouds(5, 32, 32, 10, shift=10.0)
    cost = torch.cdist(first, second).square()
    assert float(cost.median()) > 1e3
    if epsilon == 0.1:
        kernel = torch.exp(-cost / epsilon)
        assert float(kernel.abs().max()) == 0.0
        scaled = 1.0 / (kernel @ torch.ones(1, 32, 1))
        assert not bool((scaled * kernel).isfinite().any())
    first.requires_grad_()
    loss = sinkhorn_divergence(first, second, torch.tensor([epsilon])).sum()
    loss.backward()
    assert first.grad is not None
    assert 900 < loss.item() < 1200
    assert bool(first.grad.isfinite().all()) and float(first.grad.abs().amax()) > 0
    # Moved all together, the loss is |shift|^2: its slope to the mean is twice the distance of the means.
    apart = 2 * (first.detach().mean(dim=1) - second.mean(dim=1))
    assert torch.allclose(first.grad.sum(dim=1), apart, rtol=1e-3, atol=1e-3)


def test_scales_that_leave_the_range_of_float32_are_absorbed_in_the_log_domain() -> None:
    """Two far groups of unequal size: mass must go where the kernel is below exp(-200)."""
    generator = torch.Generator().manual_seed(1)
    near = torch.randn(1, 20, 2, generator=generator)
    far = near + torch.tensor([40.0, 0.0])
    first = torch.cat((near[:, :15], far[:, :5]), dim=1)
    second = torch.cat((near[:, 15:], far[:, 5:]), dim=1)
    cost = squared_distances(first, second)
    epsilon = torch.tensor([5.0])
    found = entropic_transport(cost, epsilon, rounds=5000)
    exact = entropic_transport(cost.double(), epsilon.double(), rounds=20_000, tolerance=1e-9)
    assert float(exact.error[0]) < 1e-9
    assert float((found.plan - exact.plan).abs().max()) * 20 < 1e-3
    assert float(found.plan[0, :15, 5:].sum()) == pytest.approx(0.5, abs=1e-3)
    assert float(found.value[0]) == pytest.approx(float(exact.value[0]), rel=1e-4)


def test_a_restart_in_the_log_domain_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = clouds(3, 20, 24, 4, batch=3)
    cost = squared_distances(first, second)
    epsilon = relative_epsilon(cost, 0.05)
    plain = entropic_transport(cost, epsilon, tolerance=1e-6)
    own = self_transport(squared_distances(first, first), epsilon, tolerance=1e-6)
    restarts: list[int] = []
    restart = KernelScaling._restart

    def counted(scaling: KernelScaling, lost: Tensor) -> None:
        restarts.append(len(lost))
        restart(scaling, lost)

    monkeypatch.setattr(KernelScaling, "_restart", counted)
    monkeypatch.setattr("pertcast.models.transport.kernel_scaling._LARGEST_LOG_SCALE", 0.05)
    restarted = entropic_transport(cost, epsilon, tolerance=1e-6)
    assert restarts
    assert torch.allclose(restarted.plan, plain.plan, atol=1e-6)
    again = self_transport(squared_distances(first, first), epsilon, tolerance=1e-6)
    assert torch.allclose(again.plan, own.plan, atol=1e-6)


def test_divergence_of_a_cloud_with_itself_is_zero_and_of_others_is_positive() -> None:
    first, second = clouds(7, 50, 50, 6, batch=4)
    epsilon = relative_epsilon(squared_distances(first, second), 0.05)
    scale = float(squared_distances(first, second).mean())
    shuffled = first[:, torch.randperm(50, generator=torch.Generator().manual_seed(0))]
    assert float(sinkhorn_divergence(first, first, epsilon).abs().max()) < 1e-5 * scale
    assert float(sinkhorn_divergence(first, shuffled, epsilon).abs().max()) < 1e-5 * scale
    assert bool((sinkhorn_divergence(first, second, epsilon) > 1e-2 * scale).all())
    slightly = first + 0.05 * torch.randn(first.shape, generator=torch.Generator().manual_seed(1))
    assert bool((sinkhorn_divergence(first, slightly, epsilon) > 0).all())


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_gradient_is_that_of_finite_differences(share: float) -> None:
    first, second = (cloud.double().requires_grad_() for cloud in clouds(11, 9, 12, 3))
    epsilon = relative_epsilon(squared_distances(first, second), share)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return sinkhorn_divergence(x, y, epsilon, rounds=20_000, tolerance=1e-12)

    assert torch.autograd.gradcheck(loss, (first, second), eps=1e-5, atol=1e-6, rtol=1e-5)


def test_gradient_in_float32_is_that_in_float64() -> None:
    first, second = clouds(12, 64, 48, 20, batch=2)
    epsilon = relative_epsilon(squared_distances(first, second), 0.1, "median")
    slopes = []
    for dtype in (torch.float32, torch.float64):
        x = first.detach().to(dtype).requires_grad_()
        sinkhorn_divergence(x, second.to(dtype), epsilon).sum().backward()
        assert x.grad is not None and x.grad.dtype == dtype
        slopes.append(x.grad.double())
    assert float((slopes[0] - slopes[1]).norm() / slopes[1].norm()) < 1e-4


def test_order_of_points_and_of_problems_does_not_matter() -> None:
    first, second = clouds(13, 40, 30, 5, batch=3)
    epsilon = relative_epsilon(squared_distances(first, second), 0.05)
    generator = torch.Generator().manual_seed(2)
    rows, columns = torch.randperm(40, generator=generator), torch.randperm(30, generator=generator)
    expected = sinkhorn_divergence(first, second, epsilon)
    assert torch.allclose(
        sinkhorn_divergence(first[:, rows], second[:, columns], epsilon), expected, rtol=1e-4
    )
    assert torch.allclose(sinkhorn_divergence(second, first, epsilon), expected, rtol=1e-4)
    backwards = sinkhorn_divergence(first.flip(0), second.flip(0), epsilon.flip(0)).flip(0)
    assert torch.allclose(backwards, expected, rtol=1e-5)


def test_problems_side_by_side_are_solved_as_each_alone() -> None:
    """Easy and hard ones: none goes on iterating because of its neighbour."""
    first, second = clouds(14, 32, 32, 4, batch=5)
    cost = squared_distances(first, second)
    epsilon = torch.tensor([0.005, 0.02, 0.1, 1.0, 10.0]) * cost.mean(dim=(1, 2))
    together = entropic_transport(cost, epsilon)
    for index in range(5):
        alone = entropic_transport(cost[index : index + 1], epsilon[index : index + 1])
        assert torch.allclose(alone.plan[0], together.plan[index], rtol=1e-4, atol=1e-8)
        assert torch.allclose(alone.value[0], together.value[index], rtol=1e-5)
    assert float(together.error[4]) < float(together.error[0])


def test_transport_is_untouched_by_autocast_and_by_a_far_origin() -> None:
    first, second = clouds(15, 32, 32, 4)
    epsilon = relative_epsilon(squared_distances(first, second), 0.1)
    expected = sinkhorn_divergence(first, second, epsilon)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sinkhorn_divergence(first, second, epsilon), expected)
    assert torch.allclose(sinkhorn_divergence(first + 100, second + 100, epsilon), expected, rtol=1e-3)


def test_equal_points_cost_nothing() -> None:
    points = torch.full((2, 8, 3), 2.5, requires_grad=True)
    cost = squared_distances(points, points)
    loss = sinkhorn_divergence(points, points.detach(), relative_epsilon(cost, 0.1))
    loss.sum().backward()
    assert points.grad is not None
    assert torch.equal(loss, torch.zeros(2)) and torch.equal(points.grad, torch.zeros(2, 8, 3))


def test_epsilon_follows_the_mean_where_most_points_coincide() -> None:
    cost = torch.zeros(1, 10, 10)
    cost[0, 0] = 5.0
    assert float(relative_epsilon(cost, 0.1, "median")) == pytest.approx(0.05)
    assert float(relative_epsilon(cost + 1.0, 0.1, "median")) == pytest.approx(0.1)
    assert float(relative_epsilon(cost + 1.0, 0.1, "mean")) == pytest.approx(0.15)


def test_centred_points_keep_the_plan() -> None:
    first, second = clouds(16, 20, 25, 3, shift=3.0)
    epsilon = torch.tensor([1.0])
    apart = entropic_transport(squared_distances(first, second), epsilon)
    near = entropic_transport(squared_distances(centred(first)[0], centred(second)[0]), epsilon)
    assert torch.allclose(apart.plan, near.plan, atol=1e-6)


# --- pairing


def uniform_numbers(n_groups: int, size: int, seed: int = 0) -> Tensor:
    keys = torch.arange(n_groups * size)
    return KeyedNoise(seed=seed, step=3).uniform(keys, 1).view(n_groups, size)


def test_each_point_of_a_shifted_cloud_is_paired_with_itself() -> None:
    first, _ = clouds(20, 64, 64, 10, batch=3)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    moved = (first + 2.0)[:, order]
    partner = pair_by_transport(first, moved, uniform_numbers(3, 64), 0.002)
    assert torch.equal(partner, order.expand(3, 64))


def test_pairing_at_a_large_epsilon_is_nearly_independent_and_at_a_small_one_is_near() -> None:
    first, second = clouds(21, 128, 128, 5, batch=4)

    def length(partner: Tensor) -> float:
        chosen = first.gather(1, partner.unsqueeze(2).expand_as(second))
        return float((chosen - second).square().sum(dim=2).mean())

    uniform = uniform_numbers(4, 128)
    independent = length(pair_independently(first, second, uniform))
    large = length(pair_by_transport(first, second, uniform, 20.0))
    assert large == pytest.approx(independent, rel=0.1)
    lengths = [length(pair_by_transport(first, second, uniform, share)) for share in (1.0, 0.1, 0.02)]
    assert large > lengths[0] > lengths[1] > lengths[2]
    assert lengths[2] < 0.5 * independent


def test_every_start_is_drawn_equally_often_and_partners_follow_the_plan() -> None:
    first, second = clouds(22, 12, 8, 2)
    draws = 20_000
    noise = uniform_numbers(draws, 8)
    # The same problem many times over: one solution, many draws.
    partner = torch.cat(
        [
            pair_by_transport(
                first.expand(500, -1, -1), second.expand(500, -1, -1), noise[at : at + 500], 0.1
            )
            for at in range(0, draws, 500)
        ]
    )
    seen = torch.bincount(partner.flatten(), minlength=12) / partner.numel()
    assert float((seen - 1 / 12).abs().max()) < 4 * (1 / 12 / partner.numel()) ** 0.5
    cost = squared_distances(second, first)
    plan = entropic_transport(cost, relative_epsilon(cost, 0.1)).plan[0] * 8
    for end in range(8):
        frequency = torch.bincount(partner[:, end], minlength=12) / draws
        assert float((frequency - plan[end]).abs().max()) < 0.02


def test_partners_do_not_depend_on_what_else_is_in_the_batch() -> None:
    first, second = clouds(23, 32, 40, 6, batch=4)
    uniform = uniform_numbers(4, 40)
    together = pair_by_transport(first, second, uniform, 0.05)
    assert together.shape == (4, 40) and together.dtype == torch.int64
    assert int(together.min()) >= 0 and int(together.max()) < 32
    for index in range(4):
        rows = slice(index, index + 1)
        alone = pair_by_transport(first[rows], second[rows], uniform[rows], 0.05)
        assert torch.equal(alone[0], together[index])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_uniform_numbers_at_the_ends_stay_within_the_cloud(value: float) -> None:
    first, second = clouds(24, 6, 9, 2)
    uniform = torch.full((1, 9), value)
    for partner in (
        pair_by_transport(first, second, uniform, 0.01),
        pair_independently(first, second, uniform),
    ):
        assert int(partner.min()) >= 0 and int(partner.max()) < 6


def test_pairing_is_untouched_by_autocast() -> None:
    first, second = clouds(25, 64, 64, 16, batch=2)
    uniform = uniform_numbers(2, 64)
    expected = pair_by_transport(first, second, uniform, 0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pair_by_transport(first, second, uniform, 0.05), expected)

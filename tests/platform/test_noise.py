"""Keyed noise depends on seed, step, key and position alone, and is normal."""

from __future__ import annotations

import math

import pytest
import torch
from pertcast.models.noise import KeyedNoise

KEYS = torch.tensor([3, 2**62, 0, 17, 123456789])


def test_a_draw_does_not_depend_on_the_batch_or_its_order() -> None:
    noise = KeyedNoise(seed=5, step=2)
    whole = noise.normal(KEYS, 9)
    order = torch.tensor([4, 0, 2])
    assert torch.equal(noise.normal(KEYS[order], 9), whole[order])
    assert torch.equal(noise.normal(KEYS[3:4], 9), whole[3:4])


@pytest.mark.parametrize("other", [KeyedNoise(6, 2), KeyedNoise(5, 3)])
def test_another_seed_or_step_gives_unrelated_noise(other: KeyedNoise) -> None:
    keys = torch.arange(2000)
    first, second = KeyedNoise(5, 2).normal(keys, 8).flatten(), other.normal(keys, 8).flatten()
    correlation = torch.corrcoef(torch.stack((first, second)))[0, 1]
    assert abs(float(correlation)) < 4 / math.sqrt(first.numel())


def test_streams_under_one_key_are_unrelated() -> None:
    noise, keys = KeyedNoise(1), torch.arange(2000)
    first, second = noise.normal(keys, 8, stream=0).flatten(), noise.normal(keys, 8, stream=1).flatten()
    assert abs(float(torch.corrcoef(torch.stack((first, second)))[0, 1])) < 4 / math.sqrt(first.numel())


@pytest.mark.parametrize("width", [1, 2, 7, 978])
def test_the_width_is_what_was_asked_for(width: int) -> None:
    assert KeyedNoise(0).normal(KEYS, width).shape == (5, width)


def test_draws_are_standard_normal() -> None:
    draws = KeyedNoise(11).normal(torch.arange(4000), 25).flatten().double().sort().values
    uniform = 0.5 * (1 + torch.erf(draws / math.sqrt(2)))
    expected = (torch.arange(draws.numel()) + 0.5) / draws.numel()
    kolmogorov = float((uniform - expected).abs().max())
    assert kolmogorov < 1.95 / math.sqrt(draws.numel())


def test_neighbouring_keys_and_columns_are_uncorrelated() -> None:
    draws = KeyedNoise(0).normal(torch.arange(5000), 12)
    correlation = torch.corrcoef(draws.T) - torch.eye(12)
    assert float(correlation.abs().max()) < 5 / math.sqrt(5000)
    lagged = torch.corrcoef(torch.stack((draws[:-1, 0], draws[1:, 0])))[0, 1]
    assert abs(float(lagged)) < 5 / math.sqrt(5000)


def test_uniform_draws_lie_strictly_inside_zero_and_one() -> None:
    draws = KeyedNoise(3).uniform(torch.arange(20000), 10)
    assert float(draws.min()) > 0 and float(draws.max()) < 1
    assert float(draws.mean()) == pytest.approx(0.5, abs=0.005)

"""Samplers and schedule: right on targets whose denoiser is known, whatever the number of steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pertcast.models.latent_diffusion.config import SamplerConfig
from pertcast.models.latent_diffusion.losses import variance_bound
from pertcast.models.latent_diffusion.samplers import Denoised, sample
from pertcast.models.latent_diffusion.schedule import NoisePath, NoiseSchedule, ReverseKernel
from torch import Tensor

MEAN, VARIANCE = 1.0, 0.25
SCHEDULES = ("cosine", "linear")


def ideal(path: NoisePath, with_variance: bool = True) -> Callable[[Tensor, int], Denoised]:
    """The true posterior of a Gaussian target."""

    def denoise(latent: Tensor, step: int) -> Denoised:
        signal, noise = path.signal[step], path.noise[step]
        total = VARIANCE * signal**2 + noise**2
        mean = MEAN + VARIANCE * signal / total * (latent - signal * MEAN)
        variance = torch.full_like(latent, VARIANCE * noise**2 / total)
        return Denoised(mean, variance if with_variance else None)

    return denoise


def drawn(config: SamplerConfig, schedule: str = "cosine", with_variance: bool = True) -> Tensor:
    path = NoiseSchedule(schedule).path(config.steps)
    generator = torch.Generator().manual_seed(0)

    def normal(step: int = 0) -> Tensor:
        return torch.randn(400_000, 1, generator=generator, dtype=torch.float64)

    return sample(ideal(path, with_variance), normal(), path, config, normal)


def test_the_default_sampler_gives_mean_and_variance_of_a_gaussian() -> None:
    found = drawn(SamplerConfig())
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(found.var()) == pytest.approx(VARIANCE, rel=0.05)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 3, 15])
def test_the_ancestral_sampler_is_exact_at_any_number_of_steps_with_the_true_variance(
    schedule: str, steps: int
) -> None:
    found = drawn(SamplerConfig(kind="ancestral", steps=steps), schedule)
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(found.var()) == pytest.approx(VARIANCE, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("ancestral", 0.0), ("dpm_solver", 0.0)]
)
def test_every_sampler_converges_to_the_target_as_steps_grow(kind: str, eta: float) -> None:
    errors = []
    for steps in (15, 120):
        config = SamplerConfig.model_validate({"kind": kind, "eta": eta, "steps": steps})
        found = drawn(config, with_variance=False)
        assert float(found.mean()) == pytest.approx(MEAN, abs=0.01)
        errors.append(abs(float(found.var()) / VARIANCE - 1))
    assert errors[1] < 0.1 and errors[1] < errors[0] + 0.005


def test_ddim_with_the_kernels_noise_is_the_ancestral_process() -> None:
    ddim = drawn(SamplerConfig(kind="ddim", eta=1.0, steps=20))
    ancestral = drawn(SamplerConfig(kind="ancestral", steps=20), with_variance=False)
    torch.testing.assert_close(ddim, ancestral, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_path_begins_at_pure_noise_and_ends_clean(schedule: str) -> None:
    path = NoiseSchedule(schedule).path(10)
    assert path.steps == 10 and path.signal[0] == 0.0 and path.noise[0] == 1.0
    assert path.signal[-1] == 1.0 and path.noise[-1] == 0.0
    assert list(path.signal) == sorted(path.signal)
    assert all(a * a + b * b == pytest.approx(1.0) for a, b in zip(path.signal, path.noise, strict=True))


@given(st.floats(0.02, 0.98), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_two_short_reverse_steps_are_one_long_one(level: float, middle: float, end: float) -> None:
    schedule = NoiseSchedule("cosine")
    levels = torch.tensor([level, level * middle, level * middle * end], dtype=torch.float64)
    start, between, last = schedule.signal(levels)
    long = ReverseKernel.between(start, last)
    first, second = ReverseKernel.between(start, between), ReverseKernel.between(between, last)
    # E[z_s | z_t, z_0] and Var[z_s | z_t, z_0], through the level in between
    assert float(second.keep * first.keep) == pytest.approx(float(long.keep), rel=1e-6, abs=1e-9)
    towards = second.keep * first.towards + second.towards
    assert float(towards) == pytest.approx(float(long.towards), rel=1e-6, abs=1e-9)
    variance = second.keep**2 * first.variance + second.variance
    assert float(variance) == pytest.approx(float(long.variance), rel=1e-6, abs=1e-9)


def test_the_variance_bound_is_least_at_the_posterior_variance_and_not_at_zero() -> None:
    generator = torch.Generator().manual_seed(1)
    error = 0.3 * torch.randn(200_000, 1, generator=generator).square()
    schedule = NoiseSchedule("cosine")
    for level, after in ((0.9, 0.8), (0.5, 0.4), (0.05, 0.0)):
        signals = schedule.signal(torch.tensor([[level], [after]], dtype=torch.float64))
        kernel = ReverseKernel.between(signals[:1], signals[1:])
        tried = [0.3 * factor for factor in (0.02, 0.5, 0.8, 1.0, 1.25, 2.0)]
        bounds = [
            float(variance_bound(error, Denoised(error, torch.full_like(error, v)), kernel).mean())
            for v in tried
        ]
        assert bounds.index(min(bounds)) == 3 and all(map(math.isfinite, bounds))


def test_a_bound_without_a_variance_is_refused() -> None:
    pair = NoiseSchedule("cosine").signal(torch.tensor([[0.5], [0.4]]))
    with pytest.raises(ValueError, match="no variance"):
        variance_bound(pair, Denoised(pair), ReverseKernel.between(pair[:1], pair[1:]))

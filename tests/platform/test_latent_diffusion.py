"""latent_diffusion: its autoencoders, what it learns of a distribution, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pertcast.models.contract import GradientStage
from pertcast.models.latent_diffusion.autoencoder import build_autoencoder
from pertcast.models.latent_diffusion.config import AutoencoderConfig, DenoiserConfig, LatentDiffusionConfig
from pertcast.models.latent_diffusion.denoiser import Denoiser, Level
from pertcast.models.layers.latents.fitting import (
    CollapsedAutoencoder,
    ComponentsStage,
    LatentScaleStage,
    StandardisedTargets,
)
from pertcast.models.layers.scaling import Scaling
from pertcast.models.noise import KeyedNoise
from pertcast.models.registry import get_model

KINDS = ("vae", "pca", "none")


def low_rank(toy: SimpleNamespace, n_rows: int = 600, n_genes: int = 40, rank: int = 3) -> SimpleNamespace:
    """Rows that lie near a plane: rank-3 structure and a little noise."""
    world = toy.world(n_genes=n_genes, n_groups=0, n_contexts=1)
    generator = torch.Generator().manual_seed(5)
    axes = torch.linalg.qr(torch.randn(n_genes, rank, generator=generator)).Q.T
    scores = torch.randn(n_rows, rank, generator=generator) * torch.tensor([6.0, 4.0, 2.5])
    target = scores @ axes + 0.3 * torch.randn(n_rows, n_genes, generator=generator)
    conditions = world.conditions([[0]])
    batch = toy.batch(conditions, torch.zeros(n_rows, dtype=torch.int64), target)
    scaling = Scaling(world.space)
    return SimpleNamespace(world=world, batch=batch, axes=axes, target=target, scaling=scaling)


def fitted(toy: SimpleNamespace, case: SimpleNamespace, kind: str, dim: int = 3) -> SimpleNamespace:
    auto = build_autoencoder(AutoencoderConfig(kind=kind, latent_dim=dim), case.target.shape[1])
    targets = StandardisedTargets(case.scaling, 100.0)
    toy.solve(ComponentsStage(auto, targets), [case.batch])
    stage = LatentScaleStage(auto, targets)
    toy.solve(stage, [case.batch])
    return SimpleNamespace(auto=auto, facts=stage.facts())


def test_components_are_the_leading_singular_vectors(toy: SimpleNamespace) -> None:
    case = low_rank(toy)
    auto = fitted(toy, case, "pca").auto
    _, _, right = torch.linalg.svd(case.target, full_matrices=False)
    np.testing.assert_allclose((auto.components @ right[:3].T).abs().diagonal(), 1.0, atol=1e-3)


def test_components_of_a_genome_are_found_from_a_sketch(
    toy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = low_rank(toy, n_genes=120)
    exact = fitted(toy, case, "pca").auto
    monkeypatch.setattr("pertcast.models.layers.latents.fitting.EXACT_GENES", 60)
    sketched = fitted(toy, case, "pca").auto
    overlap = torch.linalg.svdvals(exact.components @ sketched.components.T)
    np.testing.assert_allclose(overlap, 1.0, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_autoencoder_restores_what_lies_in_its_space(toy: SimpleNamespace, kind: str) -> None:
    case = low_rank(toy)
    found = fitted(toy, case, kind)
    with torch.no_grad():
        restored = found.auto.decode(found.auto.encode(case.target))
    share = 1 - float((case.target - restored).square().sum() / case.target.square().sum())
    assert share > 0.93 and share == pytest.approx(found.facts["reconstruction_r2"], abs=0.01)
    assert found.facts["active_dimensions"] == (40 if kind == "none" else 3)


@pytest.mark.parametrize("kind", KINDS)
def test_variances_of_genes_follow_from_those_of_latents(toy: SimpleNamespace, kind: str) -> None:
    case = low_rank(toy)
    auto = fitted(toy, case, kind).auto
    variance = torch.linspace(0.2, 1.5, auto.latent_dim)
    draws = torch.randn(20_000, auto.latent_dim, generator=torch.Generator().manual_seed(0))
    decoded = auto.decode(draws * variance.sqrt()).detach()
    told = auto.gene_variance(variance.unsqueeze(0)).squeeze(0)
    np.testing.assert_allclose(told.numpy(), decoded.var(dim=0).numpy(), rtol=0.08, atol=1e-3)
    np.testing.assert_allclose(
        float(auto.dimension_weight().sum()), float(auto.gene_variance(torch.ones(1, auto.latent_dim)).sum()),
        rtol=1e-4,
    )  # fmt: skip


def test_a_variational_autoencoder_starts_as_good_as_components(toy: SimpleNamespace) -> None:
    case = low_rank(toy)
    components, variational = (fitted(toy, case, kind).facts["reconstruction_r2"] for kind in ("pca", "vae"))
    assert variational > components - 0.01


def test_a_dimension_that_holds_nothing_is_silent(toy: SimpleNamespace) -> None:
    case = low_rank(toy)
    plane = case.target @ case.axes.T @ case.axes
    case = SimpleNamespace(**{**vars(case), "target": plane, "batch": toy.batch(
        case.world.conditions([[0]]), torch.zeros(len(plane), dtype=torch.int64), plane)})  # fmt: skip
    auto = fitted(toy, case, "pca", dim=6).auto
    assert auto.active.tolist() == [1, 1, 1, 0, 0, 0]
    assert not auto.encode(case.target)[:, 3:].any()


def test_a_collapsed_autoencoder_is_an_error_that_says_what_to_do(toy: SimpleNamespace) -> None:
    case = low_rank(toy)
    auto = build_autoencoder(AutoencoderConfig(latent_dim=3), 40)
    for parameter in auto.parameters():
        torch.nn.init.zeros_(parameter)
    stage = LatentScaleStage(auto, StandardisedTargets(case.scaling, 100.0))
    with pytest.raises(CollapsedAutoencoder, match="kl_weight"):
        toy.solve(stage, [case.batch])


def test_an_untrained_denoiser_is_the_best_linear_one() -> None:
    denoiser = Denoiser(5, 8, DenoiserConfig(width=16, depth=1)).eval()
    latent = torch.randn(7, 5)
    modulation = denoiser.level_part(torch.full((7,), 0.5)) + denoiser.condition_part(torch.randn(7, 8))
    found = denoiser(latent, Level(0.6, 0.8), modulation)
    torch.testing.assert_close(found.mean, 0.6 * latent)
    torch.testing.assert_close(found.variance, torch.full_like(latent, 0.64))


def two_sided(toy: SimpleNamespace, n_rows: int = 1500) -> SimpleNamespace:
    """A response that is no Gaussian: wells go one way or the other, and which is a coin."""
    world = toy.world(n_genes=12, n_contexts=1, n_groups=0, max_slots=1)
    conditions = world.conditions([[0], [1]])
    generator = torch.Generator().manual_seed(2)
    index = torch.arange(n_rows) % 2
    side = torch.randint(0, 2, (n_rows, 1), generator=generator) * 2.0 - 1
    pattern = torch.randn(1, 12, generator=generator)
    target = side * pattern * 2 + 0.3 * torch.randn(n_rows, 12, generator=generator)
    target = target + index.unsqueeze(1) * torch.linspace(-1, 1, 12)
    return SimpleNamespace(world=world, conditions=conditions, pattern=pattern, target=target, index=index)


@pytest.mark.parametrize("kind", ["ancestral", "dpm_solver"])
def test_samples_follow_a_distribution_with_two_sides(toy: SimpleNamespace, kind: str) -> None:
    case = two_sided(toy)
    batch = toy.batch(case.conditions, case.index, case.target)
    settings = {
        "autoencoder": {"kind": "pca", "latent_dim": 4},
        "condition": {"width": 32, "dropout": 0.0},
        "denoiser": {"width": 64, "condition_dropout": 0.0},
        "sampler": {"kind": kind, "steps": 20},
    }
    model = toy.train("latent_diffusion", case.world, case.conditions, batch, steps=300, **settings)
    found = model.predict(case.conditions, torch.zeros(2, 12), n_samples=800)
    assert found.samples is not None
    along = (found.samples[0] - found.mean[0]) @ case.pattern[0] / case.pattern.square().sum()
    assert float((along.abs() < 1.0).float().mean()) < 0.15, "a Gaussian has 40 % of its draws in the middle"
    assert 0.35 < float((along > 0).float().mean()) < 0.65
    torch.testing.assert_close(found.samples.std(dim=1), found.sd, rtol=0.25, atol=0.05)


def trained(toy: SimpleNamespace, steps: int = 60, **settings: object) -> SimpleNamespace:
    world = toy.world(n_genes=10, n_contexts=2)
    conditions = world.conditions([[p % 12] for p in range(24)], [p % 2 for p in range(24)])
    index = torch.arange(24).repeat_interleave(4)
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(24, 10, generator=generator)[index] + 0.5 * torch.randn(96, 10, generator=generator)
    basal = torch.randn(2, 10, generator=generator)[conditions.context][index]
    batch = toy.batch(conditions, index, target, basal)
    small = {"condition": {"width": 32}, "denoiser": {"width": 32, "depth": 1}, **settings}
    model = toy.train("latent_diffusion", world, conditions, batch, steps=steps, **small)
    return SimpleNamespace(
        model=model, conditions=conditions, batch=batch, world=world, basal=batch.basal[::4]
    )


def with_sampler(case: SimpleNamespace, **sampler: object) -> torch.nn.Module:
    config = case.model.config.model_dump(mode="json")
    config["sampler"] |= sampler
    other = get_model("latent_diffusion").build(config, case.model.space, case.conditions)
    other.load_state_dict(case.model.state_dict(), strict=True)
    return other.eval()


def test_the_sampler_of_a_trained_model_may_be_changed(toy: SimpleNamespace) -> None:
    case = trained(toy)
    first = case.model.predict(case.conditions, case.basal, n_samples=1).samples
    for sampler in ({"kind": "ddim", "steps": 4}, {"kind": "ancestral", "steps": 9}):
        other = with_sampler(case, **sampler).predict(case.conditions, case.basal, n_samples=1).samples
        assert not torch.equal(first, other) and bool(torch.isfinite(other).all())


def test_the_average_of_many_samples_is_the_one_step_mean(toy: SimpleNamespace) -> None:
    case = trained(toy, autoencoder={"kind": "pca"})
    one = case.model.predict(case.conditions, case.basal)
    many = with_sampler(case, mean_samples=400).predict(case.conditions, case.basal)
    standardised = (many.mean - one.mean) / one.sd
    assert float(standardised.square().mean().sqrt()) < 0.15
    torch.testing.assert_close(one.sd, many.sd)


def test_guidance_of_one_changes_nothing_and_more_exaggerates(toy: SimpleNamespace) -> None:
    case = trained(toy)
    plain = case.model.predict(case.conditions, case.basal, n_samples=2)
    same = with_sampler(case, guidance=1.0).predict(case.conditions, case.basal, n_samples=2)
    assert torch.equal(plain.samples, same.samples)
    strong = with_sampler(case, guidance=2.0).predict(case.conditions, case.basal, n_samples=2)
    centre = case.model.scaling.centre(case.conditions)
    assert float((strong.mean - centre).norm()) > 1.5 * float((plain.mean - centre).norm())
    assert not torch.equal(plain.samples, strong.samples)


def test_samples_do_not_depend_on_how_many_are_drawn_at_a_time(
    toy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = trained(toy, steps=20)
    whole = case.model.predict(case.conditions, case.basal, n_samples=3).samples
    monkeypatch.setattr("pertcast.models.latent_diffusion.generation._CACHED_ROWS", 7)
    parts = case.model.predict(case.conditions, case.basal, n_samples=3).samples
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_without_basal_profile_the_basal_profile_says_nothing(toy: SimpleNamespace) -> None:
    blind = trained(toy, steps=20, condition={"width": 32, "use_basal": False})
    other = blind.model.predict(blind.conditions, blind.basal + 3)
    torch.testing.assert_close(other.mean, blind.model.predict(blind.conditions, blind.basal).mean)
    seeing = trained(toy, steps=20)
    moved = seeing.model.predict(seeing.conditions, seeing.basal + 3).mean
    assert not torch.allclose(moved, seeing.model.predict(seeing.conditions, seeing.basal).mean, atol=1e-3)


def test_gradient_stages_train_every_parameter_once(toy: SimpleNamespace) -> None:
    case = trained(toy, steps=1, autoencoder={"kind": "vae"})
    stages = [stage for stage in case.model.stages() if isinstance(stage, GradientStage)]
    assert [stage.name for stage in stages] == ["autoencoder", "response", "diffusion"]
    named = [id(parameter) for stage in stages for parameter in stage.module.parameters()]
    assert len(named) == len(set(named)) and set(named) == {id(p) for p in case.model.parameters()}
    case.model.zero_grad(set_to_none=True)
    for stage in stages:
        stage.module.train()
        stage.module(case.batch, KeyedNoise(0, 3))["loss"].backward()
        silent = [name for name, p in stage.module.named_parameters() if p.grad is None]
        assert not silent, (stage.name, silent)
        others = [p for other in stages if other is not stage for p in other.module.parameters()]
        assert all(p.grad is None for p in others)
        case.model.zero_grad(set_to_none=True)


def test_the_losses_do_not_depend_on_the_order_of_the_rows(toy: SimpleNamespace) -> None:
    case = trained(toy, steps=5)
    order = torch.randperm(len(case.batch), generator=torch.Generator().manual_seed(1))
    shuffled = type(case.batch)(
        case.batch.conditions.take(order), *(getattr(case.batch, name)[order] for name in
        ("target", "basal", "condition_index", "sample_id")),
    )  # fmt: skip
    for stage in case.model.stages():
        if isinstance(stage, GradientStage):
            stage.module.train()
            first, second = (stage.module(rows, KeyedNoise(0, 7)) for rows in (case.batch, shuffled))
            for term, value in first.items():
                torch.testing.assert_close(value, second[term], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_show_where_profiles_lie_and_move(toy: SimpleNamespace, kind: str) -> None:
    case = trained(toy, steps=5, autoencoder={"kind": kind, "latent_dim": 6})
    batch = case.batch
    still = case.model.latent(batch.conditions, batch.basal, torch.zeros_like(batch.target))
    moved = case.model.latent(batch.conditions, batch.basal, batch.target)
    half = still.shape[1] // 2
    assert not still[:, half:].any() and torch.equal(still[:, :half], moved[:, :half])
    assert float(moved[:, half:].abs().mean()) > 0.1


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"autoencoder": {"kind": "umap"}}, {"sampler": {"steps": 0}}, {"denoiser": {"min_snr": 0}}):
        with pytest.raises(ValueError, match="validation error"):
            LatentDiffusionConfig.model_validate(wrong)


def ablations() -> dict[str, dict[str, object]]:
    return {
        "fixed variance": {"denoiser": {"learned_variance": False}, "sampler": {"kind": "ancestral"}},
        "no min-SNR": {"denoiser": {"min_snr": None}},
        "linear schedule": {"denoiser": {"schedule": "linear"}},
    }


@pytest.mark.parametrize("name", ablations())
def test_what_can_be_left_out_leaves_a_working_model(toy: SimpleNamespace, name: str) -> None:
    case = trained(toy, steps=15, **ablations()[name])
    found = case.model.predict(case.conditions, case.basal, n_samples=2)
    assert bool(torch.isfinite(found.samples).all()) and not found.mean.requires_grad

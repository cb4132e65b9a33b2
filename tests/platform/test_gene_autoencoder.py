"""The autoencoder over gene modules: what it starts from, what it may not depend on, what it learns."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pertcast.models.contract import GradientStage
from pertcast.models.layers.latents.autoencoder import LinearAutoencoder
from pertcast.models.layers.latents.fitting import ComponentsStage, LatentScaleStage, StandardisedTargets
from pertcast.models.layers.scaling import Scaling
from pertcast.models.module_flow.attention import InducedAttention
from pertcast.models.module_flow.autoencoder_config import GeneAutoencoderConfig
from pertcast.models.module_flow.components import ConditionComponentsStage
from pertcast.models.module_flow.gene_autoencoder import GeneAutoencoder, build_gene_autoencoder
from pertcast.models.module_flow.reconstruction_loss import GeneAutoencoderLoss
from pertcast.models.module_flow.tokens import ModulesDoNotFit, ModuleTokens, module_places
from pertcast.models.noise import KeyedNoise
from torch import Tensor

GENES, MODULES = 23, 4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


UNEQUAL = torch.tensor([0] * 9 + [1] * 7 + [3] * 7)[torch.randperm(GENES, generator=seeded(1))]
"""Sizes 9, 7, 0, 7 of 23 genes, interleaved."""


def config_of(**settings: object) -> GeneAutoencoderConfig:
    plain = {"kind": "modules", "latent_dim": 4, "width": 16, "feed_forward": 24, "dropout": 0.0}
    return GeneAutoencoderConfig.model_validate(plain | settings)


def curved(n_rows: int, seed: int, labels: Tensor = UNEQUAL) -> Tensor:
    """Genes of a module follow one hidden number, along a line and a parabola."""
    truth, draw = seeded(7), seeded(seed)
    line, parabola = torch.randn(2, len(labels), generator=truth)
    hidden = torch.randn(n_rows, MODULES, generator=draw)[:, labels]
    noise = 0.3 * torch.randn(n_rows, len(labels), generator=draw)
    return line * hidden + 0.7 * parabola * (hidden.square() - 1) + noise


def make_case(
    toy: SimpleNamespace, n_rows: int = 240, n_controls: int = 30, **settings: object
) -> SimpleNamespace:
    """An autoencoder that has taken up labels and components, its loss, and one batch of 6 conditions."""
    torch.manual_seed(0)
    config = config_of(**settings)
    world = toy.world(n_genes=GENES, n_contexts=1, n_groups=0)
    conditions = world.conditions([[number] for number in range(6)])
    index = torch.arange(n_rows) % 6
    batch = toy.batch(conditions, index, curved(n_rows, seed=0))
    targets = StandardisedTargets(Scaling(world.space), 100.0)
    auto = GeneAutoencoder(config, GENES, MODULES, 10, embedding_width=3)
    auto.set_labels(UNEQUAL, torch.randn(GENES, 3, generator=seeded(2)))
    toy.solve(ComponentsStage(auto, targets), [batch])
    controls = torch.randn(n_controls, GENES, generator=seeded(3))
    loss = GeneAutoencoderLoss(auto, targets, controls, config)
    return SimpleNamespace(
        auto=auto, batch=batch, targets=targets, loss=loss, controls=controls, config=config
    )


def stir(auto: GeneAutoencoder) -> None:
    """Move the layers that start at zero, so that the networks have a say."""
    generator = seeded(9)
    for layer in (auto.encoder.leave, auto.decoder.leave):
        with torch.no_grad():
            layer.weight.copy_(0.3 * torch.randn(layer.weight.shape, generator=generator))


def rows_of(batch: object, rows: Tensor) -> object:
    names = ("target", "basal", "condition_index", "sample_id")
    return type(batch)(batch.conditions.take(rows), *(getattr(batch, name)[rows] for name in names))


def share_restored(auto: GeneAutoencoder, cells: Tensor) -> float:
    with torch.no_grad():
        left = cells - auto.raw_decode(auto.raw_latents(cells))
    return float(1 - left.square().sum() / cells.square().sum())


def test_an_untrained_autoencoder_is_principal_components(toy: SimpleNamespace) -> None:
    case = make_case(toy)
    linear = LinearAutoencoder(GENES, 4)
    for auto in (case.auto, linear):
        toy.solve(ComponentsStage(auto, case.targets), [case.batch])
        toy.solve(LatentScaleStage(auto, case.targets), [case.batch])
    cells = curved(50, seed=1)
    with torch.no_grad():
        ours, theirs = case.auto.encode(cells), linear.encode(cells)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(case.auto.decode(ours), linear.decode(theirs), rtol=1e-4, atol=1e-4)
    variance = torch.rand(3, 4, generator=seeded(0))
    torch.testing.assert_close(
        case.auto.gene_variance(variance), linear.gene_variance(variance), rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(case.auto.dimension_weight(), linear.dimension_weight(), rtol=1e-3, atol=1e-4)


def test_genes_of_any_order_have_the_same_latents(toy: SimpleNamespace) -> None:
    case = make_case(toy)
    stir(case.auto)
    order = torch.randperm(GENES, generator=seeded(4))
    cells = curved(20, seed=1)
    embedding = torch.randn(GENES, 3, generator=seeded(2))
    components, variances = (
        torch.linalg.qr(torch.randn(GENES, 4, generator=seeded(6))).Q.T,
        torch.tensor([4.0, 3.0, 2.0, 1.0]),
    )
    found = []
    for genes in (torch.arange(GENES), order):
        case.auto.set_labels(UNEQUAL[genes], embedding[genes])
        case.auto.start_from(components[:, genes], variances, torch.ones(GENES))
        with torch.no_grad():
            latents = case.auto.raw_latents(cells[:, genes])
            found.append((latents, case.auto.raw_decode(latents)[:, torch.argsort(genes)]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_padded_places_are_neither_read_nor_written() -> None:
    tokens = ModuleTokens(GENES, MODULES, 10)
    tokens.set_labels(UNEQUAL)
    cells = torch.randn(5, GENES, generator=seeded(0))
    dealt = tokens.gather(cells)
    assert int(tokens.is_member.sum()) == GENES and not dealt[:, ~tokens.is_member].any()
    assert torch.equal(tokens.scatter(dealt.masked_fill(~tokens.is_member, torch.nan)), cells)
    broken = cells.clone()
    broken[:, 0] = torch.nan
    there = tokens.members.eq(0) & tokens.is_member
    assert torch.equal(tokens.gather(broken).isnan().any(dim=0), there)


def test_a_module_without_genes_is_not_attended_to(toy: SimpleNamespace) -> None:
    case = make_case(toy)
    stir(case.auto)
    cells = curved(8, seed=1)
    with torch.no_grad():
        before = case.auto.raw_latents(cells)
        assert case.auto.tokens.is_present.tolist() == [True, True, False, True]
        case.auto.encoder.identity.own[2] = 100.0
        torch.testing.assert_close(case.auto.raw_latents(cells), before)
        case.auto.encoder.identity.own[1] = torch.linspace(-100, 100, 16)
        assert not torch.allclose(case.auto.raw_latents(cells), before, atol=1e-2)


@pytest.mark.parametrize("sizes", [[6, 6, 6, 5], [10, 1, 2, 10], [10, 0, 10, 3]])
def test_modules_of_unequal_size_are_dealt_and_brought_back(sizes: list[int]) -> None:
    tokens = ModuleTokens(GENES, MODULES, 10)
    labels = torch.repeat_interleave(torch.arange(MODULES), torch.tensor(sizes))
    tokens.set_labels(labels[torch.randperm(GENES, generator=seeded(3))])
    tokens.arrange(torch.rand(GENES, generator=seeded(4)))
    cells = torch.randn(3, GENES, generator=seeded(0))
    assert tokens.is_member.sum(dim=1).tolist() == sizes
    assert torch.equal(tokens.scatter(tokens.gather(cells)), cells)
    for module in range(MODULES):
        inside = tokens.members[module, tokens.is_member[module]]
        assert (tokens.labels[inside] == module).all()
    means = tokens.module_means(cells.T)
    for module in range(MODULES):
        own = cells.T[tokens.labels == module]
        torch.testing.assert_close(means[module], own.mean(dim=0) if len(own) else torch.zeros(3))


def test_places_hold_balanced_modules_and_larger_ones_by_a_factor() -> None:
    assert module_places(2000, 32) == 63 and module_places(2000, 32, 2.5) == 158
    assert module_places(10, 3, 100.0) == 10


def test_labels_that_do_not_fit_are_refused(toy: SimpleNamespace) -> None:
    auto = GeneAutoencoder(config_of(), GENES, MODULES, 8)
    with pytest.raises(ModulesDoNotFit, match="Module 0 has 9 genes, but a module has 8 places"):
        auto.set_labels(UNEQUAL)
    with pytest.raises(ModulesDoNotFit, match="Gene 0 has module 4"):
        auto.set_labels(torch.full((GENES,), 4))
    with pytest.raises(ModulesDoNotFit, match="one module a gene"):
        auto.set_labels(UNEQUAL[1:])
    with pytest.raises(ModulesDoNotFit, match="embedding width of 0"):
        auto.set_labels(torch.arange(GENES) % MODULES, torch.zeros(GENES, 2))
    with pytest.raises(ModulesDoNotFit, match="call set_labels"):
        GeneAutoencoder(config_of(), GENES, MODULES, 8).start_from(
            torch.zeros(4, GENES), torch.ones(4), torch.ones(GENES)
        )
    with pytest.raises(ValueError, match="no multiple of heads"):
        config_of(width=9, heads=2)


def test_training_restores_curved_modules_better_than_components(toy: SimpleNamespace) -> None:
    settings = {"latent_dim": 3, "width": 32, "control_share": 0.0, "condition_weight": 0.0}
    case = make_case(toy, n_rows=600, optimiser={"lr": 5e-3}, **settings)
    unseen = curved(400, seed=1)
    before = share_restored(case.auto, unseen)
    stage = GradientStage("autoencoder", case.loss, case.config.optimiser, epochs=1)
    toy.descend(stage, case.batch, steps=100)
    assert share_restored(case.auto.eval(), unseen) > before + 0.03


def test_every_parameter_is_trained(toy: SimpleNamespace) -> None:
    case = make_case(toy, dropout=0.1, mask_share=0.2)
    stir(case.auto)
    case.loss.train()
    case.loss(case.batch, KeyedNoise(0, 1))["loss"].backward()
    silent = [name for name, each in case.loss.named_parameters() if each.grad is None or not each.grad.any()]
    assert not silent


def test_the_loss_is_that_of_cells_and_of_condition_means(toy: SimpleNamespace) -> None:
    case = make_case(toy, condition_weight=3.0)
    stir(case.auto)
    case.loss.eval()
    with torch.no_grad():
        found = case.loss(case.batch, KeyedNoise(0))
        target = case.targets(case.batch)
        left = target - case.auto.raw_decode(case.auto.raw_latents(target))
    means = torch.stack([left[case.batch.condition_index == number].mean(dim=0) for number in range(6)])
    torch.testing.assert_close(found["cells"], left.square().mean())
    torch.testing.assert_close(found["conditions"], means.square().mean())
    torch.testing.assert_close(found["loss"], left.square().mean() + 3 * means.square().mean())


def test_a_bundle_of_it_loads_strictly_and_says_the_same(toy: SimpleNamespace) -> None:
    case = make_case(toy)
    stir(case.auto)
    toy.solve(LatentScaleStage(case.auto, case.targets), [case.batch])
    other = build_gene_autoencoder(case.config, GENES, MODULES, 10, embedding_width=3)
    other.load_state_dict(case.auto.state_dict(), strict=True)
    cells = curved(9, seed=1)
    with torch.no_grad():
        assert torch.equal(other.encode(cells), case.auto.encode(cells))
        assert torch.equal(other.decode(other.encode(cells)), case.auto.decode(case.auto.encode(cells)))


def test_a_cells_latents_do_not_depend_on_the_other_cells(toy: SimpleNamespace) -> None:
    case = make_case(toy)
    stir(case.auto)
    cells = curved(64, seed=1)
    with torch.no_grad():
        together = case.auto.raw_latents(cells)
        alone = torch.cat([case.auto.raw_latents(cells[row : row + 1]) for row in range(64)])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


def test_rows_of_control_cells_follow_from_seed_step_and_sample(toy: SimpleNamespace) -> None:
    case = make_case(toy, n_rows=400, control_share=0.25)
    case.loss.train()
    whole, is_control = case.loss.rows(case.batch, KeyedNoise(0, 5))
    assert 0.15 < float(is_control.float().mean()) < 0.35
    assert torch.equal(whole[~is_control], case.batch.target[~is_control])
    is_one = (whole[is_control].unsqueeze(1) == case.controls).all(dim=2)
    assert is_one.any(dim=1).all() and is_one.any(dim=0).sum() > 20
    picked = torch.tensor([311, 4, 77, 150, 0, 42])
    part, part_is_control = case.loss.rows(rows_of(case.batch, picked), KeyedNoise(0, 5))
    assert torch.equal(part, whole[picked]) and torch.equal(part_is_control, is_control[picked])
    for other in (KeyedNoise(0, 6), KeyedNoise(1, 5)):
        assert not torch.equal(case.loss.rows(case.batch, other)[1], is_control)
    case.loss.eval()
    assert torch.equal(case.loss.rows(case.batch, KeyedNoise(0, 5))[0], case.batch.target)


def test_dropout_and_masks_do_not_depend_on_the_order_of_rows(toy: SimpleNamespace) -> None:
    case = make_case(toy, dropout=0.2, mask_share=0.3)
    stir(case.auto)
    case.loss.train()
    order = torch.randperm(240, generator=seeded(1))
    with torch.no_grad():
        first, second = (
            case.loss(rows, KeyedNoise(0, 7)) for rows in (case.batch, rows_of(case.batch, order))
        )
        other = case.loss(case.batch, KeyedNoise(0, 8))
    for term, value in first.items():
        torch.testing.assert_close(second[term], value, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(other[term], value, rtol=1e-3)


def test_without_controls_no_row_is_replaced(toy: SimpleNamespace) -> None:
    case = make_case(toy, n_controls=0, control_share=0.3)
    case.loss.train()
    assert torch.equal(case.loss.rows(case.batch, KeyedNoise(0, 5))[0], case.batch.target)


def test_mixed_precision_trains_and_encodes_alike(toy: SimpleNamespace) -> None:
    case = make_case(toy)
    stir(case.auto)
    case.loss.train()
    full = case.loss(case.batch, KeyedNoise(0, 1))["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = case.loss(case.batch, KeyedNoise(0, 1))["loss"]
    half.backward()
    torch.testing.assert_close(half.detach(), full.detach(), rtol=0.03, atol=0.0)
    assert all(torch.isfinite(each.grad).all() for each in case.loss.parameters())


def test_a_block_treats_tokens_alike_wherever_they_stand() -> None:
    block = InducedAttention(16, heads=2, inducing=3, feed_forward=24, dropout=0.0, stream=0)
    tokens, order = torch.randn(2, 7, 16, generator=seeded(0)), torch.randperm(7, generator=seeded(1))
    with torch.no_grad():
        torch.testing.assert_close(block(tokens[:, order]), block(tokens)[:, order], rtol=1e-4, atol=1e-5)


def hidden_response(toy: SimpleNamespace, n_genes: int = GENES) -> SimpleNamespace:
    """Cells vary most along 3 directions; conditions differ along another one, faintly."""
    draw = seeded(5)
    axes = torch.linalg.qr(torch.randn(n_genes, 4, generator=draw)).Q.T
    world = toy.world(n_genes=n_genes, n_contexts=1, n_groups=0)
    conditions = world.conditions([[number] for number in range(10)])
    index = torch.arange(800) % 10
    loud = torch.randn(800, 3, generator=draw) * torch.tensor([4.0, 3.0, 2.0])
    faint = torch.randn(10, 1, generator=draw)[index]
    cells = loud @ axes[:3] + faint * axes[3:] + 0.2 * torch.randn(800, n_genes, generator=draw)
    batch = toy.batch(conditions, index, cells)
    targets = StandardisedTargets(Scaling(world.space), 100.0)
    return SimpleNamespace(batch=batch, targets=targets, response=axes[3])


def components_of(toy: SimpleNamespace, case: SimpleNamespace, dim: int, weight: float | None) -> Tensor:
    auto = LinearAutoencoder(len(case.response), dim)
    plain = ComponentsStage(auto, case.targets)
    weighted = ConditionComponentsStage(auto, case.targets, 10, weight or 0.0)
    toy.solve(plain if weight is None else weighted, [rows_of(case.batch, part) for part in
              torch.arange(800).split(300)])  # fmt: skip
    return auto.components


def test_components_keep_a_response_that_is_fainter_than_the_noise(toy: SimpleNamespace) -> None:
    case = hidden_response(toy)
    kept = {
        weight: float((components_of(toy, case, 2, weight) @ case.response).square().sum())
        for weight in (None, 50.0)
    }
    assert kept[None] < 0.1 and kept[50.0] > 0.9


def test_components_of_no_weight_are_principal_components(toy: SimpleNamespace) -> None:
    case = hidden_response(toy)
    plain, weighted = components_of(toy, case, 3, None), components_of(toy, case, 3, 0.0)
    torch.testing.assert_close((plain @ weighted.T).abs(), torch.eye(3), rtol=0, atol=1e-4)


def test_latents_on_weighted_components_are_uncorrelated(toy: SimpleNamespace) -> None:
    case = hidden_response(toy)
    scores = case.batch.target @ components_of(toy, case, 4, 20.0).T
    moment = scores.T @ scores / len(scores)
    assert float((moment - moment.diagonal().diag()).abs().max()) < 1e-3 * float(moment.diagonal().max())
    assert (moment.diagonal().diff() <= 0).all()


def test_weighted_components_of_a_genome_are_found_from_a_sketch(
    toy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = hidden_response(toy, n_genes=120)
    exact = components_of(toy, case, 4, 20.0)
    monkeypatch.setattr("pertcast.models.layers.latents.fitting.EXACT_GENES", 60)
    sketched = components_of(toy, case, 4, 20.0)
    torch.testing.assert_close((exact @ sketched.T).abs().diagonal(), torch.ones(4), rtol=0, atol=1e-2)

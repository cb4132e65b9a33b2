"""response_mlp starts at the shrunken means, learns what is there, and does no harm where nothing is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pertcast.models.batch import Batch
from pertcast.models.contract import GradientStage
from pertcast.models.layers.blocks import KeyedDropout
from pertcast.models.layers.condition_encoding import LogScaleFeatures
from pertcast.models.layers.scaling import Scaling, ScalingStage, shrunken_offsets
from pertcast.models.noise import KeyedNoise
from pertcast.models.registry import get_model


def plate_rows(n_plates: int, rows: int, spread: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    plate = torch.arange(n_plates).repeat_interleave(rows)
    offset = spread * torch.randn(n_plates, 40, generator=generator)
    return plate, offset[plate] + torch.randn(len(plate), 40, generator=generator)


def sums_by(plate: torch.Tensor, target: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    centred = (target - target.mean(dim=0)).double()
    sums = torch.zeros(count, target.shape[1], dtype=torch.float64).index_add_(0, plate, centred)
    return sums, torch.bincount(plate, minlength=count).double(), centred.square().sum(dim=0)


def test_offsets_are_shrunk_as_far_as_plates_are_noise() -> None:
    for spread, low, high in ((0.0, 0.0, 0.1), (0.5, 0.6, 0.8), (5.0, 0.97, 1.0)):
        plate, target = plate_rows(30, 8, spread)
        sums, rows, squares = sums_by(plate, target, 30)
        offsets, left = shrunken_offsets(sums, rows, squares)
        share = float((offsets / (sums / rows.unsqueeze(1))).mean())
        assert low <= share <= high, (spread, share)
        residual = (target - target.mean(dim=0)).double() - offsets[plate]
        torch.testing.assert_close(left, residual.square().sum(dim=0), rtol=1e-8, atol=1e-8)


def test_a_single_class_has_no_offset() -> None:
    sums, rows, squares = sums_by(torch.zeros(9, dtype=torch.int64), torch.randn(9, 4), 1)
    offsets, left = shrunken_offsets(sums, rows, squares)
    assert not offsets.any() and torch.equal(left, squares)


def test_the_scaling_centres_and_scales_the_training_targets(toy: SimpleNamespace) -> None:
    world = toy.world(n_genes=40, n_contexts=2, n_groups=4)
    conditions = world.conditions([[p % 12] for p in range(80)], [p % 2 for p in range(80)])
    plate, target = plate_rows(4, 20, 2.0)
    target = target * torch.linspace(0.1, 3, 40) + 5
    target[:, 3] = 1.5
    batch = toy.batch(conditions, torch.arange(80), target, basal=target * 2 + 1)
    batch.conditions.group[:] = plate
    scaling = Scaling(world.space)
    toy.solve(ScalingStage(scaling, True, True), [batch])
    standardised = scaling.standardise(batch.target, batch.conditions)
    assert float(standardised.mean(dim=0).abs().max()) < 1e-3
    varying = [g for g in range(40) if g != 3]
    np.testing.assert_allclose(standardised.square().mean(dim=0)[varying].numpy(), 1.0, rtol=1e-3)
    assert float(standardised[:, 3].abs().max()) < 1e-3
    basal = scaling.standardise_basal(batch.basal)[:, varying]
    np.testing.assert_allclose(basal.std(dim=0, correction=0).numpy(), 1.0, rtol=1e-3)


def nonlinear_task(toy: SimpleNamespace, signal: float, n_plates: int = 5) -> SimpleNamespace:
    """Response = plate + signal * tanh of features times a gate from the basal state, + noise."""
    world = toy.world(
        n_perturbations=150,
        n_unseen=50,
        n_genes=30,
        n_contexts=2,
        n_groups=n_plates,
        feature_width=6,
        max_slots=1,
    )
    generator = torch.Generator().manual_seed(3)
    sets = [[p] for p in range(200) for _ in range(2)]
    context = torch.arange(2).repeat(200)
    everything = world.conditions(sets, context.tolist())
    levels = torch.randn(2, 30, generator=generator)
    basal = levels[context] + 0.05 * torch.randn(400, 30, generator=generator)
    slopes = torch.randn(6, 30, generator=generator)
    truth = signal * torch.tanh(world.features[everything.slot[:, 0]] @ slopes)
    truth = truth * (1 - 0.8 * context).unsqueeze(1)
    everything.group[:] = torch.randint(0, n_plates, (400,), generator=generator)
    truth = truth + 0.8 * torch.randn(n_plates, 30, generator=generator)[everything.group]
    target = truth + torch.randn(400, 30, generator=generator)
    seen, held_out = torch.arange(300), torch.arange(300, 400)
    conditions = everything.take(seen)
    return SimpleNamespace(
        world=world,
        conditions=conditions,
        batch_of=lambda rows: toy.batch(conditions, rows, target[rows], basal[rows]),
        batch=toy.batch(conditions, seen, target[seen], basal[seen]),
        held_out=everything.take(held_out),
        basal=basal[held_out],
        truth=truth[held_out],
        target=target[held_out],
    )


def test_an_untrained_network_predicts_the_centre_with_the_training_sd(toy: SimpleNamespace) -> None:
    task = nonlinear_task(toy, signal=1.0)
    model = toy.train("response_mlp", task.world, task.conditions, task.batch, steps=0)
    found = model.predict(task.held_out, task.basal)
    torch.testing.assert_close(found.mean, model.scaling.centre(task.held_out))
    torch.testing.assert_close(found.sd, model.scaling.target_sd.expand_as(found.sd))


def test_it_beats_ridge_and_plate_mean_where_the_truth_is_nonlinear(toy: SimpleNamespace) -> None:
    task = nonlinear_task(toy, signal=3.0)
    errors = {}
    for name, settings in (("response_mlp", {"width": 64}), ("group_mean", {}), ("fingerprint_ridge", {})):
        model = toy.train(name, task.world, task.conditions, task.batch, steps=300, **settings)
        errors[name] = float((model.predict(task.held_out, task.basal).mean - task.truth).square().mean())
    assert errors["response_mlp"] < 0.6 * errors["group_mean"]
    assert errors["response_mlp"] < 0.9 * errors["fingerprint_ridge"]


def test_it_does_no_harm_where_perturbations_do_nothing(toy: SimpleNamespace) -> None:
    """The weights with the least validation loss are kept, as training does it."""
    task = nonlinear_task(toy, signal=0.0)
    plate = toy.train("group_mean", task.world, task.conditions, task.batch)
    rows = torch.arange(300)
    fitted, checked = task.batch_of(rows[rows % 8 > 0]), task.batch_of(rows[rows % 8 == 0])
    model = toy.train("response_mlp", task.world, task.conditions, fitted, steps=0)
    stage = next(s for s in model.stages() if isinstance(s, GradientStage))
    kept = (float("inf"), {})
    for _ in range(8):
        toy.descend(stage, fitted, 3)
        with torch.no_grad():
            loss = float(stage.module.eval()(checked, KeyedNoise(0))["loss"])
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        kept = min(kept, (loss, weights), key=lambda pair: pair[0])
    model.load_state_dict(kept[1])
    ours = float((model.eval().predict(task.held_out, task.basal).mean - task.target).square().mean())
    theirs = float((plate.predict(task.held_out, task.basal).mean - task.target).square().mean())
    assert ours < 1.01 * theirs


def test_the_spread_is_learnt_and_covers_what_it_should(toy: SimpleNamespace) -> None:
    world = toy.world(n_perturbations=40, n_unseen=0, n_genes=20, n_contexts=1, n_groups=0, max_slots=1)
    conditions = world.conditions([[p] for p in range(40)])
    index = torch.arange(40).repeat(20)
    loud = (torch.arange(40) % 2 == 0).float() * 2 + 0.5
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(800, 20, generator=generator) * loud[index].unsqueeze(1)
    settings = {"steps": 120, "sd_weight": 1.0, "width": 32, "optimiser": {"lr": 3e-3}}
    model = toy.train("response_mlp", world, conditions, toy.batch(conditions, index, target), **settings)
    found = model.predict(conditions, torch.zeros(40, 20))
    assert float(found.sd[loud > 1].mean()) > 2 * float(found.sd[loud < 1].mean())
    inside = ((target - found.mean[index]).abs() < 1.96 * found.sd[index]).float().mean()
    assert float(inside) == pytest.approx(0.95, abs=0.03)


def test_fitting_the_spread_never_moves_the_mean(toy: SimpleNamespace) -> None:
    task = nonlinear_task(toy, signal=1.0)
    means = [
        toy.train("response_mlp", task.world, task.conditions, task.batch, steps=5, sd_weight=weight)
        .predict(task.held_out, task.basal)
        .mean
        for weight in (0.0, 5.0)
    ]
    torch.testing.assert_close(means[0], means[1], rtol=1e-5, atol=1e-6)


def test_the_loss_does_not_depend_on_the_order_of_the_rows(toy: SimpleNamespace) -> None:
    task = nonlinear_task(toy, signal=1.0)
    model = toy.train("response_mlp", task.world, task.conditions, task.batch, steps=3, dropout=0.5)
    stage = next(s for s in model.stages() if isinstance(s, GradientStage))
    stage.module.train()
    order = torch.randperm(len(task.batch), generator=torch.Generator().manual_seed(1))
    batch = task.batch
    shuffled = Batch(
        conditions=batch.conditions.take(order),
        target=batch.target[order],
        basal=batch.basal[order],
        condition_index=batch.condition_index[order],
        sample_id=batch.sample_id[order],
    )
    first, second = stage.module(batch, KeyedNoise(1, 5)), stage.module(shuffled, KeyedNoise(1, 5))
    torch.testing.assert_close(first["loss"], second["loss"], rtol=1e-5, atol=1e-7)
    other = stage.module(batch, KeyedNoise(1, 6))
    assert not torch.equal(first["loss"], other["loss"])


def test_every_parameter_of_the_stage_gets_a_gradient(toy: SimpleNamespace) -> None:
    task = nonlinear_task(toy, signal=1.0)
    model = toy.train(
        "response_mlp", task.world, task.conditions, task.batch, steps=2, context_embedding=True
    )
    stage = next(s for s in model.stages() if isinstance(s, GradientStage))
    stage.module.zero_grad()
    stage.module(task.batch, KeyedNoise(0))["loss"].backward()
    missing = [n for n, p in stage.module.named_parameters() if p.grad is None]
    assert not missing
    owned = {id(p) for p in stage.module.parameters()}
    assert owned == {id(p) for p in model.parameters()}


def test_it_trains_and_predicts_under_bfloat16(toy: SimpleNamespace) -> None:
    task = nonlinear_task(toy, signal=1.0)
    model = toy.train("response_mlp", task.world, task.conditions, task.batch, steps=20)
    exact = model.predict(task.held_out, task.basal).mean
    stage = next(s for s in model.stages() if isinstance(s, GradientStage))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = stage.module(task.batch, KeyedNoise(0))["loss"]
        mixed = model.predict(task.held_out, task.basal).mean
    assert loss.dtype == torch.float32
    torch.testing.assert_close(mixed, exact, rtol=0.05, atol=0.05)
    model.network.to(torch.bfloat16)
    cast = model.predict(task.held_out, task.basal).mean
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, exact, rtol=0.05, atol=0.05)


def test_dropout_without_noise_or_in_evaluation_drops_nothing() -> None:
    layer, hidden, keys = KeyedDropout(0.5, 0), torch.ones(3, 8), torch.arange(3)
    assert torch.equal(layer(hidden, None, None), hidden)
    dropped = layer(hidden, KeyedNoise(0), keys)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(layer.eval()(hidden, KeyedNoise(0), keys), hidden)


def test_a_missing_dose_is_told_apart_from_a_dose_of_one_micromolar() -> None:
    features = LogScaleFeatures(2)(torch.tensor([0.0, float("nan")]))
    assert features[0, 0] == 1 and not features[1].any()


def test_its_weights_can_be_loaded_only_where_they_fit(toy: SimpleNamespace) -> None:
    task = nonlinear_task(toy, signal=1.0)
    space = task.world.space.model_copy(update={"n_conditions": 300})
    small = get_model("response_mlp").build({"width": 16}, space, task.conditions)
    large = get_model("response_mlp").build({"width": 32}, space, task.conditions)
    with pytest.raises(RuntimeError, match="size mismatch"):
        large.load_state_dict(small.state_dict(), strict=True)

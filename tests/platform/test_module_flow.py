"""module_flow as a whole: what the flow learns, what its predictions depend on, what its training sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pertcast.encoding import ConditionEncoder, make_training_data
from pertcast.encoding.priors import training_priors
from pertcast.models.batch import Batch
from pertcast.models.contract import GradientStage, ResponseModel
from pertcast.models.module_flow.config import ConditionSetConfig, FlowConfig, IntegratorConfig
from pertcast.models.module_flow.integrators import IntegrationFailed, integrate
from pertcast.models.module_flow.model import ModuleFlow
from pertcast.models.module_flow.perturbation_set import PerturbationSet
from pertcast.models.module_flow.velocity import VelocityField, VelocityNetwork
from pertcast.models.noise import KeyedNoise
from pertcast.models.priors import TrainingPriors
from pertcast.models.registry import get_model
from pertcast.training.config import TrainConfig
from pertcast.training.data import TrainingData
from pertcast.training.fit import fit
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore, create_store
from torch import Tensor

GENES = 12
LEVEL = 10.0
"""Basal expression of all genes: nothing falls below zero."""
SMALL: dict[str, Any] = {
    "grouping": {"n_modules": 4},
    "autoencoder": {"latent_dim": 4},
    "condition": {"width": 32, "heads": 4, "basal_width": 0},
    "flow": {"width": 64, "depth": 1, "cells_per_condition": 16, "epochs": 2},
    "control_cells": 64,
}
PLAIN = {"alignment": {"correlation_weight": 0.0, "pathway_weight": 0.0}}


def priors_of(genes: int) -> TrainingPriors:
    """Return 200 standard normal controls."""
    controls = torch.randn(200, genes, generator=torch.Generator().manual_seed(4))
    context = torch.zeros(len(controls), dtype=torch.int64)
    return replace(TrainingPriors.empty(genes), controls=controls, control_context=context)


def gaussian_case(toy: SimpleNamespace, genes: int) -> SimpleNamespace:
    """Three perturbations that shift Gaussian cells of sd 1; 64 cells of each, side by side."""
    generator = torch.Generator().manual_seed(3)
    world = toy.world(n_perturbations=3, n_unseen=1, n_genes=genes, n_contexts=1, n_groups=0)
    world = replace(world, own_gene=torch.full((4,), -1))
    conditions = world.conditions([(0,), (1,), (2,)])
    shift = 2.0 * torch.randn(3, genes, generator=generator)
    index = torch.arange(3).repeat_interleave(64)
    target = shift[index] + torch.randn(len(index), genes, generator=generator)
    batch = toy.batch(conditions, index, target, torch.full_like(target, LEVEL))
    return SimpleNamespace(world=world, conditions=conditions, batch=batch, genes=genes)


@pytest.fixture(scope="module")
def shifted(toy: SimpleNamespace) -> SimpleNamespace:
    return gaussian_case(toy, GENES)


def built(shifted: SimpleNamespace, **config: Any) -> ModuleFlow:
    space = shifted.world.space.model_copy(update={"n_conditions": 3})
    torch.manual_seed(0)
    model = get_model("module_flow").build({**SMALL, **config}, space, shifted.conditions)
    assert isinstance(model, ModuleFlow)
    model.take_up(priors_of(shifted.genes))
    return model


def trained(shifted: SimpleNamespace, toy: SimpleNamespace, steps: int, **config: Any) -> ModuleFlow:
    model = built(shifted, **config)
    for stage in model.stages():
        if isinstance(stage, GradientStage):
            toy.descend(stage, shifted.batch, steps)
        else:
            toy.solve(stage, [shifted.batch])
    return model.eval()


def measured_means(shifted: SimpleNamespace) -> Tensor:
    """Return (3, G) mean profiles of the cells of each condition, whose sd is 1."""
    index = shifted.batch.condition_index
    return torch.stack([shifted.batch.target[index == number].mean(dim=0) for number in range(3)])


def mean_error(model: ResponseModel, shifted: SimpleNamespace) -> float:
    found = model.predict(shifted.conditions, torch.full((3, GENES), LEVEL)).mean
    return float((found - measured_means(shifted)).abs().max())


@dataclass(frozen=True)
class Repeated:
    """One batch, many times an epoch; a `BatchSource`."""

    batch: Batch
    times: int

    @property
    def n_rows(self) -> int:
        return len(self.batch) * self.times

    def steps(self, epoch: int) -> int:
        return self.times

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        for _ in range(start_step, self.times):
            yield self.batch


def test_the_flow_alone_recovers_a_gaussian_shift(toy: SimpleNamespace) -> None:
    case = gaussian_case(toy, genes=3)
    model = built(
        case,
        **PLAIN,
        autoencoder={"latent_dim": 3},
        integrator={"cells": 64},
        displacement={"kind": "none"},
        flow={**SMALL["flow"], "epochs": 8, "optimiser": {"lr": 2e-3}},
    )
    data = TrainingData(train=Repeated(case.batch, 75), statistics=Repeated(case.batch, 1), validation=None)
    data = replace(data, grouped=lambda size: data)
    fit(model, data, TrainConfig(batch_size=192, ema_decay=0.99))
    found = model.eval().predict(case.conditions, torch.full((3, 3), LEVEL)).mean
    error = found + model.pool.profiles[0, :64].mean(dim=0) - measured_means(case)
    assert float(error.abs().mean()) < 0.05


def test_the_displacement_gives_the_shift_before_any_step(
    shifted: SimpleNamespace, toy: SimpleNamespace
) -> None:
    model = trained(shifted, toy, 0, **PLAIN, autoencoder={"latent_dim": GENES})
    assert mean_error(model, shifted) < 0.35
    none = trained(shifted, toy, 0, **PLAIN, displacement={"kind": "none"})
    assert mean_error(none, shifted) > 1.0


@pytest.mark.parametrize("kind", ["pca", "modules"])
def test_every_loss_is_finite_and_the_terms_appear(
    shifted: SimpleNamespace, toy: SimpleNamespace, kind: str
) -> None:
    config = {"autoencoder": {"kind": kind, "latent_dim": 4, "width": 16, "epochs": 1}}
    model = built(shifted, **config, alignment={"every": 1, "conditions": 2})
    for stage in model.stages():
        if not isinstance(stage, GradientStage):
            toy.solve(stage, [shifted.batch])
            continue
        stage.module.train()
        losses = stage.module(shifted.batch, KeyedNoise(0, 0))
        losses["loss"].backward()
        assert all(bool(torch.isfinite(value)) for value in losses.values())
        gradients = [p.grad for p in stage.module.parameters() if p.grad is not None]
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert {"correlation", "pathway", "flow"} <= set(losses)
    assert float(losses["correlation"].detach()) > 0
    assert float(losses["pathway"].detach()) > 0


def test_alignment_reaches_the_flow_and_costs_nothing_between(
    shifted: SimpleNamespace, toy: SimpleNamespace
) -> None:
    model = built(shifted, alignment={"every": 5})
    *closed, flow = model.stages()
    for stage in closed:
        toy.solve(stage, [shifted.batch])
    assert isinstance(flow, GradientStage)
    flow.module.train()
    losses = {step: flow.module(shifted.batch, KeyedNoise(0, step)) for step in (4, 5)}
    assert float(losses[4]["pathway"].detach()) == 0
    losses[5]["pathway"].backward()
    leave = model.networks.velocity.leave.weight.grad
    assert leave is not None
    assert float(leave.abs().sum()) > 0


def test_predictions_do_not_depend_on_what_else_is_asked(
    shifted: SimpleNamespace, toy: SimpleNamespace
) -> None:
    model = trained(shifted, toy, 30)
    basal = LEVEL + torch.randn(3, GENES, generator=torch.Generator().manual_seed(7))
    together = model.predict(shifted.conditions, basal, 5, KeyedNoise(2))
    for row in range(3):
        one = torch.tensor([row])
        alone = model.predict(shifted.conditions.take(one), basal[one], 3, KeyedNoise(2))
        torch.testing.assert_close(alone.mean[0], together.mean[row], rtol=1e-4, atol=1e-5)
        assert alone.samples is not None and together.samples is not None
        torch.testing.assert_close(alone.samples[0], together.samples[row, :3], rtol=1e-4, atol=1e-5)


def test_a_bundle_predicts_as_the_model_that_was_trained(
    shifted: SimpleNamespace, toy: SimpleNamespace
) -> None:
    model = trained(shifted, toy, 30)
    space = shifted.world.space.model_copy(update={"n_conditions": 3})
    again = get_model("module_flow").build(SMALL, space, shifted.conditions)
    again.load_state_dict(model.state_dict(), strict=True)
    basal = torch.full((3, GENES), LEVEL)
    torch.testing.assert_close(
        again.eval().predict(shifted.conditions, basal).mean, model.predict(shifted.conditions, basal).mean
    )
    assert again.gene_modules() is not None


def test_a_context_without_controls_starts_from_all_of_them(
    shifted: SimpleNamespace, toy: SimpleNamespace
) -> None:
    model = trained(shifted, toy, 0)
    elsewhere = replace(shifted.conditions, context=torch.full((3,), -1))
    found = model.predict(elsewhere, torch.full((3, GENES), LEVEL), 4)
    assert found.samples is not None
    assert bool(torch.isfinite(found.samples).all())
    assert int(model.pool.row_of(torch.tensor([-1]))) == 1


def test_responses_without_controls_start_from_noise_around_no_response(toy: SimpleNamespace) -> None:
    case = gaussian_case(toy, GENES)
    space = case.world.space.model_copy(update={"n_conditions": 3, "measure": "response"})
    batch = replace(case.batch, basal=torch.zeros_like(case.batch.basal))
    torch.manual_seed(0)
    config = {**SMALL, **PLAIN, "autoencoder": {"latent_dim": GENES}}
    model = get_model("module_flow").build(config, space, case.conditions)
    model.take_up(TrainingPriors.empty(GENES))
    for stage in model.stages():
        if not isinstance(stage, GradientStage):
            toy.solve(stage, [batch])
    found = model.eval().predict(case.conditions, torch.zeros(3, GENES), 200, KeyedNoise(1))
    assert float((found.mean - measured_means(case)).abs().mean()) < 0.25
    assert found.samples is not None
    assert 0.5 < float(found.samples.std(dim=1).mean()) < 2.0


def test_a_flow_that_may_not_move_means_keeps_the_displacement_and_one_that_may_does_not(
    shifted: SimpleNamespace, toy: SimpleNamespace
) -> None:
    asked, basal = shifted.conditions, torch.full((3, GENES), LEVEL)
    before = trained(shifted, toy, 0).predict(asked, basal).mean
    kept = trained(shifted, toy, 40).predict(asked, basal, 1).mean
    moved = trained(shifted, toy, 40, flow={**SMALL["flow"], "moves_mean": True}).predict(asked, basal).mean
    torch.testing.assert_close(kept, before, rtol=1e-4, atol=1e-4)
    assert float((moved - before).abs().max()) > 1e-3


def set_encoder(shifted: SimpleNamespace) -> Callable[..., Tensor]:
    torch.manual_seed(0)
    config = ConditionSetConfig(width=32, heads=4, basal_width=0)
    encoder = PerturbationSet(config, shifted.world.space, shifted.conditions, 4)

    def encode(sets: list[tuple[int, ...]], hidden: bool = False) -> Tensor:
        conditions = shifted.world.conditions(sets)
        effects = shifted.world.features[conditions.slot.clamp(min=0)][..., :4]
        is_hidden = torch.full((len(sets),), hidden)
        with torch.no_grad():
            found: Tensor = encoder(conditions, effects, torch.zeros(len(sets), GENES), is_hidden)
        return found

    return encode


def test_the_set_encoder_is_invariant_to_order_and_tells_sizes_apart(shifted: SimpleNamespace) -> None:
    encode = set_encoder(shifted)
    torch.testing.assert_close(encode([(0, 1, 2)]), encode([(2, 0, 1)]))
    assert float((encode([(0, 1)]) - encode([(0,)])).abs().max()) > 1e-2


def test_hidden_perturbations_are_an_empty_set(shifted: SimpleNamespace) -> None:
    encode = set_encoder(shifted)
    torch.testing.assert_close(encode([(0, 1)], hidden=True), encode([()]))
    assert float((encode([()]) - encode([(0, 1)])).abs().max()) > 1e-2


def rough_field(seed: int = 0) -> tuple[VelocityField, Tensor]:
    """A velocity field with all weights drawn: as curved as a trained one."""
    generator = torch.Generator().manual_seed(seed)
    network = VelocityNetwork(6, 8, FlowConfig(width=32, depth=2))
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 0.5 / max(parameter.shape[-1], 1) ** 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    draws = [torch.randn(shape, generator=generator) for shape in ((5, 6), (5, 8), (5, 7, 6))]
    with torch.no_grad():
        return VelocityField.of(network, draws[0], draws[1]), draws[2]


def test_ten_rk4_steps_equal_the_adaptive_integrator_on_a_rough_field() -> None:
    field, start = rough_field()
    with torch.no_grad():
        fixed = integrate(field, start, IntegratorConfig(kind="rk4", steps=10))
        adaptive = integrate(field, start, IntegratorConfig(kind="adaptive", tolerance=1e-6))
    assert float((fixed - adaptive).abs().max()) < 1e-3


def test_ten_midpoint_steps_equal_the_adaptive_integrator_on_a_trained_flow(
    shifted: SimpleNamespace, toy: SimpleNamespace
) -> None:
    model = trained(shifted, toy, 150)
    config = {**SMALL, "integrator": {"kind": "adaptive", "tolerance": 1e-6}}
    exact = get_model("module_flow").build(config, model.space, shifted.conditions)
    exact.load_state_dict(model.state_dict(), strict=True)
    basal = torch.full((3, GENES), LEVEL)
    fixed, adaptive = (each.eval().predict(shifted.conditions, basal).mean for each in (model, exact))
    assert float(fixed.abs().max()) > 1
    assert float((fixed - adaptive).abs().max()) < 1e-3


def test_methods_converge_with_their_order_on_a_known_solution() -> None:
    start = torch.ones(1, 1, dtype=torch.float64)
    errors = {}
    for kind, order in (("euler", 1), ("midpoint", 2), ("rk4", 4)):
        ends = [
            float(integrate(lambda t, z: z * np.cos(t), start, IntegratorConfig(kind=kind, steps=steps)))
            for steps in (20, 40)
        ]
        left = [abs(end - np.exp(np.sin(1.0))) for end in ends]
        errors[kind] = np.log2(left[0] / left[1])
        assert errors[kind] == pytest.approx(order, abs=0.15)
    end = integrate(lambda t, z: z * np.cos(t), start, IntegratorConfig(kind="adaptive", tolerance=1e-8))
    assert float(end) == pytest.approx(np.exp(np.sin(1.0)), abs=1e-6)


def test_a_field_that_cannot_be_followed_is_an_error() -> None:
    with pytest.raises(IntegrationFailed, match="tolerance"):
        integrate(
            lambda t, z: z * 0 + 1e9 * np.sin(1e9 * t),
            torch.zeros(1, 1, dtype=torch.float64),
            IntegratorConfig(kind="adaptive", tolerance=1e-12),
        )


def test_a_large_batch_of_one_condition_spreads_as_cells_do(
    shifted: SimpleNamespace, toy: SimpleNamespace
) -> None:
    model = trained(shifted, toy, 0)
    samples = model.predict(shifted.conditions, torch.full((3, GENES), LEVEL), 300, KeyedNoise(5)).samples
    assert samples is not None
    ratio = samples.std(dim=1) / shifted.batch.target[shifted.batch.condition_index == 0].std(dim=0)
    assert 0.8 < float(ratio.mean()) < 1.2


NAMES = [f"G{i}" for i in range(1, 9)] + ["G1+G2", "G3+G4", "G5+G6", "G7+G8", "G1+G8", "G2+G7"]


def store_with(path: Path, spoilt: frozenset[str]) -> ExpressionStore:
    """Knock-outs of eight genes and six pairs; the cells of the `spoilt` ones are far away."""
    common = {"cell_iname": "K562", "batch_id": "lane-1"}
    rows = [{**common, "pert_type": "ctl_vector", "pert_id": "NTC"} for _ in range(20)]
    rows += [{**common, "pert_type": "trt_xpr", "pert_id": n, "targets": n} for n in NAMES for _ in range(6)]
    values = np.random.default_rng(1).normal(8.0, 1.0, (len(rows), 20)).astype(np.float32)
    values[[row["pert_id"] in spoilt for row in rows]] += 100.0
    return create_store(
        path,
        obs=pl.DataFrame(rows),
        var=pl.DataFrame({"gene_symbol": [f"G{i}" for i in range(20)]}),
        batches=[values],
        measure="expression",
        normalisation="log2_intensity",
    )


def weights_of(store: ExpressionStore, split: Split) -> dict[str, Tensor]:
    encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"))
    data = make_training_data(store, split, 0, encoder, batch_size=32)
    torch.manual_seed(0)
    config = {**SMALL, "flow": {"width": 32, "depth": 1, "cells_per_condition": 8, "epochs": 1}}
    model = get_model("module_flow").build(config, encoder.space, encoder.training_conditions)
    model.take_up(training_priors(store, split, 0, encoder, store.reader()))
    fit(model, data, TrainConfig(batch_size=32))
    return model.state_dict()


def test_no_test_cell_reaches_any_weight(tmp_path: Path) -> None:
    """Two stores that differ in their test cells alone give equal models, buffer by buffer."""
    plain = store_with(tmp_path / "plain", frozenset())
    split = make_split(plain, "unseen_pair", seed=0)
    test = set(split.folds[0].test)
    tested = plain.conditions.filter(pl.col("condition_id").is_in(list(test)))["pert_id"].to_list()
    spoilt = store_with(tmp_path / "spoilt", frozenset(tested))
    other = make_split(spoilt, "unseen_pair", seed=0)
    assert set(other.folds[0].test) == test
    assert float(spoilt.reader().dense(other.rows(spoilt, 0, "test")).mean()) > 100
    one, two = weights_of(plain, split), weights_of(spoilt, other)
    assert all(torch.equal(one[name], two[name]) for name in one)

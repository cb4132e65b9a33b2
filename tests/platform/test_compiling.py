"""`train.compile`: what torch.compile makes of each family computes the same, and is made twice at most."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import GradientStage
from pertcast.models.noise import KeyedNoise
from pertcast.models.priors import TrainingPriors
from pertcast.models.registry import get_model
from pertcast.training.config import EngineConfig, TrainConfig
from pertcast.training.engines import compiling
from pertcast_data.errors import ConfigError

N_GENES, N_PERTURBED, CELLS, STEPS = 24, 8, 8, 4
SMALL: dict[str, dict[str, Any]] = {
    "response_mlp": {"width": 16, "depth": 1},
    "latent_diffusion": {
        "autoencoder": {"latent_dim": 4},
        "condition": {"width": 16},
        "denoiser": {"width": 16, "depth": 1},
    },
    "module_flow": {
        "grouping": {"n_modules": 3},
        "autoencoder": {"latent_dim": 4},
        "flow": {"width": 16, "depth": 1, "cells_per_condition": CELLS},
    },
    "multiplex_network": {"attention": {"width": 8, "n_components": 4}},
}


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def screen() -> tuple[ModelSpace, ConditionBatch, Batch]:
    """Return a small genetic screen: every gene under two types, rows in groups of one condition."""
    random = torch.Generator().manual_seed(0)
    slot = torch.arange(N_PERTURBED).repeat(2).unsqueeze(1)
    count = len(slot)
    nothing = torch.full((count,), torch.nan)
    conditions = ConditionBatch(
        context=torch.zeros(count, dtype=torch.int64),
        group=torch.full((count,), -1),
        perturbation=slot,
        slot=slot,
        pert_type=torch.arange(2).repeat_interleave(N_PERTURBED).unsqueeze(1),
        own_gene=slot,
        log_dose=nothing.unsqueeze(1),
        log_time=nothing,
        key=torch.arange(count) + 1,
        features=torch.randn(N_PERTURBED, 6, generator=random),
    )
    space = ModelSpace(
        genes=tuple(f"G{row}" for row in range(N_GENES)),
        measure="expression",
        contexts=("A",),
        perturbations=tuple(f"G{row}" for row in range(N_PERTURBED)),
        pert_types=("trt_sh", "trt_xpr"),
        feature_width=6,
        own_genes=True,
        n_conditions=count,
    )
    index = torch.arange(count).repeat_interleave(CELLS)
    effect = torch.randn(count, N_GENES, generator=random)
    target = effect[index] + 0.5 * torch.randn(len(index), N_GENES, generator=random)
    basal = torch.ones_like(target)
    return space, conditions, Batch(conditions.take(index), target, basal, index, torch.arange(len(index)))


def gradient_stages(family: str) -> Iterator[tuple[GradientStage, Batch]]:
    """Yield the gradient stages of a small model whose closed forms are solved."""
    space, conditions, rows = screen()
    torch.manual_seed(0)
    model = get_model(family).build(SMALL[family], space, conditions)
    if model.wants_priors:
        random = torch.Generator().manual_seed(1)
        priors = dataclasses.replace(
            TrainingPriors.empty(N_GENES),
            controls=torch.randn(32, N_GENES, generator=random),
            control_context=torch.zeros(32, dtype=torch.int64),
        )
        model.take_up(priors)
    for stage in model.stages():
        if isinstance(stage, GradientStage):
            yield stage, rows
        else:
            sums = stage.start()
            stage.update(sums, rows)
            stage.finish(sums)


def losses_of(module: torch.nn.Module, rows: Batch) -> tuple[list[float], list[int]]:
    """Return the loss of each step, and how many graphs were made by then."""
    losses, graphs = [], []
    torch.manual_seed(0)
    for step in range(STEPS):
        # Every step has other rows, and as many.
        order = torch.arange(len(rows)).view(-1, CELLS).roll(step, dims=0)[:8].flatten()
        loss = module(rows.take(order), KeyedNoise(0, step))["loss"]
        loss.backward()
        losses.append(float(loss.detach()))
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    return losses, graphs


@pytest.mark.parametrize("family", sorted(SMALL))
def test_what_is_traced_computes_the_losses_of_the_module_and_is_traced_for_two_steps_only(
    family: str,
) -> None:
    n_stages = 0
    for stage, rows in gradient_stages(family):
        n_stages += 1
        plain, compiled = (copy.deepcopy(stage.module).train() for _ in range(2))
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        compiling.compile_stage(compiled, backend="eager")
        expected, _ = losses_of(plain, rows)
        found, graphs = losses_of(compiled, rows)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert graphs[0] > 1, "nothing was traced but the line that tries the compiler"
        assert graphs[1] == graphs[-1]
        for name, gradient in _gradients(plain).items():
            torch.testing.assert_close(_gradients(compiled)[name], gradient, rtol=1e-4, atol=1e-6)
    assert n_stages > 0


def _gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = module.named_parameters()
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


def test_names_of_parameters_stay_as_they_are() -> None:
    stage, _ = next(gradient_stages("response_mlp"))
    module = copy.deepcopy(stage.module)
    compiling.compile_stage(module, backend="eager")
    assert list(module.state_dict()) == list(stage.module.state_dict())


def test_a_machine_that_cannot_compile_says_so_before_training() -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no g++ here")

    stage, _ = next(gradient_stages("response_mlp"))
    with pytest.raises(
        ConfigError, match=r"does not work on this machine.*no g\+\+ here|set train.compile=false"
    ):
        compiling.compile_stage(copy.deepcopy(stage.module), backend=broken)


def test_compiling_does_not_go_with_parameters_that_come_and_go() -> None:
    with pytest.raises(ValueError, match=r"compile does not go with engine.zero_stage=3"):
        TrainConfig(compile=True, engine=EngineConfig(name="deepspeed", zero_stage=3))

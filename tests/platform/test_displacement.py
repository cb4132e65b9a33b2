"""The closed-form mean of perturbation sets: what it recovers, what it refuses to invent."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pertcast.models.batch import ConditionBatch
from pertcast.models.module_flow.displacement.config import DisplacementConfig
from pertcast.models.module_flow.displacement.displacement import Displacement
from pertcast.models.module_flow.displacement.effects import ConditionMeans
from pertcast.models.module_flow.displacement.own_gene import OwnGeneEffect, OwnGeneStage
from torch import Tensor

N_GENES, LATENT = 24, 6
NOISE = 0.01


def planted(toy: SimpleNamespace, interact: bool, seed: int = 0) -> SimpleNamespace:
    """Perturbations of two programs; within a program effects are alike, and programs may interact."""
    world = toy.world(n_perturbations=16, n_unseen=4, n_genes=N_GENES, n_contexts=1, n_groups=0)
    generator = torch.Generator().manual_seed(seed)
    program = torch.arange(20) % 2
    axis = torch.eye(LATENT)[:2] * 2
    effect = axis[program] + 0.3 * torch.randn(20, LATENT, generator=generator)
    features = axis[program] @ torch.randn(LATENT, 8, generator=generator)
    features = features + 0.2 * torch.randn(20, 8, generator=generator)
    emergent = 1.5 * torch.eye(LATENT)[4]

    def truth(sets: list[tuple[int, ...]]) -> Tensor:
        rows = []
        for each in sets:
            total = effect[list(each)].sum(dim=0)
            for a, b in combinations(each, 2):
                if interact and program[a] != program[b]:
                    total = total - 0.6 * (effect[a] + effect[b]) + emergent
            rows.append(total)
        return torch.stack(rows)

    return SimpleNamespace(world=replace(world, features=features), truth=truth)


def solved(
    case: SimpleNamespace, sets: list[tuple[int, ...]], **config: object
) -> tuple[Displacement, ConditionBatch]:
    conditions = case.world.conditions(sets)
    model = Displacement(DisplacementConfig(**config), conditions, LATENT)
    generator = torch.Generator().manual_seed(9)
    truth = case.truth(sets).double()
    noisy = truth + NOISE**0.5 / 5 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    counts = torch.full((len(sets),), 25.0, dtype=torch.float64)
    means = ConditionMeans(noisy, counts, torch.full((LATENT,), NOISE, dtype=torch.float64))
    model.solve(means, torch.ones(LATENT, dtype=torch.float64))
    return model, conditions


SINGLES = [(number,) for number in range(16)]
PAIRS = list(combinations(range(16), 2))
TRAINED, HELD = PAIRS[::2], PAIRS[1::2]


def error(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).square().mean())


def test_effects_of_measured_singles_are_recovered(toy: SimpleNamespace) -> None:
    case = planted(toy, interact=False)
    model, conditions = solved(case, SINGLES)
    assert error(model(conditions), case.truth(SINGLES)) < 2 * NOISE / 25


def test_an_unseen_perturbation_is_told_by_those_alike(toy: SimpleNamespace) -> None:
    case = planted(toy, interact=False)
    model, _ = solved(case, SINGLES)
    unseen = [(16,), (17,), (18,), (19,)]
    mean = case.truth(SINGLES).mean(dim=0)
    found = model(case.world.conditions(unseen))
    assert error(found, case.truth(unseen)) < 0.5 * error(mean.expand_as(found), case.truth(unseen))


def test_a_control_is_not_displaced_and_order_does_not_matter(toy: SimpleNamespace) -> None:
    case = planted(toy, interact=True)
    model, _ = solved(case, SINGLES + TRAINED)
    assert float(model(case.world.conditions([(), ()])).abs().max()) == 0
    one, other = (model(case.world.conditions([each])) for each in ((2, 7, 11), (11, 2, 7)))
    torch.testing.assert_close(one, other)


def test_an_empty_slot_before_a_filled_one_changes_nothing(toy: SimpleNamespace) -> None:
    case = planted(toy, interact=True)
    model, _ = solved(case, SINGLES + TRAINED)
    plain = case.world.conditions([(3,), (3, 8)]).take(torch.tensor([0]))
    columns = ("perturbation", "slot", "pert_type", "own_gene", "log_dose")
    turned = replace(plain, **{name: getattr(plain, name).flip(1) for name in columns})
    torch.testing.assert_close(model(plain), model(turned))


def test_held_out_pairs_of_programs_that_interact_are_predicted(toy: SimpleNamespace) -> None:
    case = planted(toy, interact=True)
    model, _ = solved(case, SINGLES + TRAINED)
    additive, _ = solved(case, SINGLES + TRAINED, interactions=False)
    conditions = case.world.conditions(HELD)
    left = [error(each(conditions), case.truth(HELD)) for each in (model, additive)]
    assert left[0] < 0.1 * left[1]


def test_additive_pairs_are_left_additive(toy: SimpleNamespace) -> None:
    case = planted(toy, interact=False)
    model, _ = solved(case, SINGLES + TRAINED)
    assert error(model(case.world.conditions(HELD)), case.truth(HELD)) < 4 * NOISE / 25


def test_a_bundle_restores_the_displacement(toy: SimpleNamespace) -> None:
    case = planted(toy, interact=True)
    model, conditions = solved(case, SINGLES + TRAINED)
    again = Displacement(DisplacementConfig(), conditions, LATENT)
    again.load_state_dict(model.state_dict(), strict=True)
    held = case.world.conditions(HELD)
    torch.testing.assert_close(model(held), again(held))


def test_a_condition_without_cells_is_left_out(toy: SimpleNamespace) -> None:
    case = planted(toy, interact=False)
    conditions = case.world.conditions(SINGLES)
    model = Displacement(DisplacementConfig(), conditions, LATENT)
    truth = case.truth(SINGLES).double()
    counts = torch.full((16,), 25.0, dtype=torch.float64)
    counts[3], truth[3] = 0.0, 1e6
    means = ConditionMeans(truth, counts, torch.full((LATENT,), NOISE, dtype=torch.float64))
    model.solve(means, torch.ones(LATENT, dtype=torch.float64))
    assert float(model(conditions).abs().max()) < 100


def own_gene_rows(toy: SimpleNamespace) -> SimpleNamespace:
    """Twelve knock-outs that each take four fifths of what is there."""
    world = toy.world(n_perturbations=12, n_unseen=2, n_genes=14, n_contexts=1, n_groups=0)
    conditions = world.conditions([(number,) for number in range(12)])
    index = torch.arange(12).repeat(30)
    level = torch.linspace(0.5, 4.0, 14)
    generator = torch.Generator().manual_seed(1)
    target = 0.2 * torch.randn(len(index), 14, generator=generator)
    target[torch.arange(len(index)), index] -= 0.8 * level[index]
    batch = toy.batch(conditions, index, target, level.expand(len(index), 14))
    return SimpleNamespace(world=world, batch=batch, level=level)


def test_a_knock_out_takes_a_share_of_its_own_gene_seen_or_not(toy: SimpleNamespace) -> None:
    case = own_gene_rows(toy)
    effect = OwnGeneEffect(case.world.space)
    toy.solve(OwnGeneStage(effect), [case.batch])
    asked = case.world.conditions([(2,), (12,), (13,)])
    response, stated = effect(asked, case.level.expand(3, 14))
    assert stated.all()
    wanted = -0.8 * case.level[torch.tensor([2, 12, 13])]
    np.testing.assert_allclose(response.flatten(), wanted, atol=0.15)


def test_own_genes_are_put_without_touching_others(toy: SimpleNamespace) -> None:
    case = own_gene_rows(toy)
    effect = OwnGeneEffect(case.world.space)
    toy.solve(OwnGeneStage(effect), [case.batch])
    asked = case.world.conditions([(2,), (2, 5), ()])
    response = torch.ones(3, 14)
    put = effect.put(response, asked, case.level.expand(3, 14))
    changed = torch.nonzero(put != response)
    assert changed.tolist() == [[0, 2], [1, 2], [1, 5]]


def test_without_a_measured_own_gene_nothing_is_stated(toy: SimpleNamespace) -> None:
    world = toy.world(n_genes=14)
    effect = OwnGeneEffect(world.space)
    _, stated = effect(world.conditions([(1,)]), torch.ones(1, 14))
    assert not stated.any()


@pytest.mark.parametrize("correlation", [0.0, 1.0])
def test_what_is_measured_in_one_context_counts_in_another_by_the_correlation(
    toy: SimpleNamespace, correlation: float
) -> None:
    case = planted(toy, interact=False)
    conditions = case.world.conditions(SINGLES, contexts=[0] * 16)
    model = Displacement(DisplacementConfig(context_correlation=correlation), conditions, LATENT)
    counts = torch.full((16,), 25.0, dtype=torch.float64)
    noise = torch.full((LATENT,), NOISE, dtype=torch.float64)
    model.solve(ConditionMeans(case.truth(SINGLES).double(), counts, noise), torch.ones(LATENT).double())
    elsewhere = model(case.world.conditions(SINGLES, contexts=[1] * 16))
    here = model(conditions)
    torch.testing.assert_close(elsewhere, correlation * here)

"""Baselines know the type of a perturbation: over-expression is no knock-out, and one tells of the other."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pertcast.models.baselines.references import type_rows
from pertcast.models.baselines.type_maps import fit_type_map, map_rows
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.registry import baselines_for, get_model
from torch import Tensor

TYPES = ("trt_oe", "trt_sh", "trt_xpr")
OE, SH, XPR = range(3)
N_SEEN, N_UNSEEN, N_GENES = 60, 20, 40
SIGN = torch.tensor([-0.5, 0.6, 1.0])
SPIKE = torch.tensor([2.0, -5.0, -8.0])


@dataclass(frozen=True)
class Screen:
    """Genes perturbed by three types: response = mean of the type + sign of the type x effect of the gene."""

    world: SimpleNamespace
    effects: Tensor
    type_means: Tensor

    def conditions(
        self, genes: list[int], types: list[int], contexts: list[int] | None = None
    ) -> ConditionBatch:
        made = self.world.conditions([[gene] for gene in genes], contexts)
        return replace(made, pert_type=torch.tensor(types).unsqueeze(1))

    def truth(self, conditions: ConditionBatch, spikes: bool) -> Tensor:
        kind, gene = conditions.pert_type[:, 0], conditions.slot[:, 0]
        response = self.type_means[kind] + SIGN[kind].unsqueeze(1) * self.effects[gene]
        if spikes:
            response[torch.arange(len(gene)), conditions.own_gene[:, 0]] += SPIKE[kind]
        return response


def make_screen(toy: SimpleNamespace, learnable: bool = True, n_contexts: int = 1) -> Screen:
    world = toy.world(
        n_perturbations=N_SEEN, n_unseen=N_UNSEEN, n_genes=N_GENES, n_contexts=n_contexts, max_slots=1
    )
    space = world.space.model_copy(update={"pert_types": TYPES})
    generator = torch.Generator().manual_seed(5)
    slopes = torch.randn(8, N_GENES, generator=generator) / 3
    effects = world.features @ slopes
    if not learnable:
        effects = torch.randn(effects.shape, generator=generator)
    return Screen(replace(world, space=space), effects, torch.randn(3, N_GENES, generator=generator))


def train_on(
    toy: SimpleNamespace,
    screen: Screen,
    name: str,
    known: ConditionBatch,
    noise: float = 0.3,
    spikes: bool = False,
) -> torch.nn.Module:
    target = screen.truth(known, spikes)
    target = target + noise * torch.randn(target.shape, generator=torch.Generator().manual_seed(7))
    batch = toy.batch(known, torch.arange(len(known)), target)
    return toy.train(name, screen.world, known, batch)


def predict(model: torch.nn.Module, conditions: ConditionBatch) -> Tensor:
    return model.predict(conditions, torch.zeros(len(conditions), model.space.n_genes)).mean


def everything(screen: Screen) -> ConditionBatch:
    """All seen genes by all three types."""
    genes = [gene for gene in range(N_SEEN) for _ in TYPES]
    return screen.conditions(genes, [OE, SH, XPR] * N_SEEN)


def share_left(found: Tensor, truth: Tensor, mean: Tensor) -> float:
    return float((found - truth).square().sum() / (truth - mean).square().sum())


def test_the_type_of_a_condition_is_that_of_all_its_members_or_mixed(toy: SimpleNamespace) -> None:
    world = toy.world(max_slots=2)
    space = world.space.model_copy(update={"pert_types": TYPES})
    made = world.conditions([[0], [0, 1], [0, 1], [], [2], [2, 3]])
    types = torch.tensor([[2, -1], [1, 1], [0, 1], [-1, -1], [-1, -1], [-1, 2]])
    conditions = replace(made, pert_type=types)
    assert type_rows(conditions, space).tolist() == [2, 1, 3, -1, -1, -1]
    assert type_rows(conditions, space.model_copy(update={"max_slots": 1})).tolist()[2] == -1


def test_type_mean_is_the_mean_of_the_type_in_its_context(toy: SimpleNamespace) -> None:
    screen = make_screen(toy, n_contexts=2)
    genes, types, contexts = [*range(N_SEEN)] * 2, [OE] * N_SEEN + [XPR] * N_SEEN, [0, 1] * N_SEEN
    known = screen.conditions(genes, types, contexts)
    shift = torch.tensor([3.0, -3.0])
    target = screen.truth(known, spikes=False) + shift[known.context].unsqueeze(1)
    model = toy.train("type_mean", screen.world, known, toy.batch(known, torch.arange(len(known)), target))
    asked = screen.conditions([70] * 5, [OE, XPR, XPR, SH, OE], [0, 0, 1, 1, -1])
    kind, place = known.pert_type[:, 0], known.context
    expected = [target[(kind == k) & (place == c)].mean(0) for k, c in ((OE, 0), (XPR, 0), (XPR, 1))]
    expected += [target[place == 1].mean(0), target[kind == OE].mean(0)]
    torch.testing.assert_close(predict(model, asked), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_where_contexts_do_not_differ_the_mean_of_the_type_is_over_all_of_them(toy: SimpleNamespace) -> None:
    screen = make_screen(toy, n_contexts=2)
    known = screen.conditions([*range(8)] * 2, [OE] * 8 + [XPR] * 8, [0, 0, 0, 1] * 4)
    target = screen.type_means[known.pert_type[:, 0]] * 3
    target = target + torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    model = toy.train("type_mean", screen.world, known, toy.batch(known, torch.arange(16), target))
    found = predict(model, screen.conditions([70, 70], [XPR, XPR], [0, 1]))
    torch.testing.assert_close(found, target[8:].mean(0).expand(2, -1), rtol=1e-4, atol=1e-5)


def test_where_types_do_not_differ_the_mean_is_over_all_of_them(toy: SimpleNamespace) -> None:
    screen = make_screen(toy)
    known = everything(screen)
    target = torch.randn(len(known), N_GENES, generator=torch.Generator().manual_seed(1))
    model = toy.train("type_mean", screen.world, known, toy.batch(known, torch.arange(len(known)), target))
    found = predict(model, screen.conditions([70], [SH]))
    torch.testing.assert_close(found[0], target.mean(0), rtol=1e-4, atol=1e-5)


def test_a_ridge_of_each_type_learns_opposite_responses_and_one_ridge_does_not(toy: SimpleNamespace) -> None:
    screen = make_screen(toy)
    known = everything(screen)
    asked = screen.conditions([*range(N_SEEN, N_SEEN + N_UNSEEN)] * 3, [OE] * 20 + [SH] * 20 + [XPR] * 20)
    truth, mean = screen.truth(asked, spikes=False), screen.type_means[asked.pert_type[:, 0]]
    by_type = predict(train_on(toy, screen, "type_ridge", known), asked)
    for kind in range(3):
        own = asked.pert_type[:, 0] == kind
        assert share_left(by_type[own], truth[own], mean[own]) < 0.2
    together = predict(train_on(toy, screen, "bilinear_ridge", known), asked)
    own = asked.pert_type[:, 0] == OE
    assert share_left(together[own], truth[own], mean[own]) > 1


def test_each_type_chooses_its_own_penalty(toy: SimpleNamespace) -> None:
    screen = make_screen(toy)
    known = everything(screen)
    target = screen.truth(known, spikes=False)
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(3))
    target = torch.where(known.pert_type == OE, screen.type_means[OE] + noise, target + 0.1 * noise)
    model = toy.train("type_ridge", screen.world, known, toy.batch(known, torch.arange(len(known)), target))
    assert model.penalty[OE] > 1 > model.penalty[XPR]


def test_the_ridge_of_a_type_leaves_every_perturbation_out_exactly(toy: SimpleNamespace) -> None:
    """Its sd is around predictions that refits without the perturbation give."""
    screen = make_screen(toy)
    known = screen.conditions([*range(12)] * 2, [SH] * 12 + [XPR] * 12)
    target = screen.truth(known, spikes=False)
    target = target + 0.3 * torch.randn(target.shape, generator=torch.Generator().manual_seed(7))
    model = toy.train("type_ridge", screen.world, known, toy.batch(known, torch.arange(24), target))
    residuals = []
    for kind in (SH, XPR):
        own = torch.nonzero(known.pert_type[:, 0] == kind).flatten()
        design, response = screen.world.features[known.slot[own, 0]].double(), target[own].double()
        squares = torch.linalg.svdvals(design - design.mean(0)).square()
        for left_out in range(12):
            kept = torch.arange(12) != left_out
            x, y = design[kept] - design[kept].mean(0), response[kept] - response[kept].mean(0)
            normal = x.T @ x + float(model.penalty[kind]) * squares.mean() * torch.eye(8, dtype=x.dtype)
            slopes = torch.linalg.solve(normal, x.T @ y)
            found = response[kept].mean(0) + (design[left_out] - design[kept].mean(0)) @ slopes
            residuals.append(response[left_out] - found)
    expected = torch.stack(residuals).square().mean(0).sqrt().float()
    torch.testing.assert_close(model.sd, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("types", [(XPR,), (OE, SH, XPR)])
def test_ridge_and_own_gene_effect_finds_both_and_spikes_are_no_response(
    toy: SimpleNamespace, types: tuple[int, ...]
) -> None:
    screen = make_screen(toy)
    names = tuple(TYPES[kind] for kind in types)
    world = replace(screen.world, space=screen.world.space.model_copy(update={"pert_types": names}))
    kinds = [types[i % len(types)] for i in range(N_SEEN * len(types))]
    known = screen.conditions([i // len(types) for i in range(len(kinds))], kinds)
    target = screen.truth(known, spikes=True)
    row = torch.tensor([types.index(kind) for kind in kinds])
    coded = replace(known, pert_type=row.unsqueeze(1))
    model = toy.train("ridge_own_gene", world, coded, toy.batch(coded, torch.arange(len(kinds)), target))
    asked = screen.conditions([*range(N_SEEN, N_SEEN + N_UNSEEN)], [XPR] * N_UNSEEN)
    found = predict(model, replace(asked, pert_type=torch.full((N_UNSEEN, 1), types.index(XPR))))
    truth, mean = screen.truth(asked, spikes=True), screen.type_means[XPR].expand(N_UNSEEN, -1)
    own = torch.nn.functional.one_hot(asked.own_gene[:, 0], N_GENES).bool()
    assert share_left(found[~own], truth[~own], mean[~own]) < 0.1
    assert float((found - truth)[own].mean()) == pytest.approx(0.0, abs=0.5)
    assert float((found - mean)[own].mean()) == pytest.approx(-8.0, abs=1.0)


def test_neighbours_are_of_the_same_type_and_of_others_only_where_there_is_none(toy: SimpleNamespace) -> None:
    screen = make_screen(toy)
    known = screen.conditions([*range(N_SEEN)] * 2, [OE] * N_SEEN + [XPR] * N_SEEN)
    target = screen.truth(known, spikes=False)
    batch = toy.batch(known, torch.arange(len(known)), target)
    model = toy.train("knn", screen.world, known, batch)
    only = known.take(torch.arange(N_SEEN, 2 * N_SEEN))
    space = replace(screen.world, space=screen.world.space.model_copy(update={"pert_types": TYPES[2:]}))
    coded = replace(only, pert_type=torch.zeros_like(only.pert_type))
    alone = toy.train("knn", space, coded, toy.batch(coded, torch.arange(N_SEEN), target[N_SEEN:]))
    asked = screen.conditions([70, 71], [XPR, XPR])
    torch.testing.assert_close(predict(model, asked), predict(alone, asked), rtol=1e-5, atol=1e-5)
    unmeasured = screen.conditions([70], [SH])
    mixed = predict(model, unmeasured)
    assert not torch.allclose(mixed, model.reference_mean(unmeasured), atol=1e-2)


def test_own_gene_effects_are_around_the_mean_of_the_type(toy: SimpleNamespace) -> None:
    screen = make_screen(toy, learnable=False)
    model = train_on(toy, screen, "own_gene", everything(screen), spikes=True)
    asked = screen.conditions([70, 70, 70], [OE, SH, XPR])
    shift = predict(model, asked) - screen.type_means
    own = int(asked.own_gene[0, 0])
    np.testing.assert_allclose(shift[:, own], SPIKE, atol=1.0)
    assert float(np.delete(shift.numpy(), own, axis=1).std()) < 0.3


def test_another_type_of_the_same_gene_tells_what_features_do_not(toy: SimpleNamespace) -> None:
    screen = make_screen(toy, learnable=False)
    held = [*range(40, N_SEEN)]
    genes = [g for g in range(N_SEEN) for _ in TYPES]
    kinds = [OE, SH, XPR] * N_SEEN
    kept = [i for i, (gene, kind) in enumerate(zip(genes, kinds, strict=True)) if gene < 40 or kind != XPR]
    known = screen.conditions([genes[i] for i in kept], [kinds[i] for i in kept])
    model = train_on(toy, screen, "transferred_types", known, spikes=True)
    asked = screen.conditions(held, [XPR] * len(held))
    truth, mean = screen.truth(asked, spikes=True), screen.type_means[XPR].expand(len(held), -1)
    assert share_left(predict(model, asked), truth, mean) < 0.25
    assert model.slopes[OE, XPR] < 0 < model.slopes[SH, XPR]
    assert model.reliability[SH, XPR] > model.reliability[OE, XPR] > 0
    own = torch.nn.functional.one_hot(asked.own_gene[:, 0], N_GENES).bool()
    assert share_left(predict(model, asked)[~own], truth[~own], mean[~own]) < 0.35
    without_both = screen.conditions([70], [XPR])
    expected = model.with_own_gene(model.reference_mean(without_both), without_both)
    torch.testing.assert_close(predict(model, without_both), expected)


def test_two_types_tell_more_than_one(toy: SimpleNamespace) -> None:
    screen = make_screen(toy, learnable=False)
    held = range(30, N_SEEN)
    base = [(gene, kind) for gene in range(30) for kind in range(3)]
    errors = []
    for others in ((SH,), (OE, SH)):
        rows = base + [(gene, kind) for gene in held for kind in others]
        known = screen.conditions([r[0] for r in rows], [r[1] for r in rows])
        model = train_on(toy, screen, "transferred_types", known, noise=0.6)
        asked = screen.conditions([*held], [XPR] * len(held))
        truth = screen.truth(asked, spikes=False)
        errors.append(share_left(predict(model, asked), truth, screen.type_means[XPR].expand_as(truth)))
    assert errors[1] < 0.9 * errors[0]


def test_types_that_tell_nothing_of_each_other_are_not_transferred(toy: SimpleNamespace) -> None:
    screen = make_screen(toy)
    known = everything(screen)
    target = screen.type_means[known.pert_type[:, 0]]
    target = target + torch.randn(target.shape, generator=torch.Generator().manual_seed(2))
    batch = toy.batch(known, torch.arange(len(known)), target)
    model = toy.train("transferred_types", screen.world, known, batch)
    moved = predict(model, known) - model.with_own_gene(model.reference_mean(known), known)
    assert float(moved.square().mean()) < 0.01


@pytest.mark.parametrize("rotated", [False, True])
def test_a_map_between_types_is_exact_where_a_perturbation_is_left_out(rotated: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(20, 15, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(15, 4, generator=generator, dtype=torch.float64)).Q.T
    target = 0.5 * source + 0.3 * torch.randn(20, 15, generator=generator, dtype=torch.float64)
    if rotated:
        target = target - 2 * (source @ basis[:2].T) @ basis[:2]
    found = fit_type_map(source, target, basis)
    assert (float((found.component_slopes - found.slope).abs().max()) > 0.5) == rotated
    for row in (0, 7):
        kept = torch.arange(20) != row
        slope = (source[kept] * target[kept]).sum() / source[kept].square().sum()
        expected = map_without(source, target, basis, kept, slope, found)
        torch.testing.assert_close(found.left_out[row], source[row] @ expected)


def map_without(
    source: Tensor, target: Tensor, basis: Tensor, kept: Tensor, slope: Tensor, found: object
) -> Tensor:
    """The map of the kept rows as a matrix, with the shrinkage that `found` chose."""
    x, y = source @ basis.T, target @ basis.T
    amount = shrinkage_of(x, y, found)
    if np.isinf(amount):
        return slope * torch.eye(source.shape[1], dtype=torch.float64)
    slopes = ((x * y)[kept].sum(0) + amount * slope) / (x.square()[kept].sum(0) + amount)
    return (
        slope * torch.eye(source.shape[1], dtype=torch.float64) + basis.T @ torch.diag(slopes - slope) @ basis
    )


def shrinkage_of(x: Tensor, y: Tensor, found: object) -> float:
    squares, products = x.square().sum(0)[0], (x * y).sum(0)[0]
    own, slope = found.component_slopes[0], found.slope[0]  # type: ignore[attr-defined]
    return float("inf") if own == slope else float((products - own * squares) / (own - slope))


def test_a_map_of_too_few_shared_perturbations_is_zero() -> None:
    rows = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = fit_type_map(rows, rows, torch.eye(5, dtype=torch.float64)[:2])
    assert found.reliability == 0
    assert not map_rows(
        rows, found.slope, found.component_slopes, torch.eye(5, dtype=torch.float64)[:2]
    ).any()


NEW = ["type_mean", "type_ridge", "ridge_own_gene", "transferred_types", "own_gene", "knn"]


@pytest.mark.parametrize("name", NEW)
def test_a_baseline_of_types_is_loaded_strictly_and_ignores_its_batch(
    toy: SimpleNamespace, name: str
) -> None:
    screen = make_screen(toy, n_contexts=2)
    known = screen.conditions([*range(30)] * 3, [OE, SH, XPR] * 30, [0, 1] * 45)
    model = train_on(toy, screen, name, known, spikes=True)
    space = screen.world.space.model_copy(update={"n_conditions": len(known)})
    again = get_model(name).build({}, space, known)
    again.load_state_dict(model.state_dict(), strict=True)
    asked = screen.conditions([1, 31, 70, 2, 3], [OE, SH, XPR, -1, XPR], [0, 1, -1, 0, 1])
    whole = predict(again, asked)
    torch.testing.assert_close(whole, predict(model, asked), rtol=0, atol=0)
    single = torch.cat([predict(again, asked.take(torch.tensor([i]))) for i in range(5)])
    torch.testing.assert_close(whole, single, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(whole).all() and torch.isfinite(model.sd).all()


@pytest.mark.parametrize("name", NEW)
def test_a_baseline_of_types_stays_on_its_device(toy: SimpleNamespace, name: str) -> None:
    """On the meta device, where an operation that mixes devices is an error."""
    screen = make_screen(toy)
    known = everything(screen)
    model = train_on(toy, screen, name, known).to("meta")
    found = model.predict(known.to("meta"), torch.zeros(len(known), N_GENES, device="meta"))
    assert found.mean.device.type == found.sd.device.type == "meta"


@pytest.mark.parametrize("name", NEW)
def test_combinations_of_several_types_are_a_type_of_their_own(toy: SimpleNamespace, name: str) -> None:
    world = toy.world(n_perturbations=12, n_genes=10, n_contexts=1, max_slots=2)
    world = replace(world, space=world.space.model_copy(update={"pert_types": TYPES}))
    sets = [[i] for i in range(12)] * 2 + [[i, i + 1] for i in range(8)]
    types = [[OE, -1]] * 12 + [[XPR, -1]] * 12 + [[OE, XPR]] * 8
    known = replace(world.conditions(sets), pert_type=torch.tensor(types))
    target = torch.randn(len(sets), 10, generator=torch.Generator().manual_seed(0))
    target[24:] += 6.0
    model = toy.train(name, world, known, toy.batch(known, torch.arange(len(sets)), target))
    mixed, single = known.take(torch.tensor([25])), known.take(torch.tensor([3]))
    flipped = ConditionBatch(**{f.name: flip(f.name, mixed) for f in fields(mixed)})
    torch.testing.assert_close(predict(model, mixed), predict(model, flipped), rtol=1e-5, atol=1e-5)
    difference = predict(model, mixed).mean() - predict(model, single).mean()
    assert difference > 3


def flip(name: str, conditions: ConditionBatch) -> Tensor:
    value: Tensor = getattr(conditions, name)
    return value.flip(1) if name in ("perturbation", "slot", "pert_type", "own_gene", "log_dose") else value


def test_one_type_leaves_no_baselines_of_types(toy: SimpleNamespace) -> None:
    space: ModelSpace = toy.world(n_contexts=1, max_slots=1, pert_type="trt_xpr").space
    one = {entry.name for entry in baselines_for(space)}
    several = {
        entry.name for entry in baselines_for(space.model_copy(update={"pert_types": ("trt_sh", "trt_xpr")}))
    }
    assert several - one == {"type_mean", "type_ridge", "transferred_types"}
    assert one - several == set()
    assert "ridge_own_gene" in one


@pytest.mark.parametrize("name", ["type_mean", "type_ridge", "transferred_types"])
def test_with_one_type_a_baseline_of_types_starts_from_the_context_mean(
    toy: SimpleNamespace, name: str
) -> None:
    world = toy.world(n_contexts=2, pert_type="trt_xpr", max_slots=1)
    known = world.conditions([[i] for i in range(12)], [0, 1] * 6)
    target: Tensor = torch.randn(12, 10, generator=torch.Generator().manual_seed(0))
    model = toy.train(name, world, known, toy.batch(known, torch.arange(12), target))
    found: NDArray[np.float32] = model.reference_mean(known).numpy()
    expected = np.stack([target[i % 2 :: 2].mean(0).numpy() for i in range(12)])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

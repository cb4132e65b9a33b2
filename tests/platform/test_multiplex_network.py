"""multiplex_network: types inform each other where they agree, and nothing knows what it must not know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pertcast.models.batch import Batch, ConditionBatch
from pertcast.models.contract import GradientStage, StatisticsStage
from pertcast.models.multiplex_network.model import MultiplexNetwork
from pertcast.models.multiplex_network.response.covariance import Slots, covariance, own_variance
from pertcast.models.multiplex_network.response.cross_type import CrossTypeAttention, OtherTypes
from pertcast.models.multiplex_network.response.refinement import CrossTypeLoss, Deviations
from pertcast.models.multiplex_network.response.tuning import component_classes, noisy
from pertcast.models.noise import KeyedNoise
from torch import Tensor

TYPES = ("trt_sh", "trt_xpr", "trt_oe")
N_GENES, N_PERTURBED, N_NEW, WIDTH = 30, 60, 20, 4
OWN_SHIFT = torch.tensor([-4.0, -6.0, 2.0])
SIGN = torch.tensor([0.8, 1.0, -0.7])


@dataclass(frozen=True)
class Case:
    """A planted world: response = type's mean + sign of the type x map of the features + own gene + noise."""

    model: MultiplexNetwork
    conditions: ConditionBatch
    batch: Batch
    asked: ConditionBatch
    truth: Tensor


def typed(conditions: ConditionBatch, kinds: Tensor) -> ConditionBatch:
    return replace(conditions, pert_type=torch.where(conditions.slot >= 0, kinds.unsqueeze(1), -1))


def planted(toy: SimpleNamespace, noise: float = 0.5, steps: int = 0, **config: Any) -> Case:
    """Two of three types are measured of each gene; new genes are asked for in all of them."""
    world = toy.world(
        n_perturbations=N_PERTURBED, n_unseen=N_NEW, n_genes=N_GENES, n_contexts=1, n_groups=0,
        feature_width=WIDTH, max_slots=1,
    )  # fmt: skip
    space = world.space.model_copy(update={"pert_types": TYPES, "measure": "response"})
    world = replace(world, space=space)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(WIDTH, N_GENES, generator=generator)
    means = torch.randn(len(TYPES), N_GENES, generator=generator)

    def responses(conditions: ConditionBatch) -> Tensor:
        kind = conditions.pert_type[:, 0]
        found = means[kind] + SIGN[kind].unsqueeze(1) * (conditions.summed_features() @ weights)
        own = conditions.own_gene
        return found.scatter(1, own, means[kind].gather(1, own) + OWN_SHIFT[kind].unsqueeze(1))

    sets = [[gene] for gene in range(N_PERTURBED) for _ in range(2)]
    kinds = torch.tensor([(gene + i) % 3 for gene in range(N_PERTURBED) for i in range(2)])
    conditions = typed(world.conditions(sets), kinds)
    new = [[N_PERTURBED + gene] for gene in range(N_NEW) for _ in TYPES]
    asked = typed(world.conditions(new), torch.arange(len(TYPES)).repeat(N_NEW))
    target = responses(conditions)
    target = target + noise * torch.randn(target.shape, generator=generator)
    batch = toy.batch(conditions, torch.arange(len(conditions)), target)
    settings = {"attention": {"epochs": 0}, "process": {"tuning_steps": 15}, **config}
    model = toy.train("multiplex_network", world, conditions, batch, steps=steps, **settings)
    return Case(model, conditions, batch, asked, responses(asked))


def predicted(case: Case, conditions: ConditionBatch) -> Tensor:
    return case.model.predict(conditions, torch.zeros(len(conditions), N_GENES)).mean


def explained(case: Case) -> float:
    """Share of the true deviations from the type's mean that is predicted, own genes apart."""
    centre = case.model.centre(case.asked)
    left_out = torch.ones_like(centre).scatter(1, case.asked.own_gene, 0.0)
    error = ((predicted(case, case.asked) - case.truth) * left_out).square().sum()
    return 1 - float(error / ((case.truth - centre) * left_out).square().sum())


def test_genes_never_perturbed_are_told_by_their_features_in_every_type(toy: SimpleNamespace) -> None:
    case = planted(toy)
    assert explained(case) > 0.85
    kind = case.asked.pert_type[:, 0]
    for number in range(len(TYPES)):
        rows = kind == number
        found = predicted(case, case.asked)[rows] - case.model.centre(case.asked)[rows]
        true = case.truth[rows] - case.model.centre(case.asked)[rows]
        assert float(torch.corrcoef(torch.stack([found.flatten(), true.flatten()]))[0, 1]) > 0.9


def test_types_that_agree_or_oppose_are_found_and_help(toy: SimpleNamespace) -> None:
    noisy_case = {"noise": 4.0}
    coupled = planted(toy, **noisy_case)
    coupling = coupled.model.process.coupling
    assert float(coupling[0, 1]) > 0 > float(coupling[0, 2]) and float(coupling[1, 2]) < 0
    alone = planted(toy, **noisy_case, cross_type=False)
    off_diagonal = ~torch.eye(len(TYPES), dtype=torch.bool)
    assert not alone.model.process.coupling[:-1, :-1][off_diagonal].any()
    assert not alone.model.process.memory[:-1, :-1][off_diagonal].any()
    assert explained(coupled) > explained(alone) + 0.03


def test_the_own_gene_is_told_by_the_type_and_left_to_no_other_term(toy: SimpleNamespace) -> None:
    case = planted(toy)
    own, kind = case.asked.own_gene, case.asked.pert_type[:, 0]
    found = (predicted(case, case.asked) - case.model.centre(case.asked)).gather(1, own)[:, 0]
    sd = case.model.centre.sd[own[:, 0]]
    torch.testing.assert_close(found, case.model.own_gene.shift[kind] * sd, rtol=1e-4, atol=1e-4)
    for number in range(len(TYPES)):
        error = (found - OWN_SHIFT[kind])[kind == number].mean()
        assert abs(float(error)) < 0.8
    without = planted(toy, own_gene=False)
    spike = (predicted(without, case.asked) - without.model.centre(case.asked)).gather(1, own)[:, 0]
    assert float(spike[kind == 1].mean()) > -2.0


def test_left_out_scores_are_those_of_a_process_that_never_saw_the_condition(toy: SimpleNamespace) -> None:
    process = planted(toy).model.process
    slots, shape = process._training_slots(), process.shape
    wide = slots.table.double()
    slots, shape = slots.to(wide), shape.to(wide)
    common = covariance(slots, slots, shape)
    classes = component_classes(len(process.components))
    kept = torch.arange(len(common)) != 7
    for number in (0, 1, 2):
        columns = torch.nonzero(classes == number).flatten()
        signal, noise = process.spread.signal[number].double(), process.spread.noise.double()
        kernel = noisy(common, noise[slots.last_kind()], signal)
        known = process.measured_scores[kept][:, columns].double()
        expected = signal * common[7, kept] @ torch.linalg.solve(kernel[kept][:, kept], known)
        expected = expected * process.borne_out[slots.last_kind()[7]]
        torch.testing.assert_close(
            process.left_out_scores[7, columns].double(), expected, rtol=2e-3, atol=2e-3
        )


def test_a_covariance_is_symmetric_has_its_own_diagonal_and_adds_up_over_slots(toy: SimpleNamespace) -> None:
    process = planted(toy).model.process
    world = toy.world(n_perturbations=N_PERTURBED, n_unseen=N_NEW, n_genes=N_GENES, feature_width=WIDTH)
    pairs = typed(world.conditions([[0, 1], [2, 3], [4], [], [61]]), torch.tensor([0, 1, 2, 0, 0]))
    singles = typed(world.conditions([[0], [1]]), torch.tensor([0, 0]))
    slots, shape = process.slots(pairs), process.shape
    found = covariance(slots, slots, shape)
    torch.testing.assert_close(found, found.T, rtol=1e-4, atol=1e-5)
    assert float(torch.linalg.eigvalsh(found).min()) > -1e-4
    assert not found[3].any()
    # What an unseen gene does by itself is not known to be the same gene's, but it varies as much.
    variance = found.diagonal() + torch.tensor([0, 0, 0, 0, 1.0]) * shape.memory[0, 0]
    torch.testing.assert_close(own_variance(slots, shape), variance, rtol=1e-4, atol=1e-5)
    parts = covariance(process.slots(singles), slots, shape)
    torch.testing.assert_close(found[0], parts[0] + parts[1], rtol=1e-4, atol=1e-5)


def test_a_gene_without_features_is_like_no_other_and_gets_the_types_mean(toy: SimpleNamespace) -> None:
    case = planted(toy, own_gene=False)
    nothing = case.asked.with_features(torch.zeros_like(case.asked.features))
    torch.testing.assert_close(predicted(case, nothing), case.model.centre(nothing), rtol=1e-3, atol=1e-3)


def test_a_control_has_no_response(toy: SimpleNamespace) -> None:
    case = planted(toy)
    asked = case.asked.take(torch.tensor([0, 1]))
    control = replace(
        asked, slot=torch.full_like(asked.slot, -1), perturbation=torch.full_like(asked.slot, -1),
        pert_type=torch.full_like(asked.slot, -1), own_gene=torch.full_like(asked.slot, -1),
    )  # fmt: skip
    assert not predicted(case, control).any()


def test_left_out_profiles_scatter_as_far_as_is_said_and_farther_where_less_is_known(
    toy: SimpleNamespace,
) -> None:
    case = planted(toy, noise=1.0)
    found = case.model.predict(case.asked, torch.zeros(len(case.asked), N_GENES))
    noise = torch.randn(found.mean.shape, generator=torch.Generator().manual_seed(9))
    standardised = (case.truth + noise - found.mean) / found.sd
    own = torch.ones_like(standardised).scatter(1, case.asked.own_gene, 0.0).bool()
    assert float(standardised[own].square().mean()) == pytest.approx(1.0, abs=0.25)
    nothing = case.asked.with_features(torch.zeros_like(case.asked.features))
    told = case.model.process.total_variance(case.asked)
    untold = case.model.process.total_variance(case.conditions)
    assert float(untold[:, 0].mean()) < float(told[:, 0].mean())
    assert case.model.process.total_variance(nothing).isfinite().all()


def test_only_the_mean_of_a_type_with_few_conditions_leans_on_all_types(toy: SimpleNamespace) -> None:
    case = planted(toy)
    kind = case.conditions.pert_type[:, 0]
    of_last = torch.nonzero(kind == 2).flatten()
    few = case.batch.take(torch.cat([torch.nonzero(kind < 2).flatten(), of_last[:2]]))
    kind = few.conditions.pert_type[:, 0]
    toy.solve(case.model.stages()[0], [few])
    overall = few.target.mean(dim=0)
    for number in range(len(TYPES)):
        rows = few.target[kind == number]
        expected = (rows.sum(dim=0) + overall) / (len(rows) + 1) if number == 2 else rows.mean(dim=0)
        torch.testing.assert_close(case.model.centre.kind_mean[number], expected, rtol=1e-3, atol=1e-3)


def test_types_that_do_not_differ_have_one_mean(toy: SimpleNamespace) -> None:
    case = planted(toy)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(case.batch.target.shape, generator=generator) + 1.0
    toy.solve(case.model.stages()[0], [replace(case.batch, target=noise)])
    expected = noise.mean(dim=0).expand_as(case.model.centre.kind_mean)
    torch.testing.assert_close(case.model.centre.kind_mean, expected, rtol=1e-4, atol=1e-4)


def test_facts_name_the_types(toy: SimpleNamespace) -> None:
    case = planted(toy)
    stage = case.model.stages()[0]
    assert isinstance(stage, StatisticsStage)
    toy.solve(stage, [case.batch])
    facts = stage.facts()
    assert facts["left_out_r2"] > 0.5
    assert facts["coupling_trt_sh_trt_xpr"] > 0.5 > -0.3 > facts["coupling_trt_sh_trt_oe"]
    assert facts["own_gene_shift_trt_xpr"] < -2 and not any("type" in name for name in facts)


def test_other_types_are_those_measured_of_the_same_gene_and_never_ones_own(toy: SimpleNamespace) -> None:
    case = planted(toy)
    others = case.model.index(case.conditions)
    kind = case.conditions.pert_type[:, 0]
    for row in range(len(case.conditions)):
        gene = case.conditions.perturbation[row, 0]
        for number in range(len(TYPES)):
            same = (case.conditions.perturbation[:, 0] == gene) & (kind == number) & (kind != kind[row])
            expected = int(torch.nonzero(same)[0]) if bool(same.any()) else -1
            assert int(others.condition[row, number]) == expected
    assert not case.model.index(case.asked).is_measured.any()


def attention_of(case: Case, **settings: Any) -> CrossTypeAttention:
    torch.manual_seed(0)
    config = case.model.config.attention.model_copy(update={"dropout": 0.0, **settings})
    attention = CrossTypeAttention(config, len(TYPES), 8)
    torch.nn.init.normal_(attention.refinement.weight)
    return attention.eval()


def test_what_was_not_measured_changes_nothing(toy: SimpleNamespace) -> None:
    attention = attention_of(planted(toy))
    scores, measured = torch.randn(4, 8), torch.randn(4, 3, 8)
    condition = torch.tensor([[-1, 5, -1], [-1, 5, 6], [-1, -1, -1], [3, -1, -1]])
    others = OtherTypes(condition, torch.tensor([0, 0, 2, 1]))
    change = attention(scores, measured, others)
    hidden = torch.where(others.is_measured.unsqueeze(-1), measured, 1e3)
    torch.testing.assert_close(attention(scores, hidden, others), change)
    assert not change[2].any() and bool(change[[0, 1, 3]].abs().sum(dim=1).gt(0).all())


def test_the_refinement_sees_left_out_predictions_of_training_rows(toy: SimpleNamespace) -> None:
    case = planted(toy)
    model = case.model
    loss = CrossTypeLoss(model._refinement, Deviations(model.centre, model.own_gene), model.config.attention)
    loss.eval()
    before = loss(case.batch, KeyedNoise(0))
    assert float(before["error"]) == pytest.approx(float(before["before"]))
    seen = loss._left_out(model.process, case.batch)
    torch.testing.assert_close(seen, model.process.left_out_scores)
    held_out = replace(case.batch, condition_index=torch.full_like(case.batch.condition_index, -1))
    torch.testing.assert_close(loss._left_out(model.process, held_out), model.process.scores(case.conditions))


def test_training_hides_some_of_the_other_types_and_validation_none(toy: SimpleNamespace) -> None:
    case = planted(toy)
    model = case.model
    settings = model.config.attention.model_copy(update={"hidden_share": 0.5})
    loss = CrossTypeLoss(model._refinement, Deviations(model.centre, model.own_gene), settings)
    others = model.index(case.conditions)
    shown = loss.train()._shown(others, case.batch, KeyedNoise(0, 3))
    share = float(shown.is_measured.sum() / others.is_measured.sum())
    assert 0.3 < share < 0.7 and not bool((shown.is_measured & ~others.is_measured).any())
    again = loss._shown(others, case.batch, KeyedNoise(0, 3))
    assert torch.equal(shown.condition, again.condition)
    assert torch.equal(loss.eval()._shown(others, case.batch, KeyedNoise(0, 3)).condition, others.condition)


def test_the_refinement_learns_what_features_do_not_tell(toy: SimpleNamespace) -> None:
    """Genes act by a hidden part of their own, the same in every type, that the process is kept from."""
    case = planted(toy, attention={"epochs": 1, "dropout": 0.0, "hidden_share": 0.0, "shrinkage": 0.0})
    model, generator = case.model, torch.Generator().manual_seed(3)
    hidden = torch.randn(N_PERTURBED, N_GENES, generator=generator)
    gene, kind = case.conditions.perturbation[:, 0], case.conditions.pert_type[:, 0]
    target = case.batch.target + SIGN[kind].unsqueeze(1) * hidden[gene]
    batch = replace(case.batch, target=target)
    toy.solve(model.stages()[0], [batch])
    model.process.left_out_scores.copy_(model.process.left_out_scores * 0.0)
    stage = model.stages()[1]
    assert isinstance(stage, GradientStage)
    toy.descend(stage, batch, 300)
    after = stage.module.eval()(batch, KeyedNoise(0))
    assert float(after["error"]) < 0.7 * float(after["before"])


def test_with_one_type_there_is_nothing_to_refine(toy: SimpleNamespace) -> None:
    world = toy.world(n_contexts=1)
    conditions = world.conditions([[i] for i in range(10)])
    batch = toy.batch(conditions, torch.arange(10), torch.randn(10, 10))
    model = toy.train("multiplex_network", world, conditions, batch)
    assert [stage.name for stage in model.stages()] == ["response"]


def test_slots_point_at_their_own_features_whatever_the_table(toy: SimpleNamespace) -> None:
    case = planted(toy)
    process = case.model.process
    few = case.asked.take(torch.tensor([5, 40]))
    own = replace(few, slot=torch.arange(2).unsqueeze(1), features=few.features[few.slot[:, 0]])
    assert isinstance(process.slots(own), Slots)
    torch.testing.assert_close(process.scores(own), process.scores(few), rtol=1e-4, atol=1e-5)


def test_responses_without_any_noise_are_solved_all_the_same(toy: SimpleNamespace) -> None:
    case = planted(toy, noise=0.0)
    assert bool(predicted(case, case.asked).isfinite().all()) and explained(case) > 0.9
    assert float(case.model.process.spread.signal.max()) < 1

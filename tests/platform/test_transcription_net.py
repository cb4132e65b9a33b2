"""The corrected TranscriptionNet recipe: out of fold, by type, measured only where training measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import training_toys as toys
from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import GradientStage
from pertcast.models.multiplex_network.reference.column_attention import column_attention
from pertcast.models.multiplex_network.reference.condition_types import left_out_by, perturbation_folds
from pertcast.models.multiplex_network.reference.config import TranscriptionNetConfig
from pertcast.models.multiplex_network.reference.gensan import GenSan
from pertcast.models.multiplex_network.reference.losses import GenSanLoss, row_pearson
from pertcast.models.multiplex_network.reference.model import TranscriptionNet
from pertcast.models.noise import KeyedNoise
from pertcast.training.data import TrainingData
from pertcast.training.fit import fit
from pertcast_data.errors import ConfigError

TYPES = ("trt_sh", "trt_xpr", "trt_oe")
SMALL: dict[str, Any] = {
    "fundnn": {"width": 16, "depth": 2, "optimiser": {"lr": 1e-2}},
    "gensan": {"feed_forward": 16, "blocks": 1, "copies": 2, "optimiser": {"lr": 1e-3}},
}
PLACES = (
    [([p], 0, 0) for p in range(12)]
    + [([p], 1, 0) for p in range(6)]
    + [([p], 2, 1) for p in range(3, 9)]
    + [([0, 1], 0, 0), ([], -1, 0)]
)
"""Training conditions: (perturbations, type, context)."""


def conditions_of(world: Any, places: Sequence[tuple[list[int], int, int]]) -> ConditionBatch:
    made: ConditionBatch = world.conditions([p for p, _, _ in places], [c for _, _, c in places])
    kind = torch.tensor([t for _, t, _ in places]).unsqueeze(1)
    return replace(made, pert_type=torch.where(made.slot >= 0, kind, -1))


def a_case(toy: SimpleNamespace, rows: int = 2) -> SimpleNamespace:
    """Training conditions of three types, and `rows` rows of each with random targets."""
    world = toy.world()
    conditions = conditions_of(world, PLACES)
    space = world.space.model_copy(update={"pert_types": TYPES, "n_conditions": len(conditions)})
    index = torch.arange(len(conditions)).repeat_interleave(rows)
    target = torch.randn(len(index), space.n_genes, generator=torch.Generator().manual_seed(1))
    return SimpleNamespace(
        world=world, space=space, conditions=conditions, batch=toy.batch(conditions, index, target)
    )


def build(
    case: SimpleNamespace, settings: dict[str, Any] | None = None, space: ModelSpace | None = None
) -> TranscriptionNet:
    config = TranscriptionNetConfig.model_validate(SMALL | (settings or {}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TranscriptionNet(config, space or case.space, case.conditions)


def train(
    toy: SimpleNamespace, model: TranscriptionNet, batch: Batch, steps: int = 30, skip: Sequence[str] = ()
) -> TranscriptionNet:
    for stage in model.stages():
        if stage.name in skip:
            continue
        if isinstance(stage, GradientStage):
            toy.descend(stage, batch, steps)
        else:
            toy.solve(stage, [batch])
    return model.eval()


def second_stage(model: TranscriptionNet) -> GenSanLoss:
    last = model.stages()[-1]
    assert isinstance(last, GradientStage) and isinstance(last.module, GenSanLoss)
    return last.module


def poisoned(batch: Batch, is_hit: torch.Tensor) -> Batch:
    return replace(batch, target=torch.where(is_hit.unsqueeze(1), -5 * batch.target + 3, batch.target))


ASKED = [([0], 0, 0), ([13], 1, 0), ([4], 2, 1), ([], -1, -1), ([2, 14], 0, 1), ([5], -1, 0), ([7], 1, -1)]


# Out of fold.


def test_folds_are_of_equal_size_and_leave_out_whatever_holds_their_perturbations(toy: Any) -> None:
    case = a_case(toy)
    fold = perturbation_folds(12, 3)
    assert torch.bincount(fold[:-1]).tolist() == [4, 4, 4] and int(fold[-1]) == -1
    places = [([0], 0, 0), ([0, 1], 0, 0), ([13], 1, 0), ([], -1, 0)]
    left_out = left_out_by(conditions_of(case.world, places), fold, 3)
    expected = [{int(fold[0])}, {int(fold[0]), int(fold[1])}, set(), set()]
    assert [set(torch.nonzero(row).flatten().tolist()) for row in left_out] == expected


def test_a_conditions_own_target_never_reaches_its_second_stage_input(toy: Any) -> None:
    case = a_case(toy)
    is_hit = case.batch.condition_index == 4
    clean = train(toy, build(case), case.batch, skip=("gensan",))
    other = build(case)
    bad = poisoned(case.batch, is_hit)
    toy.solve(other.stages()[0], [bad])
    other.scaling.load_state_dict(clean.scaling.state_dict())
    train(toy, other, bad, skip=("profiles", "gensan"))
    # Seen by training and by a hidden share alike: the measured profile is another one, and must not show.
    assert not torch.equal(clean.profiles.profile, other.profiles.profile)
    found = []
    for model in (clean, other):
        loss = second_stage(model).train()
        loss.hidden_share = 0.0
        own, tokens, _, _ = loss.inputs(case.batch, KeyedNoise(0))
        assert torch.equal(own[is_hit], tokens[is_hit][:, 0])
        found.append((own, tokens))
    assert torch.equal(found[0][0][is_hit], found[1][0][is_hit])
    assert torch.equal(found[0][1][is_hit], found[1][1][is_hit])
    # What others read of it, and the members that did see it, have changed.
    assert not torch.equal(found[0][0][~is_hit], found[1][0][~is_hit])
    asked = case.conditions.take(torch.tensor([4]))
    inputs = clean.features.summed(asked)
    assert not torch.equal(clean.members(inputs)[:, 0], other.members(inputs)[:, 0])


def test_held_out_rows_are_predicted_by_the_mean_of_all_members(toy: Any) -> None:
    case = a_case(toy)
    model = train(toy, build(case), case.batch, skip=("gensan",))
    asked = conditions_of(case.world, [([13], 1, 0)])
    inputs = model.features.summed(asked)
    single = torch.stack([model.members.network(k, 1)(inputs) for k in range(3)]).mean(dim=0)
    expected = model.scaling.unscale(single, torch.tensor([1]))
    found = model.predict(asked, torch.zeros(1, 10)).mean
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_member_that_no_row_trained_counts_for_nothing(toy: Any) -> None:
    case = a_case(toy)
    kept = torch.tensor([0])
    case.conditions = case.conditions.take(kept)
    space = case.space.model_copy(update={"n_conditions": 1})
    model = build(case, space=space)
    own_fold = int(model.members.fold[0])
    assert model.members.is_trained[:, 0].tolist() == [float(k != own_fold) for k in range(3)]
    inputs = model.features.summed(case.conditions)
    assert bool((model.members(inputs)[:, 1:3] == 0).all())
    weights = model.members.out_of_fold_weights(case.conditions)
    assert bool((model.members(inputs, weights)[:, 0] == 0).all())


def test_the_spread_is_that_of_predictions_that_never_saw_the_row(toy: Any) -> None:
    case = a_case(toy, rows=1)
    model = train(toy, build(case), case.batch, steps=120, skip=("gensan",))
    kept = case.batch.take(torch.arange(12))
    seen = model.members(model.features.summed(kept.conditions))[:, 0]
    left = kept.target - model.scaling.unscale(seen, torch.zeros(12, dtype=torch.int64))
    # The targets are noise around nothing: remembered, they leave less than they hold.
    assert float(left.detach().square().mean().sqrt()) < 0.8 * float(kept.target.std())
    assert float(model.sd[0].mean()) > float(kept.target.std())


# Tokens.


def test_a_profile_is_measured_only_where_that_condition_is_in_training(toy: Any) -> None:
    case = a_case(toy)
    model = train(toy, build(case), case.batch, skip=("fundnn", "gensan"))
    places = [
        ([4], 0, 0), ([4], 1, 0), ([4], 2, 1), ([4], 2, 0), ([13], 0, 0), ([0, 1], 1, 0), ([], -1, 0),
        ([4], -1, 0), ([4], 0, -1),
    ]  # fmt: skip
    asked = conditions_of(case.world, places)
    kind = torch.tensor([0, 1, 2, 2, 0, 1, 3, 3, 0])
    profile, is_measured = model.profiles(asked, kind)
    yes, no = True, False
    assert is_measured.tolist() == [
        [no, yes, no],  # type 2 is measured in another context
        [yes, no, no],
        [no, no, no],
        [yes, yes, no],
        [no, no, no],  # unseen perturbation
        [no, no, no],  # combination
        [no, no, no],  # control
        [yes, yes, no],  # unseen type
        [no, no, no],  # unseen context
    ]
    rows = case.batch.condition_index == PLACES.index(([4], 1, 0))
    expected = model.scaling.scale(case.batch.target[rows].mean(dim=0, keepdim=True), torch.tensor([1]))
    torch.testing.assert_close(profile[0, 1], expected[0])


def test_a_condition_without_rows_is_not_measured(toy: Any) -> None:
    case = a_case(toy)
    gone = PLACES.index(([4], 1, 0))
    batch = case.batch.take(torch.nonzero(case.batch.condition_index != gone).flatten())
    model = train(toy, build(case), batch, skip=("fundnn", "gensan"))
    asked = conditions_of(case.world, [([4], 0, 0), ([5], 0, 0)])
    assert model.profiles(asked, torch.zeros(2, dtype=torch.int64))[1][:, 1].tolist() == [False, True]


def test_measured_profiles_are_hidden_from_the_stated_share_in_training_alone(toy: Any) -> None:
    case = a_case(toy, rows=200)
    model = train(toy, build(case), case.batch, skip=("fundnn", "gensan"))
    loss = second_stage(model)
    everything = loss.eval().inputs(case.batch, KeyedNoise(0))[2].any(dim=1)
    shown = loss.train().inputs(case.batch, KeyedNoise(0))[2].any(dim=1)
    assert float(shown.sum() / everything.sum()) == pytest.approx(0.5, abs=0.03)
    assert not bool((shown & ~everything).any())


def test_a_measured_type_tells_of_another_what_features_do_not(toy: Any) -> None:
    """Two types respond alike, by something the features know nothing of."""
    world = toy.world(n_perturbations=120, n_unseen=0)
    shared = torch.randn(120, 10, generator=torch.Generator().manual_seed(3))
    places = [([p], 0, 0) for p in range(120)] + [([p], 1, 0) for p in range(80)]
    conditions = conditions_of(world, places)
    space = world.space.model_copy(update={"pert_types": TYPES[:2], "n_conditions": len(places)})
    index = torch.arange(len(places))
    target = shared[torch.tensor([p[0] for p, _, _ in places])]
    case = SimpleNamespace(space=space, conditions=conditions)
    settings = {"gensan": SMALL["gensan"] | {"hidden_share": 0.2, "optimiser": {"lr": 3e-3}}}
    model = train(toy, build(case, settings), toy.batch(conditions, index, target), steps=150)
    asked, truth = conditions_of(world, [([p], 1, 0) for p in range(80, 120)]), shared[80:]
    refined = row_pearson(model.predict(asked, torch.zeros(40, 10)).mean, truth).mean()
    model.gensan = None
    first = row_pearson(model.predict(asked, torch.zeros(40, 10)).mean, truth).mean()
    assert float(first) < 0.3 and float(refined) > 0.6


# Types and units.


def test_a_types_networks_learn_from_its_own_rows_alone(toy: Any) -> None:
    case = a_case(toy)
    kind = case.batch.conditions.pert_type.amax(dim=1)
    clean = train(toy, build(case), case.batch, skip=("gensan",))
    other = train(toy, build(case), poisoned(case.batch, kind == 1), skip=("gensan",))
    for number, is_equal in ((0, True), (1, False), (2, True)):
        weights = [m.members.network(0, number).out.weight for m in (clean, other)]
        assert torch.equal(*weights) == is_equal
        assert torch.equal(clean.scaling.mean[number], other.scaling.mean[number]) == is_equal


def test_units_come_from_training_rows_alone(toy: Any) -> None:
    case = a_case(toy)
    outside = replace(case.batch, condition_index=torch.full_like(case.batch.condition_index, -1))
    outside = replace(outside, target=outside.target * 100)
    clean, other = build(case), build(case)
    toy.solve(clean.stages()[0], [case.batch])
    toy.solve(other.stages()[0], [case.batch, outside])
    assert all(torch.equal(a, b) for a, b in zip(clean.buffers(), other.buffers(), strict=True))
    held_out = replace(case.conditions, features=case.conditions.features.clone())
    held_out.features[12:] = 1e3
    case.conditions = held_out
    assert torch.equal(build(case).features.mean, clean.features.mean)


def test_scaled_targets_and_predictions_stay_within_the_limits_of_tanh(toy: Any) -> None:
    case = a_case(toy)
    batch = replace(case.batch, target=case.batch.target * 1.0)
    batch.target[0] = 1e4
    model = train(toy, build(case), batch)
    kind = torch.where(batch.conditions.pert_type.amax(dim=1) < 0, 3, batch.conditions.pert_type.amax(dim=1))
    scaled = model.scaling.scale(batch.target, kind)
    assert float(scaled.abs().max()) == 1.0
    asked = replace(case.conditions, features=case.conditions.features * 1e6)
    found = model.predict(asked, torch.zeros(len(asked), 10)).mean
    kind = torch.where(asked.pert_type.amax(dim=1) < 0, 3, asked.pert_type.amax(dim=1))
    reach = model.scaling.sd[kind] * model.scaling.limit[kind].unsqueeze(1)
    is_treated = (asked.slot >= 0).any(dim=1)
    deviation = ((found - model.scaling.mean[kind]).abs() / reach)[is_treated]
    assert 0.5 < float(deviation.max()) <= 1.0 + 1e-5


def test_targets_that_are_unscaled_are_what_they_were(toy: Any) -> None:
    case = a_case(toy)
    model = build(case, {"limit_quantile": 1.0})
    toy.solve(model.stages()[0], [case.batch])
    kind = torch.zeros(24, dtype=torch.int64)
    back = model.scaling.unscale(model.scaling.scale(case.batch.target[:24], kind), kind)
    torch.testing.assert_close(back, case.batch.target[:24], rtol=1e-5, atol=1e-5)


# The contract, with all three types.


@pytest.fixture(scope="module")
def trained(toy: Any) -> SimpleNamespace:
    case = a_case(toy)
    case.model = train(toy, build(case), case.batch)
    case.asked = conditions_of(case.world, ASKED)
    return case


def test_the_stages_come_in_order_and_hold_what_they_train(trained: Any) -> None:
    stages = trained.model.stages()
    assert [stage.name for stage in stages] == ["profiles", "fundnn", "spread", "gensan"]
    parameters = [
        {id(p) for p in stage.module.parameters()} for stage in stages if isinstance(stage, GradientStage)
    ]
    assert not parameters[0] & parameters[1]
    assert parameters[0] | parameters[1] == {id(p) for p in trained.model.parameters()}


def test_a_model_of_three_types_loads_strictly_and_predicts_the_same(trained: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        other = TranscriptionNet(trained.model.config, trained.space, trained.conditions)
    other.load_state_dict(trained.model.state_dict(), strict=True)
    first = trained.model.predict(trained.asked, torch.zeros(7, 10))
    second = other.eval().predict(trained.asked, torch.zeros(7, 10))
    assert torch.equal(first.mean, second.mean) and torch.equal(first.sd, second.sd)


def test_a_prediction_of_three_types_does_not_depend_on_its_batch(trained: Any) -> None:
    predict = trained.model.predict
    whole = predict(trained.asked, torch.zeros(7, 10), n_samples=2).mean
    for row in range(7):
        alone = predict(trained.asked.take(torch.tensor([row])), torch.zeros(1, 10)).mean
        torch.testing.assert_close(alone[0], whole[row], rtol=1e-5, atol=1e-6)
    # More conditions than features, all of one perturbation: computed by way of the feature table.
    singles = conditions_of(trained.world, [place for place in ASKED if len(place[0]) < 2])
    many = singles.take(torch.arange(6).repeat(6))
    assert many.slot.shape[1] == 1 and len(many) > many.features.shape[0]
    expected = whole[torch.tensor([0, 1, 2, 3, 5, 6])].repeat(6, 1)
    torch.testing.assert_close(predict(many, torch.zeros(36, 10)).mean, expected, rtol=1e-5, atol=1e-6)


def test_unseen_types_and_contexts_are_predicted_and_a_control_responds_with_nothing(trained: Any) -> None:
    found = trained.model.predict(trained.asked, torch.zeros(7, 10))
    assert bool(torch.isfinite(found.mean).all()) and bool((found.sd > 0).all())
    assert bool((found.mean[3] == 0).all()) and bool((found.mean[[0, 1, 2, 4, 5, 6]] != 0).any(dim=1).all())
    members = trained.model.members(trained.model.features.summed(trained.asked))
    of_types = members[5, :3].mean(dim=0, keepdim=True)
    expected = trained.model.scaling.unscale(of_types, torch.tensor([3]))
    torch.testing.assert_close(found.mean[5:6], expected, rtol=1e-5, atol=1e-6)


def test_a_model_of_three_types_predicts_on_its_own_device(toy: Any) -> None:
    """On the meta device, where an operation that mixes devices is an error."""
    case = a_case(toy)
    model = build(case).to("meta")
    asked = conditions_of(case.world, ASKED).to("meta")
    assert model.predict(asked, torch.zeros(7, 10, device="meta")).mean.device.type == "meta"


def test_an_untrained_second_stage_leaves_the_first_as_it_is(toy: Any) -> None:
    case = a_case(toy)
    model = train(toy, build(case), case.batch, skip=("gensan",))
    asked = conditions_of(case.world, ASKED)
    before = model.predict(asked, torch.zeros(7, 10)).mean
    model.gensan = None
    assert torch.equal(model.predict(asked, torch.zeros(7, 10)).mean, before)


@pytest.mark.parametrize("settings", [{"cross_type": False}, {}])
def test_there_is_one_stage_of_networks_where_none_is_to_be_combined(toy: Any, settings: Any) -> None:
    case = a_case(toy)
    space = case.space if settings else case.space.model_copy(update={"pert_types": TYPES[:1]})
    if not settings:
        case.conditions = case.conditions.take(torch.arange(12))
    model = build(case, settings, space)
    assert [stage.name for stage in model.stages()] == ["profiles", "fundnn", "spread"]
    assert not any(name.startswith(("gensan", "profiles")) for name in model.state_dict())


def test_a_store_without_features_is_refused(toy: Any) -> None:
    case = a_case(toy)
    with pytest.raises(ConfigError, match="0 features"):
        build(case, space=case.space.model_copy(update={"feature_width": 0}))


# Training through the house's trainer.


def planted(toy: SimpleNamespace) -> SimpleNamespace:
    """Responses of two types that are linear in the features, with noise; 40 perturbations held out."""
    world = toy.world(n_perturbations=120, n_unseen=40)
    generator = torch.Generator().manual_seed(2)
    maps = torch.randn(2, 8, 10, generator=generator)
    truth = torch.einsum("pf,tfg->tpg", world.features, maps)
    places = [([p], t, 0) for t in range(2) for p in range(160)]
    everything = conditions_of(world, places)
    target = truth.flatten(0, 1) + 0.5 * torch.randn(320, 10, generator=generator)
    is_training = torch.tensor([p[0] < 120 for p, _, _ in places])
    index = torch.where(is_training, torch.cumsum(is_training, 0) - 1, -1)
    rows = Batch(everything, target, torch.zeros_like(target), index, torch.arange(320))
    held_out = rows.take(torch.nonzero(~is_training).flatten())
    rows = rows.take(torch.nonzero(is_training).flatten())
    space = world.space.model_copy(update={"pert_types": TYPES[:2], "n_conditions": 240})
    return SimpleNamespace(
        space=space,
        conditions=rows.conditions,
        rows=rows,
        held_out=held_out,
        truth=truth[:, 120:].flatten(0, 1),
    )


def fitted(case: SimpleNamespace, epochs: int) -> TranscriptionNet:
    model = build(case, {"fundnn": {"width": 64, "depth": 2, "optimiser": {"lr": 3e-3}}})
    data = TrainingData(
        train=toys.ArraySource(case.rows, 30),
        statistics=toys.ArraySource(case.rows, 64, shuffle=False),
        validation=toys.ArraySource(case.held_out, 40, shuffle=False),
    )
    fit(model, data, toys.toy_train_config(batch_size=30, epochs=epochs))
    return model


def test_a_planted_linear_map_is_learnt_better_than_the_mean(toy: Any) -> None:
    case = planted(toy)
    model = fitted(case, 25)
    found = model.predict(case.held_out.conditions, case.held_out.basal).mean
    kind = case.held_out.conditions.pert_type[:, 0]
    error = (found - case.truth).square().mean()
    error_of_mean = (model.scaling.mean[kind] - case.truth).square().mean()
    assert float(error) < 0.4 * float(error_of_mean)
    assert float(row_pearson(found, case.truth).mean()) > 0.75


def test_training_twice_gives_the_same_weights(toy: Any) -> None:
    case = planted(toy)
    first, second = fitted(case, 2), fitted(case, 2)
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


# Layers.


def test_column_attention_is_a_softmax_over_genes() -> None:
    tokens = torch.randn(4, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.softmax(tokens.transpose(1, 2) @ tokens / 3**0.5, dim=2)
    torch.testing.assert_close(column_attention(tokens), (weights @ tokens.transpose(1, 2)).transpose(1, 2))


def test_the_second_stage_shares_no_weights_and_takes_any_number_of_genes() -> None:
    config = TranscriptionNetConfig().gensan.model_copy(update={"feed_forward": 8})
    network = GenSan(7, 3, config)
    assert len({id(block.row.out.weight) for block in network.blocks}) == 9
    tokens = torch.randn(2, 3, 7)
    change = network(tokens, torch.zeros(2, 3, dtype=torch.bool), torch.tensor([0, 2]))
    assert change.shape == (2, 7) and bool((change == 0).all())


def test_a_constant_row_has_no_correlation() -> None:
    rows = torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0], [3.0, 2.0, 1.0]])
    found = row_pearson(rows, torch.tensor([[1.0, 2.0, 3.0]]).expand(3, -1))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, -1.0]), rtol=1e-4, atol=1e-6)

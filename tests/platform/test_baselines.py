"""Each baseline says exactly what its definition says, from sums that do not depend on batching."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pertcast.models.baselines.linear_algebra import fit_ridge, leading_components
from pertcast.models.baselines.neighbours import tanimoto
from pertcast.models.batch import ConditionBatch
from pertcast.models.registry import MODELS, baselines_for, get_model
from pertcast_data.errors import ConfigError
from torch import Tensor

TABLE = [[0], [1], [2], [3], [0], [1], [4], [0, 1]]
CONTEXT = [0, 0, 0, 0, 1, 1, 1, 0]


def rows_for(conditions: ConditionBatch, n_genes: int, copies: int = 3) -> tuple[Tensor, Tensor]:
    """Unbalanced replicates: condition i has 1 + i % copies rows."""
    generator = torch.Generator().manual_seed(1)
    index = torch.cat([torch.full((1 + i % copies,), i) for i in range(len(conditions))])
    means = torch.randn(len(conditions), n_genes, generator=generator)
    return index, means[index] + 0.3 * torch.randn(len(index), n_genes, generator=generator)


def condition_means(index: Tensor, target: Tensor, count: int) -> np.ndarray:
    return np.stack([target.numpy()[index.numpy() == i].mean(axis=0) for i in range(count)])


@pytest.fixture
def setting(toy: SimpleNamespace) -> SimpleNamespace:
    world = toy.world()
    conditions = world.conditions(TABLE, CONTEXT)
    index, target = rows_for(conditions, world.space.n_genes)
    batch = toy.batch(conditions, index, target)
    means = condition_means(index, target, len(conditions))
    return SimpleNamespace(world=world, conditions=conditions, batch=batch, means=means, train=toy.train)


def predict(model: torch.nn.Module, conditions: ConditionBatch) -> np.ndarray:
    genes = model.space.n_genes
    return model.predict(conditions, torch.zeros(len(conditions), genes)).mean.numpy()


def test_the_sums_do_not_depend_on_batches_or_workers(setting: SimpleNamespace, toy: SimpleNamespace) -> None:
    space = setting.world.space.model_copy(update={"n_conditions": len(setting.conditions)})
    stage = get_model("train_mean").build({}, space, setting.conditions).stages()[0]
    whole = toy.solve(stage, [setting.batch])
    order = torch.randperm(len(setting.batch), generator=torch.Generator().manual_seed(3))
    workers = []
    for part in (order[:5], order[5:]):
        index, target = setting.batch.condition_index[part], setting.batch.target[part]
        pairs = zip(index.split(2), target.split(2), strict=True)
        pieces = [toy.batch(setting.conditions, each, rows) for each, rows in pairs]
        workers.append(toy.solve(stage, pieces))
    for name, total in whole.items():
        torch.testing.assert_close(workers[0][name] + workers[1][name], total, rtol=1e-12, atol=1e-12)


def test_rows_outside_training_are_left_out_of_the_sums(
    setting: SimpleNamespace, toy: SimpleNamespace
) -> None:
    space = setting.world.space.model_copy(update={"n_conditions": len(setting.conditions)})
    stage = get_model("train_mean").build({}, space, setting.conditions).stages()[0]
    batch = toy.batch(setting.conditions, torch.tensor([0, 1]), torch.ones(2, space.n_genes))
    batch.condition_index[1] = -1
    assert float(toy.solve(stage, [batch])["count"].sum()) == 1


def test_no_change_is_zero_and_its_sd_is_the_root_mean_square(setting: SimpleNamespace) -> None:
    model = setting.train("no_change", setting.world, setting.conditions, setting.batch)
    assert not predict(model, setting.conditions).any()
    expected = np.sqrt((setting.batch.target.numpy().astype(float) ** 2).mean(axis=0))
    np.testing.assert_allclose(model.sd.numpy(), expected, rtol=1e-5)


def test_train_mean_counts_every_condition_once(setting: SimpleNamespace) -> None:
    model = setting.train("train_mean", setting.world, setting.conditions, setting.batch)
    asked = setting.world.conditions([[13], [0]], [1, -1])
    np.testing.assert_allclose(predict(model, asked), [setting.means.mean(axis=0)] * 2, rtol=1e-5, atol=1e-6)


def test_context_mean_falls_back_to_the_train_mean_in_an_unseen_context(setting: SimpleNamespace) -> None:
    model = setting.train("context_mean", setting.world, setting.conditions, setting.batch)
    found = predict(model, setting.world.conditions([[5], [5], [5]], [0, 1, -1]))
    context = np.array(CONTEXT)
    expected = [
        setting.means[context == 0].mean(0),
        setting.means[context == 1].mean(0),
        setting.means.mean(0),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_group_mean_is_the_plates_own_mean_and_falls_back(
    setting: SimpleNamespace, toy: SimpleNamespace
) -> None:
    batch = setting.batch
    plate = torch.arange(len(batch)) % 2
    batch.conditions.group[:] = plate
    model = setting.train("group_mean", setting.world, setting.conditions, batch)
    found = predict(model, setting.world.conditions([[5], [5], [5], [5]], [0, 0, 1, -1], [0, 1, -1, -1]))
    context = np.array(CONTEXT)
    expected = [batch.target.numpy()[plate.numpy() == p].mean(axis=0) for p in (0, 1)]
    expected += [setting.means[context == 1].mean(0), setting.means.mean(0)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    residual = batch.target.numpy() - np.stack(expected)[plate.numpy()]
    np.testing.assert_allclose(model.sd.numpy(), np.sqrt((residual**2).mean(axis=0)), rtol=1e-4)


def test_additive_sums_singles_of_the_same_context(setting: SimpleNamespace) -> None:
    model = setting.train("additive", setting.world, setting.conditions, setting.batch)
    found = predict(model, setting.world.conditions([[2, 0], [0, 2], [1, 0], [2, 0]], [0, 0, 1, 1]))
    means = setting.means
    expected = [means[2] + means[0]] * 2 + [means[5] + means[4], means[2] + means[4]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_additive_takes_the_mean_single_of_the_context_for_an_unmeasured_one(
    setting: SimpleNamespace,
) -> None:
    model = setting.train("additive", setting.world, setting.conditions, setting.batch)
    found = predict(model, setting.world.conditions([[2, 13], [], [13]], [0, 0, -1]))
    here, anywhere = setting.means[:4].mean(axis=0), setting.means[:7].mean(axis=0)
    expected = [setting.means[2] + here, np.zeros_like(here), anywhere]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_matching_mean_averages_what_shares_a_perturbation_of_the_pair_in_its_context(
    setting: SimpleNamespace,
) -> None:
    model = setting.train("matching_mean", setting.world, setting.conditions, setting.batch)
    found = predict(model, setting.world.conditions([[2, 0], [0, 4], [4, 3], [13, 12]], [0, 1, 0, 1]))
    means, context = setting.means, np.array(CONTEXT)
    expected = [
        means[[0, 2, 7]].mean(0),
        means[[4, 6]].mean(0),
        means[3],
        means[context == 1].mean(0),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_matching_mean_looks_in_other_contexts_and_never_at_itself(setting: SimpleNamespace) -> None:
    model = setting.train("matching_mean", setting.world, setting.conditions, setting.batch)
    (elsewhere,) = predict(model, setting.world.conditions([[4, 13]], [0]))
    np.testing.assert_allclose(elsewhere, setting.means[6], rtol=1e-4, atol=1e-5)
    left_out = model.left_out_mean(torch.tensor([7, 2])).numpy()
    fallback = setting.means[np.array(CONTEXT) == 0].mean(0)
    np.testing.assert_allclose(left_out[0], setting.means[[0, 1]].mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(left_out[1], fallback, rtol=1e-4, atol=1e-5)


def test_transferred_mean_takes_the_nearest_dose_of_the_same_perturbation(
    setting: SimpleNamespace, toy: SimpleNamespace
) -> None:
    world = setting.world
    conditions = world.conditions([[0], [0], [1], [0]], [0, 0, 0, 1], log_dose=[-1.0, 1.0, 0.0, 0.5])
    target = torch.randn(4, world.space.n_genes, generator=torch.Generator().manual_seed(2))
    batch = toy.batch(conditions, torch.arange(4), target)
    model = setting.train("transferred_mean", world, conditions, batch)
    asked = world.conditions([[0], [0], [0], [1], [7]], [0, 0, 1, 1, 0], log_dose=[0.6, -2.0, 3.0, 0.0, 0.0])
    expected = torch.stack((target[1], target[0], target[3], target[2], target[:3].mean(dim=0)))
    np.testing.assert_allclose(predict(model, asked), expected.numpy(), rtol=1e-4, atol=1e-5)


def refit(design: Tensor, response: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Slopes and constant of a ridge that does not penalise its constant."""
    centred, mean = design - design.mean(dim=0), response.mean(dim=0)
    normal = centred.T @ centred + penalty * torch.eye(design.shape[1], dtype=torch.float64)
    slopes = torch.linalg.solve(normal, centred.T @ (response - mean))
    return slopes, mean - design.mean(dim=0) @ slopes


@pytest.mark.parametrize(("rows", "columns"), [(30, 6), (30, 80)])
def test_ridge_left_out_predictions_equal_refits_without_the_group(rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(0)
    design = torch.randn(rows, columns, generator=generator, dtype=torch.float64) + 2
    response = design[:, :3] + 1.5 * torch.randn(rows, 3, generator=generator, dtype=torch.float64) + 4
    groups = torch.arange(rows) // 3 % 7
    fit = fit_ridge(design, response, groups)
    squares = torch.linalg.svdvals(design - design.mean(dim=0)).square()
    penalty = float(fit.penalty * squares[squares > 1e-8].mean())
    assert penalty > 0 and np.isfinite(penalty)
    for group in range(7):
        kept = groups != group
        slopes, constant = refit(design[kept], response[kept], penalty)
        expected = design[~kept] @ slopes + constant
        torch.testing.assert_close(fit.left_out[~kept], expected, rtol=1e-7, atol=1e-7)
    slopes, constant = refit(design, response, penalty)
    found = fit.intercept + (design - fit.offset) @ fit.coefficients
    torch.testing.assert_close(found, design @ slopes + constant, rtol=1e-7, atol=1e-7)


def test_ridge_on_noise_with_more_columns_than_rows_fits_nothing() -> None:
    generator = torch.Generator().manual_seed(4)
    design = (torch.rand(60, 300, generator=generator) < 0.1).double()
    response = torch.randn(60, 20, generator=generator, dtype=torch.float64)
    fit = fit_ridge(design, response, torch.arange(60))
    assert fit.penalty >= 10
    shift = (design - fit.offset) @ fit.coefficients
    assert float(shift.square().mean()) < 0.02


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_leading_components_are_those_of_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = leading_components(rows, 4)
    expected = torch.linalg.svd(rows, full_matrices=False).Vh[:4]
    torch.testing.assert_close(
        (found @ expected.T).abs(), torch.eye(4, dtype=torch.float64), atol=1e-8, rtol=0
    )


def linear_task(toy: SimpleNamespace, noise: float, signal: float, dose_effect: bool) -> SimpleNamespace:
    """Sixty seen and twenty unseen perturbations, three doses each, response linear in features (x dose)."""
    world = toy.world(n_perturbations=60, n_unseen=20, n_genes=30, n_contexts=1, feature_width=8, max_slots=1)
    generator = torch.Generator().manual_seed(9)
    slopes = torch.randn(8, 30, generator=generator)
    sets = [[p] for p in range(80) for _ in range(3)]
    doses = [d for _ in range(80) for d in (-1.0, 0.0, 1.0)]
    everything = world.conditions(sets, log_dose=doses)
    truth = signal * world.features[everything.slot[:, 0]] @ slopes
    if dose_effect:
        truth = truth * everything.log_dose
    target = truth + noise * torch.randn(len(sets), 30, generator=generator) + 0.7
    seen = torch.arange(len(sets)) < 180
    conditions = everything.take(torch.nonzero(seen).flatten())
    batch = toy.batch(conditions, torch.arange(180), target[:180])
    held_out = everything.take(torch.nonzero(~seen).flatten())
    return SimpleNamespace(
        world=world, conditions=conditions, batch=batch, held_out=held_out, truth=truth[180:] + 0.7
    )


@pytest.mark.parametrize(
    ("name", "dose_effect"),
    [("bilinear_ridge", False), ("fingerprint_ridge", False), ("fingerprint_ridge", True)],
)
def test_a_ridge_recovers_a_linear_truth_on_unseen_perturbations(
    toy: SimpleNamespace, name: str, dose_effect: bool
) -> None:
    task = linear_task(toy, noise=0.5, signal=1.0, dose_effect=dose_effect)
    model = toy.train(name, task.world, task.conditions, task.batch)
    error = ((predict(model, task.held_out) - task.truth.numpy()) ** 2).mean()
    assert error < 0.1 * float((task.truth - 0.7).square().mean())
    assert float(model.sd.mean()) == pytest.approx(0.5, rel=0.2)


@pytest.mark.parametrize("name", ["bilinear_ridge", "fingerprint_ridge"])
def test_a_ridge_on_noise_is_the_train_mean(toy: SimpleNamespace, name: str) -> None:
    task = linear_task(toy, noise=1.0, signal=0.0, dose_effect=False)
    model = toy.train(name, task.world, task.conditions, task.batch)
    mean = task.batch.target.mean(dim=0).numpy()
    assert ((predict(model, task.held_out) - mean) ** 2).mean() < 0.02


def test_knn_is_the_weighted_mean_of_the_nearest_of_the_same_context(setting: SimpleNamespace) -> None:
    model = setting.train("knn", setting.world, setting.conditions, setting.batch, n_neighbours=2)
    asked = setting.world.conditions([[13], [14]], [0, -1])
    features = setting.world.features
    sums = torch.stack([features[list(each)].sum(dim=0) for each in TABLE])
    similarity = tanimoto(features[[13, 14]], sums).clamp(min=0).numpy()
    similarity[0, np.array(CONTEXT) == 1] = 0
    for row, found in zip(similarity, predict(model, asked), strict=True):
        best = np.flatnonzero(row >= np.sort(row)[-2])
        assert row[best[0]] > 0
        expected = (row[best, None] * setting.means[best]).sum(axis=0) / row[best].sum()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_knn_without_any_similar_condition_is_the_context_mean(setting: SimpleNamespace) -> None:
    model = setting.train("knn", setting.world, setting.conditions, setting.batch)
    asked = setting.world.conditions([[3]], [1])
    blank = asked.with_features(torch.zeros_like(asked.features))
    expected = setting.means[np.array(CONTEXT) == 1].mean(axis=0)
    np.testing.assert_allclose(predict(model, blank)[0], expected, rtol=1e-5, atol=1e-6)


def test_tanimoto_of_fingerprints_is_intersection_over_union() -> None:
    first, second = torch.tensor([[1.0, 1, 0, 1]]), torch.tensor([[1.0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(tanimoto(first, second), torch.tensor([[2 / 3, 0.0, 0.0]]))


def test_own_gene_recovers_the_effect_on_the_targeted_gene(toy: SimpleNamespace) -> None:
    world = toy.world(n_perturbations=40, n_genes=50, n_contexts=1, pert_type="trt_xpr", max_slots=1)
    conditions = world.conditions([[p] for p in range(40)])
    target = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    target[torch.arange(40), conditions.own_gene[:, 0]] -= 4.0
    model = toy.train("own_gene", world, conditions, toy.batch(conditions, torch.arange(40), target))
    asked = world.conditions([[41], []])
    found, own = predict(model, asked), int(asked.own_gene[0, 0])
    shift = found[0] - found[1]
    assert shift[own] == pytest.approx(-4.0, abs=0.8)
    assert not np.delete(shift, own).any()


def test_baselines_are_listed_only_where_they_make_sense(toy: SimpleNamespace) -> None:
    plain = toy.world(n_contexts=1, n_groups=0, max_slots=1, pert_type="trt_xpr").space
    plain = plain.model_copy(update={"own_genes": False})
    names = [entry.name for entry in baselines_for(plain)]
    assert names == ["no_change", "train_mean", "bilinear_ridge", "knn"]
    rich = toy.world().space.model_copy(update={"pert_types": ("trt_cp", "trt_xpr")})
    assert {entry.name for entry in baselines_for(rich)} == {e.name for e in MODELS.values() if e.is_baseline}


def test_an_unknown_model_names_the_nearest_ones() -> None:
    with pytest.raises(ConfigError, match="response_mlp"):
        get_model("respons_mlp")

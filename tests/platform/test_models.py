"""Every registered model keeps the contract: shapes, strict reload, keyed samples, order of slots."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pertcast.models.batch import ConditionBatch
from pertcast.models.noise import KeyedNoise
from pertcast.models.registry import MODELS, get_model

SETS = [[0], [1], [2], [3], [0, 1], [2, 3], [4], [5]]
CONTEXTS = [0, 1, 0, 1, 0, 1, 0, 0]
GROUPS = [0, 1, 2, 0, 1, 2, 0, 1]
CONFIGS = {
    "module_flow": {"flow": {"cells_per_condition": 3}},
    "transcription_net": {"fundnn": {"width": 16, "depth": 2}},
}
"""Settings that a model needs to be trained on three rows a condition, in no time."""


def built(toy: SimpleNamespace, name: str) -> SimpleNamespace:
    """A model trained for a few steps, and conditions to ask it about (seen, unseen, control, pair)."""
    world = toy.world()
    conditions = world.conditions(SETS, CONTEXTS, log_dose=[0.0, 1.0, -1.0, 0.5, 0.0, 1.0, 0.2, 0.3])
    index = torch.arange(len(SETS)).repeat_interleave(3)
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(len(index), world.space.n_genes, generator=generator)
    basal = torch.randn(len(index), world.space.n_genes, generator=generator)
    batch = toy.batch(conditions, index, target, basal)
    batch.conditions.group[:] = torch.tensor(GROUPS)[index]
    model = toy.train(name, world, conditions, batch, steps=20, **CONFIGS.get(name, {}))
    asked = world.conditions(
        [[0, 1], [13], [], [5, 14]], [0, 1, -1, -1], [0, -1, 2, -1], [0.0, 2.0, 0.0, float("nan")]
    )
    return SimpleNamespace(
        model=model, asked=asked, basal=basal[:4], conditions=conditions, space=model.space, batch=batch
    )


def swapped(conditions: ConditionBatch) -> ConditionBatch:
    names = ("perturbation", "slot", "pert_type", "own_gene", "log_dose")
    columns = {name: getattr(conditions, name).flip(1) for name in names}
    rest = {n: getattr(conditions, n) for n in ("context", "group", "log_time", "key", "features")}
    return ConditionBatch(**columns, **rest)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_prediction_is_finite_and_of_the_right_shape(toy: SimpleNamespace, name: str) -> None:
    case = built(toy, name)
    found = case.model.predict(case.asked, case.basal, n_samples=3)
    assert found.mean.shape == found.sd.shape == (4, 10) and found.samples.shape == (4, 3, 10)
    assert found.mean.dtype == found.sd.dtype == found.samples.dtype == torch.float32
    assert all(bool(torch.isfinite(t).all()) for t in (found.mean, found.sd, found.samples))
    assert bool((found.sd > 0).all()) and not found.mean.requires_grad


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_rebuilt_from_its_weights_predicts_the_same(toy: SimpleNamespace, name: str) -> None:
    case = built(toy, name)
    other = get_model(name).build(case.model.config.model_dump(mode="json"), case.space, case.conditions)
    other.load_state_dict(case.model.state_dict(), strict=True)
    first = case.model.predict(case.asked, case.basal)
    second = other.eval().predict(case.asked, case.basal)
    assert torch.equal(first.mean, second.mean) and torch.equal(first.sd, second.sd)


@pytest.mark.parametrize("name", list(MODELS))
def test_the_order_of_combined_perturbations_does_not_matter(toy: SimpleNamespace, name: str) -> None:
    case = built(toy, name)
    first = case.model.predict(case.asked, case.basal, n_samples=1)
    second = case.model.predict(swapped(case.asked), case.basal, n_samples=1)
    torch.testing.assert_close(first.mean, second.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first.samples, second.samples, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_prediction_does_not_depend_on_the_rest_of_its_batch(toy: SimpleNamespace, name: str) -> None:
    case = built(toy, name)
    whole = case.model.predict(case.asked, case.basal, n_samples=2, noise=KeyedNoise(4))
    order = torch.tensor([3, 1])
    part = case.model.predict(case.asked.take(order), case.basal[order], n_samples=4, noise=KeyedNoise(4))
    torch.testing.assert_close(part.mean, whole.mean[order], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(part.samples[:, :2], whole.samples[order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(MODELS))
def test_samples_scatter_around_the_mean_with_the_predicted_sd(toy: SimpleNamespace, name: str) -> None:
    case = built(toy, name)
    found = case.model.predict(case.asked, case.basal, n_samples=400)
    standardised = (found.samples - found.mean.unsqueeze(1)) / found.sd.unsqueeze(1)
    # Samples of a learnt distribution have its mean and spread only as well as it was learnt.
    tolerance = 0.1 if case.model.samples_profiles else 0.03
    assert float(standardised.mean()) == pytest.approx(0.0, abs=tolerance)
    assert float(standardised.std()) == pytest.approx(1.0, abs=tolerance)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_configuration_refuses_unknown_keys(toy: SimpleNamespace, name: str) -> None:
    with pytest.raises(ValueError, match="not_a_setting"):
        get_model(name).config_type.model_validate({"not_a_setting": 1})


# module_flow lists the filled slots of a batch: how many there are, the meta device cannot say.
@pytest.mark.parametrize("name", [name for name in MODELS if name != "module_flow"])
def test_a_prediction_stays_on_the_models_device(toy: SimpleNamespace, name: str) -> None:
    """On the meta device, where an operation that mixes devices is an error."""
    case = built(toy, name)
    model = case.model.to("meta")
    found = model.predict(case.asked.to("meta"), case.basal.to("meta"), n_samples=1)
    assert found.mean.device.type == found.sd.device.type == found.samples.device.type == "meta"

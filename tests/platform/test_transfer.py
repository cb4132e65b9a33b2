"""Trained weights in another model: by name, in any order; what is new adds nothing; what is kept stays."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import ResponseModel, StartingPoint
from pertcast.models.registry import MODELS, get_model
from pertcast.training.config import TrainConfig
from pertcast.training.data import TrainingData
from pertcast.training.fit import fit
from pertcast.training.freezing import frozen_stages, require_taken
from pertcast.training.transfer import Transfer, names_of, stage_tensors, transfer
from pertcast.training.transfer_axes import tensor_axes
from pertcast_data.errors import ConfigError
from torch import Tensor

SMALL: dict[str, dict[str, Any]] = {
    "response_mlp": {"width": 16, "depth": 1, "basal_width": 4, "context_embedding": True},
    "latent_diffusion": {
        "autoencoder": {"latent_dim": 4, "hidden": [6]},
        "condition": {"width": 16, "depth": 1, "basal_width": 4},
        "denoiser": {"width": 16, "depth": 1},
    },
    "module_flow": {"flow": {"cells_per_condition": 3}, "autoencoder": {"latent_dim": 4}},
}
FAMILIES = [*SMALL]
TYPES = ("trt_cp", "trt_xpr")
SETS = [[0], [1], [2], [3], [0, 1], [2, 3], [4], [5]]
COLUMNS = tuple(f"column {number}" for number in range(8))


def config_of(name: str, **more: Any) -> dict[str, Any]:
    return {**SMALL[name], **{key: {**SMALL[name].get(key, {}), **value} for key, value in more.items()}}


def case_of(toy: SimpleNamespace, name: str, **more: Any) -> SimpleNamespace:
    """A trained model of a family, and what it was trained on."""
    world = toy.world()
    world = replace(world, space=world.space.model_copy(update={"pert_types": TYPES}))
    conditions = world.conditions(SETS, [0, 1] * 4, log_dose=[0.0, 1.0, -1.0, 0.5, 0.0, 1.0, 0.2, 0.3])
    conditions.pert_type[1::2] = torch.where(conditions.slot[1::2] < 0, -1, 1)
    index = torch.arange(len(SETS)).repeat_interleave(3)
    generator = torch.Generator().manual_seed(0)
    target, basal = (torch.randn(len(index), 10, generator=generator) for _ in range(2))
    batch = toy.batch(conditions, index, target, basal)
    config = config_of(name, **more)
    model = toy.train(name, world, conditions, batch, steps=20, **config)
    return SimpleNamespace(name=name, config=config, model=model, conditions=conditions, batch=batch)


def reordered(space: ModelSpace) -> tuple[ModelSpace, dict[str, Tensor]]:
    """The space with every vocabulary in another order, and where each new entry stood before."""
    fields = ("genes", "contexts", "groups", "perturbations", "pert_types")
    order = {name: torch.arange(len(getattr(space, name)) - 1, -1, -1) for name in fields}
    moved = {name: tuple(getattr(space, name)[i] for i in of.tolist()) for name, of in order.items()}
    return space.model_copy(update=moved), {
        **order,
        "features": torch.arange(space.feature_width - 1, -1, -1),
    }


def in_order(conditions: ConditionBatch, order: dict[str, Tensor]) -> ConditionBatch:
    """The same conditions in the vocabularies of a reordered space."""

    def renamed(index: Tensor, of: Tensor) -> Tensor:
        place = torch.empty_like(of).scatter_(0, of, torch.arange(len(of)))
        return torch.where(index < 0, index, place[index.clamp(min=0)])

    return replace(
        conditions,
        context=renamed(conditions.context, order["contexts"]),
        group=renamed(conditions.group, order["groups"]),
        perturbation=renamed(conditions.perturbation, order["perturbations"]),
        pert_type=renamed(conditions.pert_type, order["pert_types"]),
        own_gene=renamed(conditions.own_gene, order["genes"]),
        features=conditions.features[:, order["features"]],
    )


def started(
    case: SimpleNamespace,
    space: ModelSpace,
    conditions: ConditionBatch,
    columns: tuple[str, ...] = COLUMNS,
    asked: tuple[str, ...] = (),
) -> tuple[ResponseModel, Transfer]:
    """A fresh model of another space that has taken over the weights of `case`."""
    entry, model = get_model(case.name), case.model
    torch.manual_seed(1)
    other = entry.build(case.config, space, conditions)
    known = set(model.space.genes)
    other.start = StartingPoint(torch.tensor([gene in known for gene in space.genes]))
    stages = other.stages()
    frozen = frozen_stages(other, stages, asked)
    kept = {name for stage in stages if stage.name in frozen for name in stage_tensors(other, stage)}
    axes = tensor_axes(entry, case.config, model.space, case.conditions)
    names = names_of(model.space, COLUMNS), names_of(space, columns)
    found = transfer(other, model.state_dict(), axes, names, kept)
    require_taken(other, stages, frozen, found.afresh)
    other.load_state_dict(found.weights)
    return other.eval(), found


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("response_mlp", {}),
        ("latent_diffusion", {}),
        ("latent_diffusion", {"autoencoder": {"kind": "vae"}}),
        ("latent_diffusion", {"autoencoder": {"kind": "none"}}),
        ("module_flow", {}),
    ],
    ids=str,
)
def test_weights_follow_their_names_whatever_the_order(
    toy: SimpleNamespace, name: str, more: dict[str, Any]
) -> None:
    case = case_of(toy, name, **more)
    space, order = reordered(case.model.space)
    columns = tuple(COLUMNS[i] for i in order["features"].tolist())
    other, _ = started(case, space, in_order(case.conditions, order), columns)
    asked, genes = case.batch.conditions, order["genes"]
    basal, target = case.batch.basal, case.batch.target
    before = case.model.latent(asked, basal, target)
    after = other.latent(in_order(asked, order), basal[:, genes], target[:, genes])
    assert (before is None) == (after is None)
    if before is not None and after is not None and more.get("autoencoder", {}).get("kind") != "none":
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    if name != "module_flow":  # its mean is solved from the training conditions, which are not taken over
        found = case.model.predict(asked, basal)
        moved = other.predict(in_order(asked, order), basal[:, genes])
        assert bool(found.mean.std() > 0.01)
        torch.testing.assert_close(moved.mean, found.mean[:, genes], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(moved.sd, found.sd[:, genes], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_only_what_belongs_to_the_training_conditions_starts_afresh(toy: SimpleNamespace, name: str) -> None:
    case = case_of(toy, name)
    space, order = reordered(case.model.space)
    _, found = started(case, space, in_order(case.conditions, order), tuple(reversed(COLUMNS)))
    parts = {tensor.split(".")[0] for tensor in found.afresh}
    assert parts <= ({"displacement", "own_gene", "truth"} if name == "module_flow" else set())
    assert all(
        "conditions" in why or "perturbations" in why or "others" in why for why in found.afresh.values()
    )


def test_every_model_can_start_from_trained_weights_or_says_why_not() -> None:
    can = {name for name, entry in MODELS.items() if entry.model_type.why_from_scratch is None}
    assert can == set(FAMILIES)


@pytest.mark.parametrize("name", ["response_mlp", "latent_diffusion"])
def test_what_is_new_changes_nothing_of_what_is_known(toy: SimpleNamespace, name: str) -> None:
    case = case_of(toy, name)
    space = case.model.space
    grown = space.model_copy(
        update={
            "genes": ("NEW", *space.genes),
            "contexts": ("new line", *space.contexts),
            "pert_types": ("trt_oe", *space.pert_types),
            "feature_width": 9,
        }
    )

    def moved(conditions: ConditionBatch) -> ConditionBatch:
        wide = torch.cat((conditions.features, torch.ones(len(conditions.features), 1)), dim=1)
        up = {n: getattr(conditions, n) for n in ("context", "pert_type", "own_gene")}
        return replace(conditions, features=wide, **{n: torch.where(v < 0, v, v + 1) for n, v in up.items()})

    other, _ = started(case, grown, moved(case.conditions), (*COLUMNS, "another"))
    basal = torch.cat((torch.full((len(case.batch), 1), 9.0), case.batch.basal), dim=1)
    found = case.model.predict(case.batch.conditions, case.batch.basal).mean
    after = other.predict(moved(case.batch.conditions), basal).mean
    torch.testing.assert_close(after[:, 1:], found, rtol=1e-4, atol=1e-4)
    assert bool((after[:, 0].abs() < 1e-6).all())


def test_a_new_name_of_an_embedding_begins_as_the_mean_of_the_known_ones(toy: SimpleNamespace) -> None:
    case = case_of(toy, "response_mlp")
    space = case.model.space.model_copy(
        update={"contexts": ("new line",), "pert_types": ("trt_oe", "trt_cp")}
    )
    other, _ = started(case, space, case.conditions)
    weights, known = other.state_dict(), case.model.state_dict()
    assert torch.equal(weights["network.own_gene"][1], known["network.own_gene"][0])
    torch.testing.assert_close(weights["network.own_gene"][0], known["network.own_gene"][:2].mean())
    lines = known["network.encoding.context.weight"]
    torch.testing.assert_close(weights["network.encoding.context.weight"][0], lines[:2].mean(dim=0))
    assert torch.equal(weights["network.encoding.context.weight"][1], lines[2])


def test_a_layout_over_other_genes_cannot_be_kept(toy: SimpleNamespace) -> None:
    case = case_of(toy, "module_flow", autoencoder={"kind": "modules", "epochs": 1})
    same, _ = started(case, case.model.space, case.conditions)
    assert torch.equal(same.state_dict()["module"], case.model.state_dict()["module"])
    space, order = reordered(case.model.space)
    with pytest.raises(ConfigError, match=r"Stage .* is kept.*laid out over all genes"):
        started(case, space, in_order(case.conditions, order), tuple(reversed(COLUMNS)))


class Rows:
    """One batch again and again."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.n_rows = batch, len(batch)

    def steps(self, epoch: int) -> int:
        return 1

    def batches(self, epoch: int, start_step: int = 0) -> Any:
        return iter([self.batch][start_step:])


def test_a_kept_stage_keeps_its_weights_bit_for_bit_and_the_others_train(toy: SimpleNamespace) -> None:
    case = case_of(toy, "latent_diffusion")
    model, _ = started(case, case.model.space, case.conditions, asked=("diffusion",))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shifted = replace(case.batch, target=case.batch.target + 3.0)
    data = TrainingData(train=Rows(shifted), statistics=Rows(shifted), validation=None)
    config = TrainConfig(batch_size=len(case.batch), epochs=3, frozen_stages=("diffusion",))
    result = fit(model, data, config)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    frozen = ("denoiser.", "autoencoder.components", "autoencoder.latent_", "scaling.")
    assert not [name for name in changed if name.startswith(frozen)]
    assert any(name.startswith("heads.trunk") for name in changed) and "autoencoder.noise_sd" in changed
    assert {stage.name: stage.steps for stage in result.stages}["diffusion"] == 0


def test_units_and_centre_of_unknown_genes_are_solved_from_the_new_rows(toy: SimpleNamespace) -> None:
    case = case_of(toy, "response_mlp")
    space = case.model.space.model_copy(update={"genes": (*case.model.space.genes[:9], "NEW")})
    model, _ = started(case, space, case.conditions)
    batch = replace(case.batch, target=case.batch.target * 4 + 2, basal=case.batch.basal + 8)
    data = TrainingData(train=Rows(batch), statistics=Rows(batch), validation=None)
    fit(model, data, TrainConfig(batch_size=len(batch), epochs=1))
    scaling, known = model.state_dict(), case.model.state_dict()
    for name in ("target_mean", "target_sd", "basal_mean", "basal_sd"):
        assert torch.equal(scaling[f"scaling.{name}"][:9], known[f"scaling.{name}"][:9])
    torch.testing.assert_close(scaling["scaling.target_mean"][9], batch.target[:, 9].mean())
    torch.testing.assert_close(scaling["scaling.basal_mean"][9], batch.basal[:, 9].mean())


def test_stages_that_cannot_be_frozen_are_refused_with_the_reason(toy: SimpleNamespace) -> None:
    case = case_of(toy, "latent_diffusion")
    with pytest.raises(ConfigError, match="Start from a trained bundle"):
        frozen_stages(case.model, case.model.stages(), ("components",))
    model, _ = started(case, case.model.space, case.conditions)
    with pytest.raises(
        ConfigError, match=r"'difusion' is no stage of LatentDiffusion. Did you mean: diffusion"
    ):
        frozen_stages(model, model.stages(), ("difusion",))
    with pytest.raises(ConfigError, match="residual is solved from the training rows"):
        frozen_stages(model, model.stages(), ("residual",))
    assert frozen_stages(model, model.stages(), ()) == ("components",)

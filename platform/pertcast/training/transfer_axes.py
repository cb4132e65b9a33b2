"""Which axis of which tensor of a model runs over genes, contexts, features...: found by building it larger.

A model is built for its own space and for spaces that have more of something; an axis that grows by as many
runs over it. So no model needs to declare its axes, and none can declare them wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from pertcast.models.batch import ConditionBatch, FeatureBlock, ModelSpace
from pertcast.models.contract import ModelEntry

VOCABULARIES: Final = (
    "genes",
    "contexts",
    "groups",
    "perturbations",
    "pert_types",
    "features",
)
"""What an axis may run over; beside these there are training conditions, which no other run shares."""

CONDITIONS: Final = "conditions"
"""What a tensor depends on that belongs to the training conditions."""

_NEW: Final = "a name that no store has"
_MORE_GENES: Final = 1000
"""Enough that a width which the number of genes happens to limit (latents, modules) is told from genes."""

Built = tuple[ModelSpace, ConditionBatch]


@dataclass(frozen=True, slots=True)
class TensorAxes:
    """What the axes of one tensor run over.

    Attributes
    ----------
    names
        The vocabulary of each axis; None for one whose length the configuration alone decides.
    mixed
        What the tensor's shape depends on in another way than one entry a name; empty for a tensor that can
        be taken over name by name. "conditions" among them: it belongs to the training conditions.
    """

    names: tuple[str | None, ...]
    mixed: frozenset[str] = frozenset()


def tensor_axes(
    entry: ModelEntry, config: Mapping[str, Any], space: ModelSpace, conditions: ConditionBatch
) -> dict[str, TensorAxes]:
    """Return what the axes of each tensor of a model's state run over.

    Parameters
    ----------
    entry, config
        The model and its configuration.
    space, conditions
        What it is built from.
    """
    with torch.random.fork_rng(devices=[]):
        state = entry.build(config, space, conditions).state_dict()
        grown = {name: _shapes(entry, config, grow(space, conditions)) for name, grow in _GROWN.items()}
    found = {name: _axes(name, tuple(value.shape), grown) for name, value in state.items()}
    everything = frozenset(VOCABULARIES)
    return {
        name: replace(axes, mixed=axes.mixed | everything) if _holds_positions(state[name], axes) else axes
        for name, axes in found.items()
    }


def _shapes(entry: ModelEntry, config: Mapping[str, Any], built: Built) -> dict[str, tuple[int, ...]]:
    model = entry.build(config, *built)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _holds_positions(tensor: Tensor, axes: TensorAxes) -> bool:
    """Whether whole numbers (or marks) stand in no order of names: they may number genes or conditions."""
    return not tensor.is_floating_point() and tensor.numel() > 1 and not any(axes.names)


def _axes(
    name: str, shape: tuple[int, ...], grown: Mapping[str, Mapping[str, tuple[int, ...]]]
) -> TensorAxes:
    names: list[str | None] = [None] * len(shape)
    mixed: set[str] = set()
    for what, shapes in grown.items():
        other = shapes.get(name)
        if other is None or len(other) != len(shape):
            mixed.add(what)
            continue
        for axis, (before, after) in enumerate(zip(shape, other, strict=True)):
            if before == after or (what == CONDITIONS and names[axis] == "perturbations"):
                continue
            grown_by = _MORE_GENES if what == "genes" else 1
            if what == CONDITIONS or after != before + grown_by or names[axis] is not None:
                mixed.add(what)
                continue
            names[axis] = what
    return TensorAxes(tuple(names), frozenset(mixed))


def _more_names(field: str, count: int = 1) -> Callable[[ModelSpace, ConditionBatch], Built]:
    names = tuple(f"{_NEW} {number}" for number in range(count))

    def grow(space: ModelSpace, conditions: ConditionBatch) -> Built:
        return space.model_copy(update={field: (*getattr(space, field), *names)}), conditions

    return grow


def _one_more_feature(space: ModelSpace, conditions: ConditionBatch) -> Built:
    width = space.feature_width
    blocks = space.feature_blocks or (FeatureBlock(name="one_hot", start=0, stop=width),)
    last = blocks[-1].model_copy(update={"stop": width + 1})
    update = {"feature_width": width + 1, "feature_blocks": (*blocks[:-1], last)}
    features = torch.cat((conditions.features, conditions.features.new_zeros(len(conditions.features), 1)), 1)
    return space.model_copy(update=update), conditions.with_features(features)


def _one_more_perturbation(space: ModelSpace, conditions: ConditionBatch) -> Built:
    features = torch.cat((conditions.features, conditions.features[-1:]))
    named = {"perturbations": (*space.perturbations, _NEW)}
    return space.model_copy(update=named), conditions.with_features(features)


def _one_more_condition(space: ModelSpace, conditions: ConditionBatch) -> Built:
    """Return another training condition, of another perturbation: what counts either one grows."""
    space, conditions = _one_more_perturbation(space, conditions)
    index = torch.cat((torch.arange(len(conditions)), torch.tensor([len(conditions) - 1])))
    more = conditions.take(index)
    slot, perturbation = more.slot.clone(), more.perturbation.clone()
    slot[-1, 0] = perturbation[-1, 0] = len(space.perturbations) - 1
    update = {"n_conditions": space.n_conditions + 1}
    return space.model_copy(update=update), replace(more, slot=slot, perturbation=perturbation)


_GROWN: Final[dict[str, Callable[[ModelSpace, ConditionBatch], Built]]] = {
    "genes": _more_names("genes", _MORE_GENES),
    "contexts": _more_names("contexts"),
    "groups": _more_names("groups"),
    "pert_types": _more_names("pert_types"),
    "features": _one_more_feature,
    "perturbations": _one_more_perturbation,
    CONDITIONS: _one_more_condition,
}

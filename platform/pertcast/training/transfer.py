"""Weights of a trained model as the first weights of another, by the names of what their axes run over.

What both know keeps its weights wherever it stands now; what is new adds nothing at first, or begins as the
mean of what is known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pertcast.models.batch import ModelSpace
from pertcast.models.contract import GradientStage, ResponseModel, Stage
from pertcast.training.transfer_axes import CONDITIONS, VOCABULARIES, TensorAxes

Names = Mapping[str, tuple[str, ...]]
"""What the entries of each vocabulary are called."""

_ALIKE: Final = frozenset({"contexts", "groups", "perturbations", "pert_types"})
"""Vocabularies whose new entries may begin as the mean of the known ones: rows of embeddings."""

_WORDS: Final[Mapping[str, str]] = {
    "genes": "it is laid out over all genes together, and these are others here or in another order",
    CONDITIONS: "it belongs to the training conditions",
}


@dataclass(frozen=True)
class Transfer:
    """What became of trained weights in another model.

    Attributes
    ----------
    weights
        The state dict that the model starts with.
    taken
        Names of the tensors that were taken over.
    afresh
        Why each of the others was not, by name.
    """

    weights: dict[str, Tensor]
    taken: tuple[str, ...]
    afresh: dict[str, str]


def names_of(space: ModelSpace, feature_names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the names of a space's entries.

    Parameters
    ----------
    space
        The space.
    feature_names
        (F,) what each feature column means.
    """
    found = {name: getattr(space, name) for name in VOCABULARIES if name != "features"}
    return {**found, "features": feature_names}


def transfer(
    model: ResponseModel,
    weights: Mapping[str, Tensor],
    axes: Mapping[str, TensorAxes],
    names: tuple[Names, Names],
    kept: Collection[str] = (),
) -> Transfer:
    """Take trained weights over into `model`, whose own are fresh; the model is not changed.

    Parameters
    ----------
    model
        The model that shall start with them.
    weights
        The trained weights.
    axes
        What the axes of each of them run over (`tensor_axes`).
    names
        What they run over where they were trained, and in `model`.
    kept
        Tensors that nothing will train: what is new in them adds nothing for good.
    """
    parameters = {name for name, _ in model.named_parameters()}
    started: dict[str, Tensor] = {}
    afresh: dict[str, str] = {}
    for name, fresh in model.state_dict().items():
        known, of = weights.get(name), axes.get(name)
        if known is None or of is None:
            found: Tensor | str = "the trained model has no such part"
        else:
            found = _taken(fresh, known, of, names, name in parameters, name in kept)
        if isinstance(found, str):
            afresh[name] = found
        started[name] = (fresh if isinstance(found, str) else found).clone()
    return Transfer(started, tuple(name for name in started if name not in afresh), afresh)


def _taken(
    fresh: Tensor,
    known: Tensor,
    axes: TensorAxes,
    names: tuple[Names, Names],
    is_parameter: bool,
    is_kept: bool,
) -> Tensor | str:
    """Return the tensor with what is known in its place, or why nothing of it can be taken over."""
    for what in sorted(axes.mixed):
        if what == CONDITIONS or names[0].get(what) != names[1].get(what):
            return _WORDS.get(what, f"its size depends on all {what} together, and these are others here")
    known, index = _places(known, axes, names, with_mean=is_parameter)
    if tuple(len(of) for of in index) != tuple(fresh.shape):
        return f"it has another size here, {tuple(fresh.shape)}"
    if fresh.dim() == 0:
        return known
    result = fresh.clone()
    if is_parameter:
        for axis, of in enumerate(index):
            if axis > 0 or is_kept:
                result.index_fill_(axis, torch.nonzero(of < 0).flatten(), 0)
    here = torch.meshgrid(*(torch.nonzero(of >= 0).flatten() for of in index), indexing="ij")
    there = torch.meshgrid(*(of[of >= 0] for of in index), indexing="ij")
    result[here] = known[there].to(fresh.dtype)
    return result


def _places(
    known: Tensor, axes: TensorAxes, names: tuple[Names, Names], *, with_mean: bool
) -> tuple[Tensor, list[Tensor]]:
    """Return where each entry of the new tensor stands in the known one, axis by axis, -1 for nowhere.

    Entries beyond the names (the row of what was never seen) keep their order. With `with_mean`, rows of an
    embedding that have a new name stand at one more row of the known tensor: the mean of its named rows.
    """
    index = []
    for axis, vocabulary in enumerate(axes.names):
        if vocabulary is None:
            index.append(torch.arange(known.shape[axis]))
            continue
        before, now = names[0][vocabulary], names[1][vocabulary]
        place = {name: row for row, name in enumerate(before)}
        beyond = range(len(before), known.shape[axis])
        of = [place.get(name, -1) for name in now]
        if with_mean and axis == 0 and vocabulary in _ALIKE and before and -1 in of:
            of = [len(known) if row < 0 else row for row in of]
            known = torch.cat((known, known[: len(before)].mean(dim=0, keepdim=True)))
        index.append(torch.tensor([*of, *beyond], dtype=torch.int64))
    return known, index


def stage_tensors(model: ResponseModel, stage: Stage) -> tuple[str, ...]:
    """Return the names of the tensors that a stage trains or fills; empty where it does not tell."""
    if isinstance(stage, GradientStage):
        owned: Sequence[Tensor] = (*stage.module.parameters(), *stage.module.buffers())
    else:
        owned = stage.filled()
    identities = {id(tensor) for tensor in owned}
    state = model.state_dict(keep_vars=True)
    return tuple(name for name, tensor in state.items() if id(tensor) in identities)

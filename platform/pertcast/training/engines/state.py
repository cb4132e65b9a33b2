"""The engines' state on disk: one format, whichever engine, ZeRO stage or number of workers wrote it.

Each rank writes the stretches of parameters that it holds and reads those that it needs: nothing is gathered.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from pertcast_data.errors import CorruptBundle
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW

from pertcast.training.distributed import rank, world_size
from pertcast.training.files import write_json

FORMAT_VERSION: Final = 1
INDEX_FILE: Final = "engine.json"
WEIGHT: Final = "weight"
MOMENTS: Final = ("exp_avg", "exp_avg_sq")
PART_VALUES: Final = 32 * 2**20
"""Values of a parameter in one file, each with its moments: 384 MB."""


@dataclass(frozen=True, eq=False)
class Fragment:
    """A stretch of one flattened parameter, inside a tensor that the optimiser steps on.

    Attributes
    ----------
    name
        The parameter's name in the stage's module.
    start, length
        The stretch, in elements of the flattened parameter.
    holder
        Contiguous float32 tensor that AdamW knows: the parameter, or a flat buffer of many.
    offset
        Where the stretch begins in the flattened `holder`.
    """

    name: str
    start: int
    length: int
    holder: Tensor
    offset: int

    def of(self, tensor: Tensor) -> Tensor:
        """Return the stretch of a tensor that is laid out as `holder` is, as a view (length,)."""
        return tensor.detach().view(-1)[self.offset : self.offset + self.length]

    def part(self, first: int, last: int) -> Fragment:
        """Return elements `first` to `last` of the stretch, cut to it."""
        first, last = max(first, 0), min(last, self.length)
        return replace(
            self, start=self.start + first, offset=self.offset + first, length=max(last - first, 0)
        )


def named_trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that ask for a gradient, by name, in the module's order."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each trained parameter by name."""
    return {name: tuple(value.shape) for name, value in named_trained(module).items()}


def whole_fragments(module: nn.Module) -> list[Fragment]:
    """Return one fragment for each trained parameter of a module whose parameters are whole."""
    return [
        Fragment(name, 0, parameter.numel(), parameter, 0)
        for name, parameter in named_trained(module).items()
    ]


def share_of(fragments: Sequence[Fragment], of_rank: int, n_ranks: int) -> list[Fragment]:
    """Return one rank's share of what all ranks hold alike: an equal stretch of all elements."""
    total = sum(fragment.length for fragment in fragments)
    first, last = total * of_rank // n_ranks, total * (of_rank + 1) // n_ranks
    return _stretch(fragments, first, last)


def _stretch(fragments: Sequence[Fragment], first: int, last: int) -> list[Fragment]:
    found, before = [], 0
    for fragment in fragments:
        found.append(fragment.part(first - before, last - before))
        before += fragment.length
    return [fragment for fragment in found if fragment.length]


def write_state(
    folder: Path,
    optimiser: AdamW,
    fragments: Sequence[Fragment],
    shapes: Mapping[str, Sequence[int]],
    steps: int,
) -> None:
    """Write this rank's fragments, and on rank 0 the index.

    Parameters
    ----------
    folder
        An empty one, or one that other ranks write to as well.
    optimiser
        Holds the moments of the fragments' holders.
    fragments
        What this rank writes; those of all ranks together cover each parameter once.
    shapes
        Shape of each trained parameter.
    steps
        Optimiser steps taken.
    """
    total = sum(fragment.length for fragment in fragments)
    for number, first in enumerate(range(0, total, PART_VALUES)):
        part = _stretch(fragments, first, first + PART_VALUES)
        tensors = {key: values for each in part for key, values in _values(optimiser, each)}
        starts = {fragment.name: fragment.start for fragment in part}
        name = f"engine-{rank():05d}-{number:04d}.safetensors"
        save_file(tensors, folder / name, metadata={"starts": json.dumps(starts)})
    if rank() == 0:
        parameters = {name: list(shape) for name, shape in shapes.items()}
        content = {"format_version": FORMAT_VERSION, "steps": steps, "parameters": parameters}
        write_json(folder / INDEX_FILE, {**content, "written_by_workers": world_size()})


def _values(optimiser: AdamW, fragment: Fragment) -> Iterator[tuple[str, Tensor]]:
    moments = optimiser.state.get(fragment.holder, {})
    yield f"{WEIGHT}/{fragment.name}", fragment.of(fragment.holder).cpu()
    for kind in MOMENTS:
        # Before its first step AdamW has no moments: they are zero.
        values = fragment.of(moments[kind]) if moments else torch.zeros(fragment.length)
        yield f"{kind}/{fragment.name}", values.cpu()


@dataclass(frozen=True)
class _Stored:
    """A stretch of a parameter in an open file."""

    start: int
    length: int
    file: Any


class StoredState:
    """What `write_state` wrote on all ranks, opened by `stored_state`.

    Attributes
    ----------
    steps
        Optimiser steps taken.
    """

    def __init__(self, folder: Path, steps: int, shapes: Mapping[str, Sequence[int]]) -> None:
        self.steps = steps
        self._folder = folder
        self._shapes = shapes
        self._stored: dict[str, list[_Stored]] = {name: [] for name in shapes}

    def _add(self, file: Any) -> None:
        for name, start in json.loads(file.metadata()["starts"]).items():
            length = file.get_slice(f"{WEIGHT}/{name}").get_shape()[0]
            self._stored[name].append(_Stored(start, length, file))

    def _require_whole(self) -> None:
        for name, found in self._stored.items():
            found.sort(key=lambda stored: stored.start)
            reached, numel = 0, math.prod(self._shapes[name])
            for stored in found:
                if stored.start == reached:
                    reached += stored.length
            if reached != numel:
                raise CorruptBundle(
                    f"{self._folder} lacks a part of the engine's state: parameter {name!r} is there up to "
                    f"element {reached} of {numel}. {_REMEDY}"
                )

    def _require_shapes(self, asked: Mapping[str, Sequence[int]]) -> None:
        names = sorted(self._shapes.keys() | asked.keys())
        ours, theirs = ({name: list(shape) for name, shape in each.items()} for each in (asked, self._shapes))
        differing = [name for name in names if ours.get(name) != theirs.get(name)]
        if differing:
            raise CorruptBundle(
                f"{self._folder} holds the state of other parameters than the model's: "
                f"{', '.join(differing[:5])} differ. Resume with the configuration that the run began with."
            )

    @torch.no_grad()
    def restore(self, optimiser: AdamW, fragments: Sequence[Fragment]) -> None:
        """Put weights, moments and the count of steps into what the optimiser steps on."""
        optimiser.state.clear()
        for holder in {id(each.holder): each.holder for each in fragments}.values():
            optimiser.state[holder] = _new_moments(optimiser, holder, self.steps)
        for fragment in fragments:
            self._read(WEIGHT, fragment, fragment.holder)
            for kind in MOMENTS:
                self._read(kind, fragment, optimiser.state[fragment.holder][kind])

    def _read(self, kind: str, fragment: Fragment, holder: Tensor) -> None:
        target, end = fragment.of(holder), fragment.start + fragment.length
        for stored in self._stored[fragment.name]:
            first = max(stored.start, fragment.start)
            last = min(stored.start + stored.length, end)
            if first < last:
                values = stored.file.get_slice(f"{kind}/{fragment.name}")
                target[first - fragment.start : last - fragment.start].copy_(
                    values[first - stored.start : last - stored.start]
                )


@contextmanager
def stored_state(folder: Path, shapes: Mapping[str, Sequence[int]]) -> Iterator[StoredState]:
    """Open what `write_state` wrote on all ranks.

    Parameters
    ----------
    folder
        Folder with all ranks' files.
    shapes
        Shape of each trained parameter that is asked for.

    Raises
    ------
    CorruptBundle
        The index or a file is missing or damaged, the files do not cover the parameters, or these are others.
    """
    state = _read_index(folder / INDEX_FILE)
    state._require_shapes(shapes)
    with ExitStack() as files:
        for path in sorted(folder.glob("engine-*.safetensors")):
            try:
                state._add(files.enter_context(safe_open(path, framework="pt")))
            except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
                raise CorruptBundle(f"{path} is damaged: {error}. {_REMEDY}") from error
        state._require_whole()
        yield state


def _read_index(path: Path) -> StoredState:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, steps, shapes = content["format_version"], int(content["steps"]), content["parameters"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptBundle(f"{path} is missing or damaged: {error}. {_REMEDY}") from error
    if version != FORMAT_VERSION:
        raise CorruptBundle(
            f"{path} has version {version}, this Pertcast reads {FORMAT_VERSION}; finish the run with the "
            "Pertcast that began it."
        )
    return StoredState(path.parent, steps, shapes)


_REMEDY: Final = "Remove this checkpoint, and the run continues from the one before it."


def _new_moments(optimiser: AdamW, holder: Tensor, steps: int) -> dict[str, Tensor]:
    """Return AdamW's state of one tensor after `steps` steps, moments zero; padding of a buffer stays so."""
    device = holder.device if optimiser.defaults["fused"] else torch.device("cpu")
    step = torch.tensor(float(steps), dtype=torch.float32, device=device)
    return {"step": step, **{kind: torch.zeros_like(holder) for kind in MOMENTS}}

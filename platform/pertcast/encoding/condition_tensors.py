"""The last step of encoding: resolved conditions as the tensors of a `ConditionBatch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pertcast_data.vocabulary import PAIR_SEPARATOR, condition_key

from pertcast.encoding.condition_ids import condition_ids
from pertcast.encoding.descriptions import Single
from pertcast.encoding.problems import Fault
from pertcast.models.batch import ConditionBatch, ModelSpace


@dataclass(frozen=True)
class EncodedTable:
    """What could be encoded of a table, and what could not.

    Attributes
    ----------
    conditions
        The N good rows.
    rows
        (N,) int64, their rows in the table.
    names
        Readable names of the good rows, equal for equal conditions.
    faults
        What is wrong with each of the others, by row.
    singles
        The distinct single perturbations, in the order of `conditions.features`.
    """

    conditions: ConditionBatch
    rows: NDArray[np.int64]
    names: tuple[str, ...]
    faults: Mapping[int, Fault]
    singles: tuple[Single, ...]


class ConditionTensors:
    """Puts conditions into the vocabularies of a space.

    Parameters
    ----------
    space
        Contexts, groups, types and genes; what is not among them is -1.
    """

    def __init__(self, space: ModelSpace) -> None:
        self._max_slots = space.max_slots
        self._contexts = _numbered(space.contexts)
        self._groups = _numbered(space.groups)
        self._pert_types = _numbered(space.pert_types)
        self._genes = _numbered(space.genes)

    def __call__(
        self,
        frame: pl.DataFrame,
        sets: Sequence[tuple[Single, ...]],
        names: Sequence[str],
        singles: Sequence[Single],
        features: NDArray[np.float32],
    ) -> ConditionBatch:
        """Return N conditions.

        Parameters
        ----------
        frame
            N rows from `condition_frame`, units converted.
        sets, names
            Single perturbations and name of each row.
        singles, features
            The distinct single perturbations and their (P, F) features.
        """
        slot = self._slots(sets, singles)
        empty = slot < 0
        index = np.array([single.index for single in singles] or [-1], np.int64)
        target = [-1 if single.is_compound else self._genes.get(single.name, -1) for single in singles]
        own_gene = np.array(target or [-1], np.int64)
        columns = {
            "context": _codes(frame["cell_iname"].fill_null(""), self._contexts),
            "group": _codes(frame["batch_id"], self._groups),
            "perturbation": np.where(empty, -1, index[slot]),
            "slot": slot,
            "pert_type": np.where(empty, -1, _codes(frame["pert_type"], self._pert_types)[:, None]),
            "own_gene": np.where(empty, -1, own_gene[slot]),
            "log_dose": np.where(empty, np.float32(np.nan), _log10(frame["pert_dose"])[:, None]),
            "log_time": _log10(frame["pert_time"]),
            "key": np.array([condition_key(name) for name in names], np.int64),
        }
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in columns.items()}
        return ConditionBatch(**tensors, features=torch.from_numpy(features))

    def _slots(self, sets: Sequence[tuple[Single, ...]], singles: Sequence[Single]) -> NDArray[np.int64]:
        width = max([self._max_slots, *map(len, sets)])
        place = {single: row for row, single in enumerate(singles)}
        slot = np.full((len(sets), width), -1, np.int64)
        if width == 1:
            slot[:, 0] = [place[members[0]] if members else -1 for members in sets]
            return slot
        for row, members in enumerate(sets):
            slot[row, : len(members)] = [place[single] for single in members]
        return slot


def condition_names(frame: pl.DataFrame, sets: Sequence[tuple[Single, ...]]) -> tuple[str, ...]:
    """Return a readable name of each row, equal for equal conditions, however a table spells them."""
    named = [s[0].name if len(s) == 1 else PAIR_SEPARATOR.join(single.name for single in s) for s in sets]
    return tuple(condition_ids(frame.with_columns(pl.Series("pert_id", named, dtype=pl.String))))


def no_conditions(space: ModelSpace, features: NDArray[np.float32]) -> ConditionBatch:
    """Return an empty batch over a feature table."""
    empty = torch.zeros(0, dtype=torch.int64)
    slots = torch.zeros(0, space.max_slots, dtype=torch.int64)
    return ConditionBatch(
        context=empty,
        group=empty,
        perturbation=slots,
        slot=slots,
        pert_type=slots,
        own_gene=slots,
        log_dose=slots.float(),
        log_time=empty.float(),
        key=empty,
        features=torch.from_numpy(features),
    )


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _codes(values: pl.Series, vocabulary: Mapping[str, int]) -> NDArray[np.int64]:
    codes = values.replace_strict(dict(vocabulary), default=-1, return_dtype=pl.Int64) if vocabulary else None
    return np.full(len(values), -1, np.int64) if codes is None else codes.to_numpy().astype(np.int64)


def _log10(values: pl.Series) -> NDArray[np.float32]:
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    positive = numbers > 0
    logs = np.full(len(numbers), np.nan)
    logs[positive] = np.log10(numbers[positive])
    return logs.astype(np.float32)

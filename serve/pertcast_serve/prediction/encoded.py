"""Conditions in the form that a forward pass takes, remembered: encoding costs more than predicting.

A condition is encoded as `Predictor.predict` encodes it; what was found is kept by the condition's fields.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pertcast.encoding.problems import RowProblem, report
from pertcast.models.batch import ConditionBatch
from pertcast.predictor import Predictor

from pertcast_serve.schemas.predict import Condition

TABLE_SCHEMA = pl.Schema(
    {
        "cell_iname": pl.String,
        "pert_id": pl.String,
        "pert_type": pl.String,
        "pert_dose": pl.Float64,
        "pert_dose_unit": pl.String,
        "pert_time": pl.Float64,
        "pert_time_unit": pl.String,
        "canonical_smiles": pl.String,
    }
)
_PER_CONDITION = ("context", "group", "log_time", "key")
_PER_SLOT = ("perturbation", "slot", "pert_type", "own_gene", "log_dose")
_EMPTY = {"log_dose": np.nan}


@dataclass(frozen=True, slots=True)
class EncodedCondition:
    """One condition as a model takes it, and how far it is from training.

    Attributes
    ----------
    values
        Field of `ConditionBatch` -> number, or (S,) numbers of its slots; without `features`.
    features
        (F,) float32 of each slot, empty slots included.
    basal
        (G,) float32.
    sig_id, seen_pert, seen_cell, nn_train_dist, is_in_domain
        As `PredictedConditions.table` names them.
    """

    values: dict[str, NDArray[np.generic]]
    features: tuple[NDArray[np.float32], ...]
    basal: NDArray[np.float32]
    sig_id: str
    seen_pert: bool
    seen_cell: bool
    nn_train_dist: float
    is_in_domain: bool


class ConditionCache:
    """Encodes conditions, and remembers the last used of them.

    Parameters
    ----------
    predictor
        Whose encoder and basal profiles are used.
    size
        Conditions that are remembered; 0 encodes each anew.
    """

    def __init__(self, predictor: Predictor, size: int) -> None:
        self._predictor = predictor
        self._size = size
        self._known: OrderedDict[Condition, EncodedCondition] = OrderedDict()
        self._shared: WeakValueDictionary[bytes, NDArray[np.float32]] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._known)

    def encode(
        self, conditions: Sequence[Condition]
    ) -> tuple[list[EncodedCondition | None], dict[int, RowProblem]]:
        """Return each condition encoded, None where it cannot be, and what is wrong with those, by place."""
        found = {each: self._known.get(each) for each in conditions}
        missing = [each for each, encoded in found.items() if encoded is None]
        problems = self._encode_table(missing, found) if missing else {}
        self._remember(found)
        wrong = {row: problems[each] for row, each in enumerate(conditions) if each in problems}
        return [found[each] for each in conditions], wrong

    def _remember(self, found: dict[Condition, EncodedCondition | None]) -> None:
        for condition, encoded in found.items():
            if encoded is not None and self._size:
                self._known[condition] = encoded
                self._known.move_to_end(condition)
        while len(self._known) > self._size:
            self._known.popitem(last=False)

    def _encode_table(
        self, conditions: Sequence[Condition], found: dict[Condition, EncodedCondition | None]
    ) -> dict[Condition, RowProblem]:
        """Encode distinct conditions as `Predictor.predict` does; add them to `found`."""
        table = pl.DataFrame([each.model_dump() for each in conditions], schema=TABLE_SCHEMA)
        encoder = self._predictor.encoder
        encoded = encoder.encode_table(table)
        basal, faults = self._predictor.basal.lookup_lenient(table)
        faults.update(encoded.faults)
        flags = encoder.flags(encoded)
        batch = encoded.conditions
        columns = {name: getattr(batch, name).numpy() for name in (*_PER_CONDITION, *_PER_SLOT)}
        features = batch.features.numpy()
        for place, row in enumerate(encoded.rows.tolist()):
            if row in faults:
                continue
            values = {name: column[place].copy() for name, column in columns.items()}
            found[conditions[row]] = EncodedCondition(
                values=values,
                features=tuple(self._share(features[slot]) for slot in values["slot"].tolist() if slot >= 0),
                basal=self._share(basal[row]),
                sig_id=encoded.names[place],
                seen_pert=flags["seen_pert"][place],
                seen_cell=flags["seen_cell"][place],
                nn_train_dist=flags["nn_train_dist"][place],
                is_in_domain=flags["is_in_domain"][place],
            )
        return {conditions[problem.row]: problem for problem in report(faults.items())}

    def _share(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one array for equal ones: conditions share cell lines and compounds."""
        key = hashlib.blake2b(values.tobytes(), digest_size=16).digest()
        shared = self._shared.get(key)
        if shared is None:
            shared = values.copy()
            self._shared[key] = shared
        return shared


def joined(
    conditions: Sequence[EncodedCondition], max_slots: int, feature_width: int
) -> tuple[ConditionBatch, NDArray[np.float32]]:
    """Return N conditions as one batch, each slot with its own row of features, and their (N, G) profiles.

    `max_slots` is that of the model's space: a batch has at least so many slots, as that of a table has.
    """
    width = max([max_slots, *(len(each.features) for each in conditions)])
    filled = [(row, slot) for row, each in enumerate(conditions) for slot in range(len(each.features))]
    columns = {name: np.array([each.values[name] for each in conditions]) for name in _PER_CONDITION}
    like = conditions[0].values
    for name in _PER_SLOT:
        columns[name] = np.full((len(conditions), width), _EMPTY.get(name, -1), like[name].dtype)
    for row, each in enumerate(conditions):
        count = len(each.features)
        for name in _PER_SLOT:
            columns[name][row, :count] = each.values[name][:count]
        columns["slot"][row, :count] = row * width + np.arange(count)
    features = np.zeros((len(conditions) * width, feature_width), np.float32)
    for row, slot in filled:
        features[row * width + slot] = conditions[row].features[slot]
    tensors = {name: torch.from_numpy(values) for name, values in columns.items()}
    batch = ConditionBatch(**tensors, features=torch.from_numpy(features))
    return batch, np.stack([each.basal for each in conditions])

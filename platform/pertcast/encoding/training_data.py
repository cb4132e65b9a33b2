"""The rows of one fold as training data: encoded, paired with controls, dealt to ranks."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError
from pertcast_data.loading import BatchPlan, ControlPairing, GroupPlan, pair_controls
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore
from pertcast_data.store.readers import RowReader

from pertcast.encoding.encoder import ConditionEncoder
from pertcast.encoding.source import RowTable, StoreSource, TargetReader
from pertcast.training.data import TrainingData

_LOG = logging.getLogger(__name__)

KEPT_BYTES = 1 << 30
"""Targets up to this size are held in memory, dense."""


def make_training_data(
    store: ExpressionStore,
    split: Split,
    fold: int,
    encoder: ConditionEncoder,
    *,
    batch_size: int,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    accumulate: int = 1,
    reader: RowReader | None = None,
    kept_bytes: int = KEPT_BYTES,
) -> TrainingData:
    """Return the training and validation rows of a fold as batches; grouped by condition where asked for.

    Parameters
    ----------
    store, split, fold
        The data and what of it is trained on; the encoder was fitted on the same fold.
    encoder
        Encodes the conditions. Validation rows that it cannot encode (a gene without features, a compound
        without structure) are left out and logged.
    batch_size
        Rows of a batch on one rank.
    seed
        Of the shuffle.
    rank, world_size
        Which of how many ranks.
    accumulate
        Batches of one optimiser step on each rank. A step's training rows are the same for any number of
        ranks and batches a step that make up the same `batch_size * world_size * accumulate`.
    reader
        Reader of the store; its own where None.
    kept_bytes
        Targets up to this size are held in memory, dense.

    Raises
    ------
    ControlsMissing
        A row of a store of expression has no control in its context.
    LeakageError
        The split was made for another store.
    """
    reader = reader or store.reader()
    train, validation = (split.rows(store, fold, part) for part in ("train", "validation"))
    used = np.concatenate((train, validation))
    pairing: ControlPairing | None = None
    means: NDArray[np.float32] | None = None
    if store.measure == "expression":
        pairing = pair_controls(store, split.training_controls(store, fold))
        pairing.require(used)
        means = pairing.means(reader)
    held_out = row_table(store, encoder, validation)
    validation = _encodable(validation, held_out)
    values = TargetReader(reader, pairing, means)
    if 4 * len(used) * store.n_genes <= kept_bytes:
        values.keep(used, store.n_rows)

    trained = training_row_table(store, encoder, train)
    share = (batch_size, seed, rank, world_size, accumulate)

    def source(rows: NDArray[np.int64], table: RowTable, shuffle: bool, cells: int | None) -> StoreSource:
        if cells is None:
            return StoreSource(BatchPlan(rows, *share, shuffle=shuffle), table, values)
        plan = GroupPlan(rows, table.condition_of_row[rows], cells, *share, shuffle=shuffle)
        return StoreSource(plan, table, values)

    def data(cells: int | None = None) -> TrainingData:
        return TrainingData(
            train=source(train, trained, True, cells),
            statistics=source(train, trained, False, None),
            validation=source(validation, held_out, False, cells) if len(validation) else None,
            grouped=data,
        )

    return data()


def training_row_table(
    store: ExpressionStore, encoder: ConditionEncoder, rows: NDArray[np.int64]
) -> RowTable:
    """Return the training conditions as the encoder knows them, for the training rows of its store.

    Raises
    ------
    ConfigError
        A row's condition is none of the encoder's: it was fitted on another fold or store.
    """
    names = store.conditions["condition_id"].to_list()
    place = np.array([encoder.training_index.get(name, -1) for name in names], dtype=np.int64)
    condition_of_row = place[store.condition_of_row]
    unknown = rows[condition_of_row[rows] < 0]
    if len(unknown):
        name = names[store.condition_of_row[unknown[0]]]
        raise ConfigError(
            f"Condition {name!r} of {store.path} is none of the encoder's training conditions. "
            "Fit the encoder on the training rows of the same fold."
        )
    return RowTable(
        conditions=encoder.training_conditions,
        condition_of_row=condition_of_row,
        training_index=torch.arange(len(encoder.training_conditions)),
        group_of_row=_groups(store, encoder),
    )


def row_table(store: ExpressionStore, encoder: ConditionEncoder, rows: NDArray[np.int64]) -> RowTable:
    """Encode the conditions that any `rows` of a store belong to."""
    indices = np.unique(store.condition_of_row[rows])
    conditions = store.conditions[indices]
    encoded = encoder.encode_table(conditions)
    place = np.full(store.conditions.height, -1, np.int64)
    place[indices[encoded.rows]] = np.arange(len(encoded.rows))
    names = conditions["condition_id"].gather(encoded.rows).to_list()
    training = [encoder.training_index.get(name, -1) for name in names]
    return RowTable(
        conditions=encoded.conditions,
        condition_of_row=place[store.condition_of_row],
        training_index=torch.tensor(training, dtype=torch.int64),
        group_of_row=_groups(store, encoder),
    )


def _groups(store: ExpressionStore, encoder: ConditionEncoder) -> NDArray[np.int64]:
    groups = {name: index for index, name in enumerate(encoder.space.groups)}
    return np.array([groups.get(name, -1) for name in store.obs["batch_id"].to_list()], dtype=np.int64)


def _encodable(rows: NDArray[np.int64], table: RowTable) -> NDArray[np.int64]:
    kept = rows[table.condition_of_row[rows] >= 0]
    if len(kept) < len(rows):
        _LOG.warning(
            "validation rows left out: their perturbations have no features",
            extra={"left_out": len(rows) - len(kept), "validation_rows": len(rows)},
        )
    return kept

"""What training measured, as a judgement needs it: mean responses by context and type, and other types.

Over-expression is about the opposite of a knock-out: where a store holds several types of perturbation, a
response is measured against the mean of its own type.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from pertcast.encoding import ConditionEncoder
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.trust.type_strata import N_OTHER_TYPES
from pertcast.models.baselines.perturbation_sets import untyped_identity
from pertcast.models.baselines.references import n_type_rows, type_rows
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace


def mean_training_responses(statistics: ConditionStatistics, encoder: ConditionEncoder) -> FloatArray:
    """Return (K + 1, R + 1, G) float32 mean training responses by context and type.

    K contexts of training and, last, all; R types (`references.type_rows`) and, last, all. A type that was
    not measured in a context has the context's mean.
    """
    space, conditions = encoder.space, encoder.training_conditions
    types = type_rows(conditions, space)
    means = statistics.type_means(conditions.context, len(space.contexts), types, n_type_rows(space))
    found: FloatArray = means.numpy().astype(np.float32)
    return found


def mean_rows(means: FloatArray, space: ModelSpace) -> FloatArray:
    """Return `mean_training_responses` as rows; means by context alone, (K + 1, G), count for all types."""
    by_context = means if means.ndim == 3 else means[:, None]
    shape = (len(means), n_type_rows(space) + 1, means.shape[-1])
    return np.broadcast_to(by_context, shape).reshape(-1, means.shape[-1])


def train_mean_index(conditions: ConditionBatch, space: ModelSpace) -> IndexArray:
    """Return (N,) the row of `mean_rows` that belongs to each condition."""
    n_types = n_type_rows(space)
    context, types = conditions.context.numpy(), type_rows(conditions, space).numpy()
    rows: IndexArray = np.where(context < 0, len(space.contexts), context) * (n_types + 1)
    return rows + np.where(types < 0, n_types, types)


def pools(table: pl.DataFrame) -> IndexArray:
    """Return (N,) the pool of each condition: conditions of one cell line and one type are told apart."""
    keys = pl.concat_str(pl.col("cell_iname", "pert_type").fill_null(""), separator="\0")
    return np.unique(table.select(keys).to_series().to_numpy(), return_inverse=True)[1].astype(np.int64)


def with_other_types(
    table: pl.DataFrame, conditions: ConditionBatch, encoder: ConditionEncoder
) -> pl.DataFrame:
    """Return the table with how many other types of each condition's perturbations training measured.

    Combinations count by all their members together. Nothing is added where training holds one type.

    Parameters
    ----------
    table
        N held-out conditions.
    conditions
        The same, encoded.
    encoder
        Knows the training conditions.
    """
    space, trained = encoder.space, encoder.training_conditions
    if len(space.pert_types) < 2:
        return table
    asked, known = untyped_identity(conditions), untyped_identity(trained)
    asked_type, known_type = type_rows(conditions, space), type_rows(trained, space)
    count = torch.zeros(len(conditions), dtype=torch.int64)
    for each in range(n_type_rows(space)):
        measured = torch.isin(asked, known[(known_type == each) & (known != 0)])
        count += measured & (asked_type != each)
    return table.with_columns(pl.Series(N_OTHER_TYPES, count.numpy()))

"""Observations by the field's conventions, the order of rows, and the index of conditions.

Rows of a condition lie together, so that grouped reads are runs; the index is rebuilt from obs when a
store is opened and therefore cannot disagree with it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.store.frames import canonical_frame
from pertcast_data.vocabulary import CONDITION_COLUMNS, CONTROL_TYPES, OBS_COLUMNS, condition_id

_NUMBERS: Final = ("pert_dose", "pert_time")
_DESCRIBING: Final = ("cmap_name", "canonical_smiles", "inchi_key", "targets")


def observation_table(obs: pl.DataFrame) -> pl.DataFrame:
    """Return `obs` with typed OBS_COLUMNS, then `condition_id` and `is_control`, then its other columns.

    Raises
    ------
    SchemaError
        A dose or time is not a number, or a column has a type that a store cannot hold.
    """
    frame = canonical_frame(obs)
    columns = [_typed_column(frame, name) for name in OBS_COLUMNS]
    conventional = pl.DataFrame(columns)
    conventional = conventional.with_columns(
        _condition_ids(conventional),
        pl.col("pert_type").is_in(CONTROL_TYPES).fill_null(False).alias("is_control"),
    )
    others = [series for series in frame if series.name not in conventional.columns]
    return conventional.with_columns(others)


def storage_order(obs: pl.DataFrame, seed: int) -> NDArray[np.int64]:
    """Return the source row of each stored row: by context, controls first, by condition, shuffled within it.

    Parameters
    ----------
    obs
        A table from `observation_table`.
    seed
        Of the shuffle.
    """
    shuffle = np.random.default_rng(seed).permutation(obs.height)
    keys = obs.select("cell_iname", ~pl.col("is_control"), "condition_id")
    # Few distinct keys are sorted as text, many rows by their numbers.
    ranks = keys.unique().sort(keys.columns).with_row_index("_rank")
    rank = keys.join(ranks, on=keys.columns, how="left", nulls_equal=True, maintain_order="left")["_rank"]
    return np.lexsort((shuffle, rank.to_numpy())).astype(np.int64)


def condition_table(obs: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.int32]]:
    """Return the conditions in store order and, for each row, which of them it belongs to.

    Returns
    -------
    conditions
        condition_index (Int32), condition_id, CONDITION_COLUMNS, cmap_name, canonical_smiles, inchi_key,
        targets, is_control, n_rows. Where replicates differ in a describing column, the first row's stands.
    condition_of_row
        (n_rows,) int32.
    """
    described = [name for name in (*CONDITION_COLUMNS, *_DESCRIBING, "is_control") if name != "condition_id"]
    conditions = (
        obs.group_by("condition_id", maintain_order=True)
        .agg(*(pl.col(name).first() for name in described), pl.len().cast(pl.Int64).alias("n_rows"))
        .with_row_index("condition_index")
        .with_columns(pl.col("condition_index").cast(pl.Int32))
    )
    rows = obs.select("condition_id").join(
        conditions.select("condition_id", "condition_index"),
        on="condition_id",
        how="left",
        maintain_order="left",
    )
    return conditions, rows["condition_index"].to_numpy().astype(np.int32)


def _typed_column(frame: pl.DataFrame, name: str) -> pl.Series:
    dtype = pl.Float64 if name in _NUMBERS else pl.String
    if name not in frame.columns:
        return pl.Series(name, [None] * frame.height, dtype=dtype)
    series = frame[name]
    typed = series.cast(dtype, strict=False)
    lost = series.filter(series.is_not_null() & typed.is_null())
    if len(lost):
        raise SchemaError(
            f"Column {name} of obs holds {lost[0]!r}, which is not a number ({len(lost)} such rows). "
            "Parse it before it is stored, and make missing values null."
        )
    return typed.fill_nan(None) if name in _NUMBERS else typed


def _condition_ids(obs: pl.DataFrame) -> pl.Series:
    keys = list(CONDITION_COLUMNS)
    distinct = obs.select(keys).unique(maintain_order=True)
    names = [
        condition_id(cell or "", kind or "", name or "", dose, time)
        for cell, kind, name, dose, time in distinct.iter_rows()
    ]
    named = distinct.with_columns(pl.Series("condition_id", names, dtype=pl.String))
    return obs.select(keys).join(named, on=keys, how="left", nulls_equal=True, maintain_order="left")[
        "condition_id"
    ]

"""Held-out rows of a store as units: rows of one condition on one plate with one set of controls.

A prediction may depend on the plate and is judged against that plate's controls, so predictions are made a
unit and averaged over a condition's rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sparse
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.loading import ControlPairing
from pertcast_data.store import ExpressionStore

from pertcast.evaluation.held_out import FloatArray, IndexArray


def add_by_label(
    sums: FloatArray, labels: IndexArray, values: FloatArray, weights: FloatArray | None = None
) -> None:
    """Add (B, G) values, in float64 and weighted, to the rows `labels` (B,) of `sums`; -1 is left out."""
    kept = np.flatnonzero(labels >= 0)
    distinct, place = np.unique(labels[kept], return_inverse=True)
    factors = np.ones(len(kept)) if weights is None else weights[kept]
    matrix = sparse.csr_matrix((factors, (place, kept)), (len(distinct), len(labels)))
    sums[distinct] += matrix @ values.astype(np.float64)


@dataclass(frozen=True)
class Units:
    """U units of N held-out conditions, over M rows of a store.

    Attributes
    ----------
    conditions
        N rows: the store's condition table, in store order.
    table
        U rows of obs: the first row of each unit, with batch_id.
    rows
        (M,) rows of the store, ascending within a unit; units lie one after another.
    unit_of_row
        (M,) unit of each row.
    condition
        (U,) condition of each unit, 0..N-1.
    n_rows
        (U,) rows of each unit.
    control_group
        (U,) row of the control means, -1 for stores of measure "response".
    """

    conditions: pl.DataFrame
    table: pl.DataFrame
    rows: IndexArray
    unit_of_row: IndexArray
    condition: IndexArray
    n_rows: IndexArray
    control_group: IndexArray

    @property
    def n_conditions(self) -> int:
        """N."""
        return self.conditions.height

    @property
    def n_units(self) -> int:
        """U."""
        return len(self.condition)

    @property
    def condition_of_row(self) -> IndexArray:
        """(M,) condition of each row, 0..N-1."""
        of_row: IndexArray = self.condition[self.unit_of_row]
        return of_row

    def controls(self, control_means: FloatArray | None, units: slice, n_genes: int) -> FloatArray:
        """Return (B, G) float32 control means of some units; zeros for measure "response"."""
        groups = self.control_group[units]
        if control_means is None:
            return np.zeros((len(groups), n_genes), dtype=np.float32)
        means: FloatArray = control_means[groups]
        return means

    def average(self, units: slice, values: FloatArray, sums: FloatArray) -> None:
        """Add the (B, G) values of some units to `sums` (N, G) so that the end is a mean over rows."""
        places = self.condition[units]
        rows = np.bincount(self.condition, self.n_rows, self.n_conditions)
        add_by_label(sums, places, values, self.n_rows[units] / rows[places])

    def select_conditions(self, keep: NDArray[np.bool_]) -> Units:
        """Return the units of the conditions where `keep` (N,) is true."""
        number = np.cumsum(keep) - 1
        unit_kept = keep[self.condition]
        row_kept = unit_kept[self.unit_of_row]
        unit_number = np.cumsum(unit_kept) - 1
        return Units(
            conditions=self.conditions.filter(pl.Series(keep)),
            table=self.table.filter(pl.Series(unit_kept)),
            rows=self.rows[row_kept],
            unit_of_row=unit_number[self.unit_of_row[row_kept]].astype(np.int64),
            condition=number[self.condition[unit_kept]].astype(np.int64),
            n_rows=self.n_rows[unit_kept],
            control_group=self.control_group[unit_kept],
        )


def lay_out_units(store: ExpressionStore, rows: IndexArray, pairing: ControlPairing | None) -> Units:
    """Group rows of a store into units.

    Parameters
    ----------
    store
        The truth.
    rows
        (M,) held-out treated rows.
    pairing
        Controls of each row; None for measure "response".

    Raises
    ------
    SchemaError
        There are no rows.
    ControlsMissing
        A row has no controls.
    """
    if not len(rows):
        raise SchemaError(f"No held-out rows of {store.path}: this part of the fold is empty.")
    if pairing is not None:
        pairing.require(rows)
    chosen = store.obs[rows].with_columns(
        pl.Series("_row", rows),
        pl.Series("_condition", store.condition_of_row[rows].astype(np.int64)),
        pl.Series("_controls", (pairing.group_of_row[rows] if pairing else np.full(len(rows), -1))),
    )
    keys = ["_condition", "batch_id", "_controls"]
    first = chosen.sort(*keys, "_row", nulls_last=True)
    units = first.group_by(keys, maintain_order=True).agg(pl.len(), pl.col("_row").first().alias("_first"))
    sizes = units["len"].to_numpy().astype(np.int64)
    distinct, condition = np.unique(units["_condition"].to_numpy(), return_inverse=True)
    return Units(
        conditions=store.conditions[distinct],
        table=store.obs[units["_first"].to_numpy()],
        rows=first["_row"].to_numpy().astype(np.int64),
        unit_of_row=np.repeat(np.arange(len(sizes)), sizes),
        condition=condition.astype(np.int64),
        n_rows=sizes,
        control_group=units["_controls"].to_numpy().astype(np.int64),
    )

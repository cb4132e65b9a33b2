"""Which rows stand against which: conditions, matched controls, halves, and a null of reassigned rows.

All of it follows from the row table; the two passes over the profiles only add up by these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.loading.control_pairing import ControlPairing, pair_rows
from pertcast_data.store.conditions import condition_table, observation_table
from pertcast_data.vocabulary import Measure

Method = Literal["pairs", "halves"]

_MANY_REPLICATES: Final = 10
_NULL_CONDITIONS: Final = 4_000


@dataclass(frozen=True)
class Lines:
    """Rows added up by line; line 2k and 2k + 1 are the halves of group k.

    Attributes
    ----------
    conditions
        (K,) conditions that the groups are (or, in the null, whose sizes they have).
    group_of_row
        (N,) int32 group of each row, -1 for none.
    """

    conditions: NDArray[np.int64]
    group_of_row: NDArray[np.int32]

    def sizes(self, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return (K,) how many of the `counted` rows each group has."""
        own = self.group_of_row[counted & (self.group_of_row >= 0)]
        return np.bincount(own, minlength=len(self.conditions))


@dataclass(frozen=True)
class Design:
    """Rows, conditions and controls.

    Attributes
    ----------
    obs
        The rows with `condition_id` and `is_control` (`store.conditions.observation_table`).
    conditions, condition_of_row
        See `store.conditions.condition_table`.
    is_control
        (N,) whether a row is a control.
    pairing
        Matched controls; None for responses.
    contexts, context_of_row, context_of_condition
        Names of the cell lines, and their numbers.
    half_of_row
        (N,) int8, 0 or 1, drawn so that halves of a condition (and of a control group) differ by one at most.
    method
        "pairs": replicates are correlated pair by pair. "halves": conditions have so many profiles that the
        means of their halves are.
    real, null
        Treated conditions that were drawn, and rows reassigned among conditions of one kind within line and
        batch.
    n_treated
        Number of treated conditions, drawn or not.
    """

    obs: pl.DataFrame
    conditions: pl.DataFrame
    condition_of_row: NDArray[np.int32]
    is_control: NDArray[np.bool_]
    pairing: ControlPairing | None
    contexts: tuple[str, ...]
    context_of_row: NDArray[np.int32]
    context_of_condition: NDArray[np.int32]
    half_of_row: NDArray[np.int8]
    method: Method
    real: Lines
    null: Lines
    n_treated: int

    @property
    def control_group(self) -> NDArray[np.int32]:
        """(N,) matched controls of each row, -1 for none; all -1 for responses."""
        if self.pairing is None:
            return np.full(self.obs.height, -1, np.int32)
        return self.pairing.group_of_row

    @property
    def has_response(self) -> NDArray[np.bool_]:
        """(N,) whether a treated row's response can be told: all of responses, else rows with controls."""
        found = ~self.is_control
        return found if self.pairing is None else found & (self.pairing.group_of_row >= 0)


def make_design(obs: pl.DataFrame, measure: Measure, seed: int, max_conditions: int) -> Design:
    """Settle everything that follows from the row table.

    Parameters
    ----------
    obs
        Row table with OBS_COLUMNS, in source order.
    measure
        "expression" is paired with controls.
    seed
        Of halves, of the conditions that are drawn, and of the null.
    max_conditions
        Treated conditions that are measured at most.
    """
    random = np.random.default_rng([seed, 1])
    table = observation_table(obs)
    conditions, condition_of_row = condition_table(table)
    is_control = table["is_control"].to_numpy().astype(np.bool_)
    pairing = pair_rows(table, is_control) if measure == "expression" else None
    names = conditions["cell_iname"].fill_null("").cast(pl.String).to_numpy()
    contexts, context_of_condition = np.unique(names, return_inverse=True)
    sizes = conditions["n_rows"].to_numpy()
    treated = np.flatnonzero(~conditions["is_control"].to_numpy())
    halved = np.where(
        is_control & (pairing is not None), _own_groups(pairing, len(conditions)), condition_of_row
    )
    drawn = treated
    if len(treated) > max_conditions:
        drawn = np.sort(random.choice(treated, max_conditions, replace=False))
    repeated = sizes[treated][sizes[treated] > 1]
    return Design(
        obs=table,
        conditions=conditions,
        condition_of_row=condition_of_row,
        is_control=is_control,
        pairing=pairing,
        contexts=tuple(str(name) for name in contexts),
        context_of_row=context_of_condition[condition_of_row].astype(np.int32),
        context_of_condition=context_of_condition.astype(np.int32),
        half_of_row=_halves(halved, random),
        method="halves" if len(repeated) and np.median(repeated) > _MANY_REPLICATES else "pairs",
        real=_lines(drawn, condition_of_row, len(conditions)),
        null=_null_lines(drawn, table, conditions, condition_of_row, random),
        n_treated=len(treated),
    )


def _own_groups(pairing: ControlPairing | None, offset: int) -> NDArray[np.int64]:
    if pairing is None:
        return np.zeros(1, np.int64)
    return pairing.group_of_row.astype(np.int64) + offset + 1


def _halves(group_of_row: NDArray[np.integer], random: np.random.Generator) -> NDArray[np.int8]:
    """Deal the rows of each group to two halves in turn, in a random order."""
    shuffle = random.permutation(len(group_of_row))
    order = np.lexsort((shuffle, group_of_row))
    grouped = group_of_row[order]
    starts = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]]) if len(order) else np.zeros(0, np.int64)
    lengths = np.diff(np.r_[starts, len(order)])
    rank = np.arange(len(order)) - np.repeat(starts, lengths)
    halves = np.zeros(len(order), np.int8)
    halves[order] = rank % 2
    return halves


def _lines(chosen: NDArray[np.int64], condition_of_row: NDArray[np.int32], n_conditions: int) -> Lines:
    group = np.full(n_conditions, -1, np.int32)
    group[chosen] = np.arange(len(chosen), dtype=np.int32)
    return Lines(chosen, group[condition_of_row])


def _null_lines(
    drawn: NDArray[np.int64],
    obs: pl.DataFrame,
    conditions: pl.DataFrame,
    condition_of_row: NDArray[np.int32],
    random: np.random.Generator,
) -> Lines:
    """Reassign rows to the drawn conditions with replicates, within line, kind and batch.

    Sizes stay as they are. A batch with one condition of its kind alone has nothing to exchange: it is left
    out, and so are conditions that are left with a single row.
    """
    sizes = conditions["n_rows"].to_numpy()
    candidates = drawn[sizes[drawn] > 1]
    if len(candidates) > _NULL_CONDITIONS:
        candidates = np.sort(random.choice(candidates, _NULL_CONDITIONS, replace=False))
    group = _lines(candidates, condition_of_row, len(conditions)).group_of_row
    rows = np.flatnonzero(group >= 0)
    strata = (
        obs.select("cell_iname", "pert_type", "batch_id")[rows]
        .with_columns(pl.Series("group", group[rows]), pl.Series("shuffle", random.permutation(len(rows))))
        .with_row_index("at")
    )
    keys = ["cell_iname", "pert_type", "batch_id"]
    mixed = strata.sort(*keys, "shuffle").with_columns(
        pl.col("group").n_unique().over(keys).alias("n_groups"),
    )
    ordered = strata.sort(*keys, "at")
    reassigned = np.full(len(rows), -1, np.int32)
    can_move = mixed["n_groups"].to_numpy() > 1
    reassigned[mixed["at"].to_numpy()[can_move]] = ordered["group"].to_numpy()[can_move]
    left = np.bincount(reassigned[reassigned >= 0], minlength=len(candidates))
    kept = np.flatnonzero(left > 1)
    number = np.full(len(candidates) + 1, -1, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    result = np.full(obs.height, -1, np.int32)
    result[rows] = number[reassigned]
    return Lines(candidates[kept], result)

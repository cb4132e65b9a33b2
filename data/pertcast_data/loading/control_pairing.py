"""Each profile's matched controls: of its plate or batch, else of its context and time, else of its context.

What differs between a profile and its controls should be the perturbation; the nearest controls that
exist are taken, and the level at which they were found is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError, ControlsMissing
from pertcast_data.store.expression_store import ExpressionStore
from pertcast_data.store.readers import RowReader

LEVEL_NAMES: Final = ("batch", "context_time", "context")
"""Levels of matching, the nearest first. At level "batch" known times are equal too."""

_READ_ROWS: Final = 2_048


@dataclass(frozen=True)
class _Rule:
    """Rows and controls equal in `keys` match; `*_without_time` admits only those of unknown time."""

    level: int
    keys: tuple[str, ...]
    rows_without_time: bool = False
    controls_without_time: bool = False


_RULES: Final = (
    _Rule(0, ("batch_id", "cell_iname", "pert_time")),
    _Rule(0, ("batch_id", "cell_iname"), controls_without_time=True),
    _Rule(0, ("batch_id", "cell_iname"), rows_without_time=True),
    _Rule(1, ("cell_iname", "pert_time")),
    _Rule(2, ("cell_iname",)),
)


@dataclass(frozen=True)
class ControlPairing:
    """Which controls stand against each row of a store.

    A group is a set of control rows; rows matched at the same level by the same values share one. Controls
    are paired as well, with a group that they belong to.

    Attributes
    ----------
    group_of_row
        (n_rows,) int32, -1 where a row has no control.
    level_of_row
        (n_rows,) int8, row of `level_names`, -1 where a row has no control.
    level_names
        Names of the levels, the nearest first.
    control_rows, group_of_control
        (K,) int64 and (K,) int32, the members of all groups; a control may belong to several.
    n_groups
        Number of groups.
    contexts
        Context of each row, for messages.
    is_control
        (n_rows,) whether a row is itself a control.
    """

    group_of_row: NDArray[np.int32]
    level_of_row: NDArray[np.int8]
    level_names: tuple[str, ...]
    control_rows: NDArray[np.int64]
    group_of_control: NDArray[np.int32]
    n_groups: int
    contexts: pl.Series
    is_control: NDArray[np.bool_]

    def means(self, reader: RowReader) -> NDArray[np.float32]:
        """Return (n_groups, G) float32, the mean profile of each group, in one pass over the controls."""
        distinct, member = np.unique(self.control_rows, return_inverse=True)
        ones = np.ones(len(member), dtype=np.float64)
        membership = sparse.csc_matrix(
            (ones, (self.group_of_control, member)), shape=(self.n_groups, len(distinct))
        )
        sums: NDArray[np.float64] | None = None
        for start in range(0, len(distinct), _READ_ROWS):
            profiles = reader.dense(distinct[start : start + _READ_ROWS])
            part = membership[:, start : start + _READ_ROWS] @ profiles.astype(np.float64)
            sums = part if sums is None else sums + part
        if sums is None:
            raise ControlsMissing("There are no controls to average: the pairing has no groups.")
        sizes = np.bincount(self.group_of_control, minlength=self.n_groups)
        return (sums / sizes[:, None]).astype(np.float32)

    def members(self, group: int) -> NDArray[np.int64]:
        """Return the control rows of `group`, ascending."""
        rows: NDArray[np.int64] = self.control_rows[self.group_of_control == group]
        return rows

    def require(self, rows: NDArray[np.integer] | None = None) -> None:
        """Check that every treated row (of `rows`, or of all) has controls.

        Raises
        ------
        ControlsMissing
            Names the contexts without a control.
        """
        asked = np.arange(len(self.group_of_row)) if rows is None else np.asarray(rows, dtype=np.int64)
        alone = asked[(self.group_of_row[asked] < 0) & ~self.is_control[asked]]
        if not len(alone):
            return
        contexts = self.contexts.gather(alone)
        named = contexts.fill_null("(no cell line)").unique().sort().to_list()
        shown = ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
        raise ControlsMissing(
            f"{len(alone)} treated profiles have no control in their context: {shown}. Add control profiles "
            "(ctl_vehicle, ctl_vector or ctl_untrt) of these cell lines, or leave these profiles out."
        )

    def level_counts(self) -> dict[str, int]:
        """Return how many treated rows were matched at each level, and under "none" how many were not."""
        levels = self.level_of_row[~self.is_control]
        counts = {name: int((levels == number).sum()) for number, name in enumerate(self.level_names)}
        return {**counts, "none": int((levels < 0).sum())}


def pair_controls(store: ExpressionStore, control_rows: NDArray[np.integer] | None = None) -> ControlPairing:
    """Pair every row of a store with its nearest controls.

    Parameters
    ----------
    store
        Of measure "expression".
    control_rows
        The controls that may be used; all of the store by default.

    Raises
    ------
    ConfigError
        The store holds responses, which are relative already, or `control_rows` names a treated row.
    """
    if store.measure != "expression":
        raise ConfigError(
            f"{store.path} holds responses: they are relative already and are not paired with controls. "
            "Pair only stores of measure 'expression'."
        )
    controls = (
        np.flatnonzero(store.is_control) if control_rows is None else np.unique(np.asarray(control_rows))
    )
    if not store.is_control[controls].all():
        first = int(controls[~store.is_control[controls]][0])
        raise ConfigError(
            f"Row {first} of {store.path} is not a control. Give rows whose is_control is true."
        )
    return pair_rows(store.obs, store.is_control, controls)


def pair_rows(
    obs: pl.DataFrame, is_control: NDArray[np.bool_], controls: NDArray[np.int64] | None = None
) -> ControlPairing:
    """Pair every row of a table of expression with its nearest controls.

    Parameters
    ----------
    obs
        Rows with batch_id, cell_iname and pert_time.
    is_control
        (N,) which of them are controls.
    controls
        Those that may be used, ascending; all by default.
    """
    controls = np.flatnonzero(is_control) if controls is None else controls
    columns = obs.select("batch_id", "cell_iname", "pert_time").with_row_index("row")
    group_of_row = np.full(obs.height, -1, dtype=np.int32)
    level_of_row = np.full(obs.height, -1, dtype=np.int8)
    members: list[pl.DataFrame] = []
    n_groups = 0
    for rule in _RULES:
        alone = np.flatnonzero(group_of_row < 0)
        matched, found = _match(columns, rule, controls, alone, n_groups)
        rows = matched["row"].to_numpy()
        group_of_row[rows] = matched["group"].to_numpy()
        level_of_row[rows] = rule.level
        members.append(found)
        n_groups += found["group"].n_unique()
    everyone = pl.concat(members)
    return ControlPairing(
        group_of_row=group_of_row,
        level_of_row=level_of_row,
        level_names=LEVEL_NAMES,
        control_rows=everyone["row"].to_numpy().astype(np.int64),
        group_of_control=everyone["group"].to_numpy().astype(np.int32),
        n_groups=n_groups,
        contexts=obs["cell_iname"],
        is_control=is_control,
    )


def _match(
    columns: pl.DataFrame,
    rule: _Rule,
    controls: NDArray[np.int64],
    alone: NDArray[np.int64],
    first_group: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Match the rows `alone` with controls by `rule`; a null matches nothing.

    Returns
    -------
    matched
        row, group of each row that found controls.
    members
        row, group of the controls of these groups.
    """
    keys = list(rule.keys)
    complete = pl.all_horizontal(pl.col(key).is_not_null() for key in keys)
    timeless = pl.col("pert_time").is_null()
    seekers = columns[alone].filter(complete & (timeless | (not rule.rows_without_time)))
    candidates = columns[controls].filter(complete & (timeless | (not rule.controls_without_time)))
    groups = (
        seekers.select(keys)
        .unique(maintain_order=True)
        .join(candidates.select(keys).unique(), on=keys, how="semi", maintain_order="left")
        .with_row_index("group", offset=first_group)
        .with_columns(pl.col("group").cast(pl.Int32))
    )
    matched = seekers.join(groups, on=keys, how="inner", maintain_order="left").select("row", "group")
    members = candidates.join(groups, on=keys, how="inner", maintain_order="left").select("row", "group")
    return matched, members

"""Basal profiles: the mean control of each context, for predictions that name no plate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import UnknownContext
from pertcast_data.loading import ControlPairing
from pertcast_data.splits import FittedOn
from pertcast_data.store import ExpressionStore
from pertcast_data.store.readers import RowReader

from pertcast.encoding.condition_frame import condition_frame, convert_units
from pertcast.encoding.problems import Fault

_READ_ROWS = 2048
_REMEDY = "The training store holds no control profiles of it: add some, or ask for another cell line."


class BasalProfiles:
    """Mean control profile by (context, time), and by context.

    Attributes
    ----------
    keys
        (context, hours or None) of each profile; None is the mean over all times.
    profiles
        (M, G) float32.
    is_zero
        Whether the store holds responses, so that every basal profile is zero.
    fitted_on
        Which controls were averaged; empty for profiles that were restored, or are zero.
    """

    def __init__(
        self,
        keys: Sequence[tuple[str, float | None]],
        profiles: NDArray[np.float32],
        is_zero: bool = False,
        fitted_on: tuple[FittedOn, ...] = (),
    ) -> None:
        self.keys = tuple(keys)
        self.profiles = profiles
        self.is_zero = is_zero
        self.fitted_on = fitted_on
        self._row = {key: row for row, key in enumerate(self.keys)}

    @property
    def contexts(self) -> tuple[str, ...]:
        """Contexts with a basal profile."""
        return tuple(context for context, time in self.keys if time is None)

    @classmethod
    def fit(
        cls, store: ExpressionStore, pairing: ControlPairing | None, reader: RowReader | None = None
    ) -> BasalProfiles:
        """Average the controls of a store.

        Parameters
        ----------
        store
            Any store; of measure "response" every profile is zero.
        pairing
            Says which controls are used; all of the store's where None.
        reader
            Reader of the store; its own where None.
        """
        if store.measure == "response":
            return cls((), np.zeros((0, store.n_genes), np.float32), is_zero=True)
        rows = np.flatnonzero(store.is_control) if pairing is None else np.unique(pairing.control_rows)
        contexts = store.obs["cell_iname"].fill_null("").gather(rows).to_list()
        times = store.obs["pert_time"].gather(rows).to_list()
        row_of: dict[tuple[str, float | None], int] = {}
        for context, time in zip(contexts, times, strict=True):
            row_of.setdefault((context, None), len(row_of))
            if time is not None:
                row_of.setdefault((context, float(time)), len(row_of))
        sums, count = np.zeros((len(row_of), store.n_genes)), np.zeros(len(row_of))
        whole = np.array([row_of[context, None] for context in contexts], np.int64)
        timed = np.array(
            [-1 if t is None else row_of[c, float(t)] for c, t in zip(contexts, times, strict=True)], np.int64
        )
        reader = reader or store.reader()
        for start in range(0, len(rows), _READ_ROWS):
            part = slice(start, start + _READ_ROWS)
            profiles = reader.dense(rows[part])
            for index in (whole[part], timed[part]):
                _add(sums, count, index, profiles)
        order = sorted(row_of, key=lambda key: (key[0], key[1] is not None, key[1] or 0.0))
        chosen = [row_of[key] for key in order]
        fitted_on = (FittedOn.of("basal profiles", "basal", "controls", rows),)
        return cls(order, (sums[chosen] / count[chosen, None]).astype(np.float32), fitted_on=fitted_on)

    def lookup(self, table: pl.DataFrame) -> NDArray[np.float32]:
        """Return (N, G) float32: the profile at the row's time, else the mean over times.

        Raises
        ------
        UnknownContext
            A context has no control profiles.
        """
        profiles, faults = self.lookup_lenient(table)
        if faults:
            row = min(faults)
            raise faults[row].exception(row)
        return profiles

    def lookup_lenient(self, table: pl.DataFrame) -> tuple[NDArray[np.float32], dict[int, Fault]]:
        """Return the (N, G) profiles, zero where unknown, and what is wrong with those rows."""
        if self.is_zero:
            return np.zeros((table.height, self.profiles.shape[1]), np.float32), {}
        needed = table.select(name for name in table.columns if name in _COLUMNS)
        frame, _ = convert_units(condition_frame(needed.with_columns(pert_type=None, pert_id=None)))
        chosen = np.zeros(table.height, np.int64)
        faults: dict[int, Fault] = {}
        for row, (context, time) in enumerate(frame.select("cell_iname", "pert_time").iter_rows()):
            at_time = self._row.get((context or "", None if time is None else float(time)))
            found = at_time if at_time is not None else self._row.get((context or "", None))
            if found is None:
                faults[row] = Fault(UnknownContext, "cell_iname", context or "", _REMEDY, self.contexts)
            else:
                chosen[row] = found
        if not len(self.profiles):
            return np.zeros((table.height, self.profiles.shape[1]), np.float32), faults
        profiles = self.profiles[chosen]
        profiles[list(faults)] = 0.0
        return profiles, faults

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return (plain facts, arrays) from which `from_state` makes the same profiles."""
        return {"keys": [list(key) for key in self.keys], "is_zero": self.is_zero}, {
            "profiles": self.profiles
        }

    @classmethod
    def from_state(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> BasalProfiles:
        """Make the profiles whose `state` this is."""
        keys = [(context, time) for context, time in facts["keys"]]
        return cls(keys, np.asarray(arrays["profiles"], np.float32), bool(facts["is_zero"]))


_COLUMNS = ("cell_iname", "pert_time", "pert_time_unit")


def _add(
    sums: NDArray[np.float64], count: NDArray[np.float64], index: NDArray[np.int64], rows: NDArray[np.float32]
) -> None:
    used = index >= 0
    for each in np.unique(index[used]).tolist():
        members = index == each
        sums[each] += rows[members].sum(axis=0, dtype=np.float64)
        count[each] += int(members.sum())

"""Medians and spreads of controls, in bounded memory, and which of them each row is measured against.

Plate controls are unperturbed and belong to the plate. A plate that is tested brings its own controls: they
are inputs, known when its profiles are predicted, exactly as control pairing in evaluation uses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import ControlsMissing
from pertcast_data.loading import ControlPairing, pair_controls
from pertcast_data.reading import ProfileReader
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore

MAD_TO_SD: Final = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""
_BUDGET_BYTES: Final = 1 << 28
_READ_ROWS: Final = 2_048

Levels = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Median and median absolute deviation of every gene."""


def median_and_mad(
    read: ProfileReader, rows: NDArray[np.int64], n_genes: int, budget_bytes: int = _BUDGET_BYTES
) -> Levels:
    """Return median and MAD of each gene over `rows`, two (G,) float32; missing values are passed over.

    Controls that exceed `budget_bytes` are read again for each range of genes that fits.
    """
    width = max(1, min(n_genes, budget_bytes // max(1, 4 * len(rows))))
    medians, mads = np.empty(n_genes, np.float32), np.empty(n_genes, np.float32)
    for first in range(0, n_genes, width):
        genes = slice(first, min(first + width, n_genes))
        values = np.empty((len(rows), genes.stop - first), np.float32)
        for start in range(0, len(rows), _READ_ROWS):
            values[start : start + _READ_ROWS] = read(rows[start : start + _READ_ROWS])[:, genes]
        middle = np.nanmedian if np.isnan(values).any() else np.median
        medians[genes] = middle(values, axis=0)
        mads[genes] = middle(np.abs(values - medians[genes]), axis=0)
    return medians, mads


def line_controls(store: ExpressionStore, controls: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Return the rows of `controls` by cell line, in order of the lines' names."""
    table = pl.DataFrame({"row": controls, "line": store.obs["cell_iname"].gather(controls)}).drop_nulls()
    grouped = table.group_by("line", maintain_order=True).agg("row").sort("line")
    return {line: np.asarray(rows, np.int64) for line, rows in grouped.iter_rows()}


@dataclass(frozen=True)
class RowLevels:
    """The levels that each row is measured against.

    Attributes
    ----------
    level_of_row
        (n_rows,) int32, row of `centre` and `mad`.
    centre, mad
        (L, G) float32.
    n_plates, n_lines
        How many of the L are plates and how many cell lines.
    n_rows_by_line
        Rows whose plate has too few controls.
    """

    level_of_row: NDArray[np.int32]
    centre: NDArray[np.float32]
    mad: NDArray[np.float32]
    n_plates: int
    n_lines: int
    n_rows_by_line: int


@dataclass(frozen=True)
class ControlChoice:
    """Which controls stand behind each row, before any is read.

    Attributes
    ----------
    group_of_row
        (n_rows,) int32, place in `plates`, or len(plates) + place in `lines`.
    plates
        Control rows of each plate in use.
    lines
        Cell lines that rows fall back to.
    own
        Of those, lines without training controls and the controls that they bring themselves.
    """

    group_of_row: NDArray[np.int32]
    plates: tuple[NDArray[np.int64], ...]
    lines: tuple[str, ...]
    own: dict[str, NDArray[np.int64]]


def training_control_rows(store: ExpressionStore, split: Split, fold: int) -> NDArray[np.int64]:
    """Return the controls that the fold may be trained with, ascending."""
    allowed = split.training_controls(store, fold)
    return np.flatnonzero(store.is_control).astype(np.int64) if allowed is None else allowed


def choose_controls(
    store: ExpressionStore, split: Split, fold: int, known_lines: tuple[str, ...], min_controls: int
) -> ControlChoice:
    """Choose the controls of every row: of its plate, else of its cell line.

    Rows that are trained or validated on see training controls only. Tested rows, and controls that training
    must not see, see their own plate's controls; where a tested line has no training controls, its own.

    Parameters
    ----------
    store, split, fold
        What is prepared.
    known_lines
        Lines whose levels are fitted on training controls.
    min_controls
        A plate, or a line that brings its own, needs at least so many.

    Raises
    ------
    ControlsMissing
        Names the cell lines of rows that have too few controls of either kind.
    """
    allowed = training_control_rows(store, split, fold)
    held_back = np.setdiff1d(np.flatnonzero(store.is_control), allowed)
    outside = np.zeros(store.n_rows, bool)
    if len(held_back):
        outside[split.rows(store, fold, "test")] = True
        outside[held_back] = True
    group_of_row = np.full(store.n_rows, -1, np.int32)
    plates: list[NDArray[np.int64]] = []
    for controls, rows in ((allowed, np.flatnonzero(~outside)), (None, np.flatnonzero(outside))):
        if not len(rows):
            continue
        for members, seekers in _plates(pair_controls(store, controls), rows, min_controls):
            group_of_row[seekers] = len(plates)
            plates.append(members)
    alone = np.flatnonzero(group_of_row < 0)
    brought = {
        line: rows
        for line, rows in line_controls(store, np.flatnonzero(store.is_control)).items()
        if len(rows) >= min_controls and line not in known_lines
    }
    wanted = store.obs["cell_iname"].gather(alone).to_list()
    served = [line in known_lines or (line in brought and bool(outside[row]))
              for line, row in zip(wanted, alone.tolist(), strict=True)]  # fmt: skip
    _require_served(wanted, served, min_controls)
    lines = tuple(sorted(set(wanted)))
    place = {line: len(plates) + number for number, line in enumerate(lines)}
    group_of_row[alone] = [place[line] for line in wanted]
    own = {line: brought[line] for line in lines if line not in known_lines}
    return ControlChoice(group_of_row, tuple(plates), lines, own)


def _plates(
    pairing: ControlPairing, rows: NDArray[np.int64], min_controls: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return (controls, rows) of each plate of `rows` that has enough controls."""
    on_plates = rows[pairing.level_of_row[rows] == 0]
    members = _by_group(pairing.group_of_control, pairing.control_rows)
    seekers = _by_group(pairing.group_of_row[on_plates], on_plates)
    return [
        (members[group], found) for group, found in seekers.items() if len(members[group]) >= min_controls
    ]


def _by_group(groups: NDArray[np.int32], rows: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    order = np.argsort(groups, kind="stable")
    names, starts = np.unique(groups[order], return_index=True)
    return dict(zip(names.tolist(), np.split(rows[order], starts[1:]), strict=True)) if len(names) else {}


def _require_served(wanted: list[str | None], served: list[bool], min_controls: int) -> None:
    lacking = sorted({str(line) for line, has in zip(wanted, served, strict=True) if not has})
    if lacking:
        shown = ", ".join(lacking[:8]) + (f" and {len(lacking) - 8} more" if len(lacking) > 8 else "")
        raise ControlsMissing(
            f"{served.count(False)} profiles have fewer than {min_controls} controls on their plate and in "
            f"their cell line that may be used: {shown}. Lower --min-controls, add controls, or leave out "
            "--robust-z."
        )

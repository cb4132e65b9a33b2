"""Curves of a screen on disk, a block at a time: which rows belong to one, and their fits.

A compound's rows are neighbours, sorted by dose and then time, so that curves of several times are
interleaved; a block holds whole curves whatever their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, SchemaError

from pertcast.analysis.screened_doses.screened import (
    LARGEST_MISFIT,
    SMALLEST_EFFECT,
    fit_screened_doses,
)

BLOCK_ROWS: Final = 2_048

ReadRows = Callable[[NDArray[np.int64]], NDArray[np.floating]]
"""(B,) rising rows -> (B, G) their responses."""


def stream_screened_doses(
    curves: NDArray[np.integer],
    doses: NDArray[np.floating],
    read: ReadRows,
    *,
    block_rows: int = BLOCK_ROWS,
    bottom: float | None = 0.0,
    smallest_effect: float = SMALLEST_EFFECT,
    largest_misfit: float = LARGEST_MISFIT,
) -> Iterator[pl.DataFrame]:
    """Yield the fits of all curves of a screen, in order of their first rows.

    Beside a block of responses, eight bytes a profile are held.

    Parameters
    ----------
    curves
        (N,) code of each row's curve, for example of its (cell line, compound, time); negative for rows
        that belong to none.
    doses
        (N,) uM; NaN for rows without a dose, which are left out. Curves may lack doses that others have.
    read
        Reads responses of rows. It is asked for rising rows, each once.
    block_rows
        Rows that are read at a time; a curve with more is read whole.
    bottom, smallest_effect, largest_misfit
        As of `fit_screened_doses`.

    Yields
    ------
    DataFrame
        "curve" (the code), "first_row" (its first row), then `SCREENED_DOSES_SCHEMA`.

    Raises
    ------
    ConfigError
        `block_rows` is below one.
    SchemaError
        Numbers of codes and doses differ, a dose is not above 0, a response is not finite, or `read`
        returns another number of rows than it was asked for.
    """
    _require_rows(curves, doses, block_rows)
    order, starts = _by_curve(curves, doses)
    sizes = np.diff(starts)
    first = 0
    while first < len(sizes):
        last = int(np.searchsorted(starts, starts[first] + block_rows, side="right")) - 1
        last = max(last, first + 1)
        rows = order[starts[first] : starts[last]]
        placed, responses = _block(rows, sizes[first:last], doses, read)
        fits = fit_screened_doses(
            placed,
            responses,
            bottom=bottom,
            smallest_effect=smallest_effect,
            largest_misfit=largest_misfit,
        )
        own = order[starts[first:last]]
        yield fits.select(
            pl.Series("curve", curves[own], dtype=pl.Int64), pl.Series("first_row", own), pl.all()
        )
        first = last


def _by_curve(
    curves: NDArray[np.integer], doses: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows with curves one after another, by their first rows, and where each starts (and the end)."""
    rows = np.flatnonzero((curves >= 0) & ~np.isnan(doses))
    _, first, member = np.unique(curves[rows], return_index=True, return_inverse=True)
    by_first = first[member.reshape(-1)]
    order = np.argsort(by_first, kind="stable")
    is_new = np.diff(by_first[order], prepend=-1) != 0
    return rows[order], np.append(np.flatnonzero(is_new), len(rows))


def _block(
    rows: NDArray[np.int64], sizes: NDArray[np.int64], doses: NDArray[np.floating], read: ReadRows
) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    """Return (M, D) doses and (M, D, G) responses of whole curves; NaN and 0 where one has fewer."""
    rising = np.sort(rows)
    found = read(rising)
    if found.ndim != 2 or len(found) != len(rows):
        raise SchemaError(f"{len(rows)} rows were asked for, {found.shape} came back: give a row a profile.")
    curve = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    placed = np.full((len(sizes), int(sizes.max())), np.nan)
    placed[curve, place] = doses[rows]
    responses = np.zeros((*placed.shape, found.shape[1]), dtype=found.dtype)
    responses[curve, place] = found[np.searchsorted(rising, rows)]
    return placed, responses


def _require_rows(curves: NDArray[np.integer], doses: NDArray[np.floating], block_rows: int) -> None:
    if block_rows < 1:
        raise ConfigError(f"block_rows={block_rows}: read at least one row at a time.")
    if curves.ndim != 1 or curves.shape != doses.shape:
        raise SchemaError(f"{curves.shape} codes of curves and {doses.shape} doses: give one of each a row.")
    wrong = (curves >= 0) & ((doses <= 0) | np.isinf(doses))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise SchemaError(
            f"Row {row} has a dose of {doses[row]:g}, which has no place on a log scale: give controls a "
            "negative code."
        )

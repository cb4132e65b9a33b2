"""A screen as the content of an h5ad, GCTX or GCT file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.screens.finished import RESPONSE, FinishedScreen
from pertcast_data.export.content import ROW_NAME, BlockTable, ExportContent, ValueBlocks, row_name_free
from pertcast_data.progress import ProgressCallback


def screen_content(
    screen: FinishedScreen, rows: NDArray[np.int64], layer: str, layers: Sequence[str] = ()
) -> ExportContent:
    """Return what a file of some profiles of a screen holds.

    Parameters
    ----------
    screen
        A finished screen.
    rows
        (M,) int64 rows, ascending.
    layer
        Which values are the matrix.
    layers
        Which are written beside it.
    """
    return ExportContent(
        obs=observations(screen, rows),
        var=BlockTable.of(screen.genes, screen.var),
        values=_values(screen, rows, layer),
        dtype=np.dtype(np.float32),
        layers={name: _values(screen, rows, name) for name in layers},
        facts=facts_of(screen, layer),
    )


def observations(screen: FinishedScreen, rows: NDArray[np.int64]) -> BlockTable:
    """Return sig_info of some rows, named by sig_id."""
    own = {row_name_free(name): name for name in screen.sig_info_columns}

    def blocks(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        needed = {"sig_id" if name == ROW_NAME else own[name] for name in columns}
        for block in screen.sig_info(sorted(needed), rows):
            yield block.select(
                pl.col("sig_id" if name == ROW_NAME else own[name]).alias(name) for name in columns
            )

    return BlockTable(len(rows), (ROW_NAME, *own), blocks)


def facts_of(screen: FinishedScreen, layer: str) -> dict[str, Any]:
    """Return what is said of an exported file: which values it holds, of which model."""
    kept = ("measure", "normalisation", "model_id", "licence")
    return {"kind": "screen", "values": layer, **{name: str(screen.bundle.get(name)) for name in kept}}


def _values(screen: FinishedScreen, rows: NDArray[np.int64], layer: str) -> ValueBlocks:
    def blocks(progress: ProgressCallback) -> Iterator[tuple[int, NDArray[np.float32]]]:
        return screen.profiles(layer, rows, progress)

    return blocks


def default_layers(screen: FinishedScreen) -> tuple[str, ...]:
    """Return every layer of a screen but the responses."""
    return tuple(name for name in screen.layers if name != RESPONSE)

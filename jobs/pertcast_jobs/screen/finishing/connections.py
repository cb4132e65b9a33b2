"""neighbors.parquet, selectivity.parquet and dose_response.parquet: what profiles of one screen say together.

Each is computed in blocks of profiles read back from the screen and written as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.neighbors import NeighborBlock, neighbor_blocks, write_neighbors
from pertcast.analysis.screened_doses import stream_screened_doses
from pertcast.analysis.selectivity import PERTURBATION_COLUMNS, Selectivity
from pertcast.screens.files import DOSES, NEIGHBORS, SELECTIVITY
from pertcast.screens.profile_read import ProfileRead
from pertcast.screens.sig_info import SigInfo

from pertcast_jobs.screen.workspace import Workspace, write_blocks

_CURVE: Final = ("pert_id", "cmap_name", "pert_type", "cell_iname", "pert_time")

_MEMORY_BYTES: Final = 32 << 20
"""Unit profiles held at once while neighbours are searched."""

Tell = Callable[[str], None]


def write_screen_neighbors(
    workspace: Workspace, sig_info: SigInfo, read: ProfileRead, per_tail: int, tell: Tell
) -> None:
    """Write the most similar and most opposite perturbations of every condition."""
    stratum = sig_info.codes(["cell_iname", "pert_type"])
    perturbation = sig_info.codes(["pert_id"])

    def told() -> Iterator[NeighborBlock]:
        done = 0
        for block in neighbor_blocks(
            stratum, perturbation, read, per_tail=per_tail, memory_bytes=_MEMORY_BYTES
        ):
            done += len(block.queries)
            tell(f"writing: neighbours of {done:,}")
            yield block

    def names(rows: NDArray[np.int64]) -> pl.Series:
        return sig_info.rows(rows, ["sig_id"])["sig_id"]

    workspace.publish(workspace.path / NEIGHBORS, lambda path: write_neighbors(path, told(), names))


def write_selectivity(workspace: Workspace, sig_info: SigInfo, read: ProfileRead, tell: Tell) -> str | None:
    """Write how selective each perturbation is for a cell line; return why there is nothing, or None."""
    cells, cell = sig_info.categories("cell_iname")
    key = sig_info.codes(list(PERTURBATION_COLUMNS))
    found = Selectivity(sig_info.values("effect_size"), cell, key)
    if found.reason is not None:
        return found.reason
    tell("writing: selectivity")

    def describe(rows: NDArray[np.int64]) -> pl.DataFrame:
        return sig_info.rows(rows, list(PERTURBATION_COLUMNS))

    blocks = found.blocks(read, describe, cells)
    workspace.publish(workspace.path / SELECTIVITY, lambda path: write_blocks(path, blocks))
    return None


def write_doses(workspace: Workspace, sig_info: SigInfo, read: ProfileRead, tell: Tell) -> str | None:
    """Write a dose-response fit of every curve; return why there is nothing to fit, or None."""
    dose = sig_info.values("pert_dose")
    has_dose = np.isfinite(dose) & (dose > 0)
    if len(np.unique(dose[has_dose])) < 2:
        return "No perturbation was predicted at two doses. Give --doses 0.1,0.3,1,3,10 for curves."
    tell("writing: dose response")
    curve = np.where(has_dose, sig_info.codes(list(_CURVE)), -1)
    dose = np.where(has_dose, dose, np.nan)
    blocks = (_described(sig_info, block, list(_CURVE)) for block in stream_screened_doses(curve, dose, read))
    workspace.publish(workspace.path / DOSES, lambda path: write_blocks(path, blocks))
    return None


def _described(sig_info: SigInfo, block: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Put the columns that name a perturbation before what was found of it."""
    names = sig_info.rows(block["first_row"].to_numpy().astype(np.int64), columns)
    return pl.concat([names, block.drop("first_row", "curve", strict=False)], how="horizontal")

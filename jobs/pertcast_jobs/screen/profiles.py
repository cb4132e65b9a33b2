"""The arrays of a screen: predicted responses with their layers, and the rank of every gene.

Preallocated, NaN until written; one shard is one file a layer and has one writer.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import zarr
from numpy.typing import DTypeLike, NDArray
from pertcast.analysis.enrichment import rank_dtype, ranks_of
from pertcast.screens.files import PROFILES, RANK, RANKS
from pertcast_data.store.manifest import ShardRecord
from pertcast_data.store.zarr_layout import create_array, create_dense_group, open_array, write_array_shard
from pertcast_data.vocabulary import Measure

from pertcast_jobs.screen.plan import ScreenPlan
from pertcast_jobs.screen.workspace import Workspace, write_atomically

_LARGEST_HALF: Final = float(np.finfo(np.float16).max)
_ATTRIBUTES: Final = {"encoding-type": "array", "encoding-version": "0.2.0"}


def layers_of(has_sd: bool, measure: Measure) -> tuple[str, ...]:
    """Name the layers of a screen: "sd" where known, "expression" (basal + response) for levels."""
    return (*(("sd",) if has_sd else ()), *(("expression",) if measure == "expression" else ()))


def create_profiles(
    workspace: Workspace, plan: ScreenPlan, genes: tuple[str, ...], layers: tuple[str, ...]
) -> None:
    """Preallocate the profiles (X and the layers, float16) and the ranks (uint16)."""
    root = workspace.profiles
    if workspace.group_metadata.exists():
        return
    for folder in (root, workspace.ranks):
        shutil.rmtree(folder, ignore_errors=True)
    settings = plan.settings
    var = pl.DataFrame({"gene_symbol": genes}, schema={"gene_symbol": pl.String})
    create_dense_group(
        root,
        plan.n_profiles,
        len(genes),
        dtype=np.float16,
        var=var,
        chunk_rows=settings.chunk_rows,
        shard_rows=settings.shard_rows,
    )
    like = open_array(root, "X", mode="r")
    group = zarr.open_group(str(root / "layers"), mode="r+")
    for layer in layers:
        _create_like(group, layer, like, np.float16, float("nan"))
    _create_like(
        zarr.create_group(str(workspace.ranks), zarr_format=3), RANK, like, rank_dtype(len(genes)), 0
    )
    metadata = (root / "zarr.json").read_bytes()
    write_atomically(workspace.group_metadata, lambda path: path.write_bytes(metadata))


def _create_like(
    group: zarr.Group, name: str, like: zarr.Array[Any], dtype: DTypeLike, fill_value: float
) -> None:
    create_array(
        group,
        name,
        shape=like.shape,
        chunks=like.chunks,
        shards=like.shards or like.chunks,
        dtype=dtype,
        codec="none",
        fill_value=fill_value,
        attributes=_ATTRIBUTES,
    )


def write_profiles(
    workspace: Workspace, shard: int, layers: Mapping[str, NDArray[np.float32]], order: NDArray[np.int64]
) -> Iterator[ShardRecord]:
    """Write one shard of every layer ("X" and others by name) and of the ranks; yield what was written.

    Parameters
    ----------
    workspace
        The screen.
    shard
        Number of the shard.
    layers
        (N, G) values of each layer, rounded to float16 here.
    order
        (N, G) genes from highest to lowest.
    """
    for layer, values in layers.items():
        name = layer if layer == "X" else f"layers/{layer}"
        half = np.clip(values, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
        yield _write(workspace.path, PROFILES, name, shard, half)
    yield _write(workspace.path, RANKS, RANK, shard, ranks_of(order))


def _write(screen: Path, group: str, name: str, shard: int, values: NDArray[Any]) -> ShardRecord:
    root = screen / group
    # A file that another write left half done is never merged with.
    (root / name / "c" / str(shard) / "0").unlink(missing_ok=True)
    record = write_array_shard(root, open_array(root, name), name, shard, values)
    return ShardRecord(f"{group}/{record.path}", record.rows, record.bytes, record.crc32)

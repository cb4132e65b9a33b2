"""The Zarr v3 layout of a dataset: an AnnData group whose matrix lies in aligned shards.

One shard is one file and has one writer: an unaligned write would read, change and write a whole shard,
and two writers would lose each other's rows. Stores and screens are both written through this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import BloscCodec

from pertcast_data.errors import SchemaError
from pertcast_data.store.frames import canonical_frame, write_frame
from pertcast_data.store.genes import gene_names
from pertcast_data.store.info import CHUNK_ROWS, SHARD_ROWS, Codec
from pertcast_data.store.manifest import ShardRecord, file_record

_EMPTY_GROUPS: Final = ("layers", "obsm", "obsp", "uns", "varm", "varp")
_BLOSC: Final = MappingProxyType({"train": ("lz4", 3), "archive": ("zstd", 1)})
_LARGEST_SHARD_BYTES: Final = 1 << 28
ZARRS_PIPELINE: Final = MappingProxyType({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
"""Zarr settings under which arrays are opened: chunks are coded by zarrs (Rust) instead of Python."""
ONE_THREAD: Final = MappingProxyType({"threading.max_workers": 1})
"""Under which arrays are written: threads put the chunks of a shard in whatever order they end, so that equal
data would have other bytes and another hash each time."""


def create_dense_group(
    path: Path | str,
    n_rows: int,
    n_genes: int,
    chunk_rows: int = CHUNK_ROWS,
    shard_rows: int = SHARD_ROWS,
    dtype: DTypeLike = np.float32,
    var: pl.DataFrame | None = None,
    obs: pl.DataFrame | None = None,
    *,
    codec: Codec = "none",
    fill_value: float = float("nan"),
) -> None:
    """Create an AnnData group with a preallocated matrix X of `fill_value`.

    Parameters
    ----------
    path
        Where; the folder may exist, but not hold a group.
    n_rows, n_genes
        Shape of X.
    chunk_rows, shard_rows
        Rows of a chunk and of a shard; a shard is a multiple of a chunk and is made no larger than needed.
    dtype
        Type of X: float32, or float16 for screens.
    var, obs
        Genes and observations; either may be written later by `write_obs`.
    codec
        Compression of the chunks.
    fill_value
        What a row that was never written reads as.

    Raises
    ------
    SchemaError
        `obs` or `var` have another number of rows than X has rows or genes.
    """
    root = create_anndata_group(path)
    shard = fitting_shard_rows(n_rows, chunk_rows, shard_rows)
    create_array(
        root,
        "X",
        shape=(n_rows, n_genes),
        chunks=(chunk_rows, n_genes),
        shards=(shard, n_genes),
        dtype=dtype,
        codec=codec,
        fill_value=fill_value,
        attributes={"encoding-type": "array", "encoding-version": "0.2.0"},
    )
    for name, frame, length in (("obs", obs, n_rows), ("var", var, n_genes)):
        if frame is not None and frame.height != length:
            raise SchemaError(f"{name} has {frame.height} rows, X has {length} of them.")
    write_obs(path, obs, var)


def write_dense_shard(path: Path | str, shard_index: int, array: NDArray[Any]) -> ShardRecord:
    """Write one whole shard of X and return its record; safe from several processes for different shards.

    Parameters
    ----------
    path
        A group of `create_dense_group`.
    shard_index
        Which shard, from 0.
    array
        (R, G) values; R is the shard's rows, fewer only for the last shard.

    Raises
    ------
    SchemaError
        `array` does not have the shape of that shard.
    """
    return write_array_shard(Path(path), open_array(path, "X"), "X", shard_index, array)


def write_obs(path: Path | str, obs: pl.DataFrame | None, var: pl.DataFrame | None) -> None:
    """Write observations and genes (either may be None: left as it is) so that AnnData and Polars read them.

    AnnData's index is `sig_id` where it is unique, and the genes' names (`gene_names`); else row numbers.
    """
    root = Path(path)
    if obs is not None:
        table = canonical_frame(obs)
        write_frame(root, "obs", table, _observation_names(table))
    if var is not None:
        table = canonical_frame(var)
        write_frame(root, "var", table, gene_names(table))


def create_anndata_group(path: Path | str) -> zarr.Group:
    """Create the root group and AnnData's empty parts."""
    root = zarr.create_group(
        str(path),
        zarr_format=3,
        attributes={"encoding-type": "anndata", "encoding-version": "0.1.0"},
    )
    for name in _EMPTY_GROUPS:
        root.create_group(name, attributes={"encoding-type": "dict", "encoding-version": "0.1.0"})
    return root


def create_array(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    shards: tuple[int, ...],
    dtype: DTypeLike,
    codec: Codec,
    fill_value: float = 0,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Create a sharded array in `group`."""
    group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        shards=shards,
        dtype=np.dtype(dtype),
        compressors=_compressor(codec, np.dtype(dtype).itemsize),
        fill_value=fill_value,
        attributes=dict(attributes or {}),
    )


def open_array(path: Path | str, name: str, mode: str = "r+") -> zarr.Array[Any]:
    """Open an array of a dataset so that its chunks are coded by zarrs."""
    settings = ZARRS_PIPELINE if mode == "r" else ZARRS_PIPELINE | ONE_THREAD
    with zarr.config.set(dict(settings)):
        return zarr.open_array(str(Path(path) / name), mode=mode)  # type: ignore[arg-type]


def write_array_shard(
    root: Path, array: zarr.Array[Any], name: str, shard_index: int, values: NDArray[Any]
) -> ShardRecord:
    """Write one whole shard of the array `name` and return its record."""
    shards = array.shards
    if shards is None:
        raise SchemaError(f"{root / name} is not sharded; create it with create_dense_group.")
    start = shard_index * shards[0]
    expected = (min(shards[0], array.shape[0] - start), *array.shape[1:])
    if values.shape != expected:
        raise SchemaError(f"Shard {shard_index} of {root / name} has shape {expected}, got {values.shape}.")
    array[start : start + expected[0]] = np.ascontiguousarray(values, dtype=array.dtype)
    coordinates = "/".join([str(shard_index), *("0" for _ in array.shape[1:])])
    return file_record(root, f"{name}/c/{coordinates}", rows=expected[0])


def fitting_shard_rows(n_rows: int, chunk_rows: int, shard_rows: int, row_bytes: int = 0) -> int:
    """Return the rows of a shard: a multiple of a chunk, no larger than the data need.

    `row_bytes` limits a shard to 256 MB: it is assembled in memory.
    """
    if shard_rows % chunk_rows:
        raise SchemaError(f"A shard ({shard_rows} rows) must be a multiple of a chunk ({chunk_rows} rows).")
    chunks = min(shard_rows, max(n_rows, 1) + chunk_rows - 1) // chunk_rows
    if row_bytes:
        chunks = min(chunks, max(1, _LARGEST_SHARD_BYTES // (row_bytes * chunk_rows)))
    return max(chunks, 1) * chunk_rows


def _compressor(codec: Codec, itemsize: int) -> BloscCodec | None:
    if codec == "none":
        return None
    name, level = _BLOSC[codec]
    return BloscCodec(cname=name, clevel=level, shuffle="shuffle", typesize=itemsize)  # type: ignore[arg-type]


def _observation_names(frame: pl.DataFrame) -> list[str]:
    if "sig_id" in frame.columns:
        names = frame["sig_id"].cast(pl.String)
        if names.null_count() == 0 and names.n_unique() == frame.height:
            return list(names)
    return [str(row) for row in range(frame.height)]

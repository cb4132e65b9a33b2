"""Many slices of sharded arrays in one call: Zarr's own indexing would take them one after another.

The slices of all arrays go to the codec pipeline together, which reads and decodes their chunks in parallel
straight into the caller's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import NDBuffer, default_buffer_prototype
from zarr.core.sync import sync


@dataclass(frozen=True, slots=True)
class SliceRequest:
    """Slices of one array along its first axis, and where they go.

    Attributes
    ----------
    array
        Opened by `open_array`.
    starts, lengths
        (S,) int64, the slices.
    out
        Memory of the array's type and trailing shape.
    places
        (S,) int64, where in `out` each slice begins.
    """

    array: zarr.Array[Any]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    out: NDArray[Any]
    places: NDArray[np.int64]


def fetch_slices(requests: Sequence[SliceRequest]) -> None:
    """Read every slice of every request into its place."""
    wanted = [request for request in requests if request.lengths.sum() > 0]
    if wanted:
        sync(_fetch(wanted))


async def _fetch(requests: Sequence[SliceRequest]) -> None:
    await asyncio.gather(*(_read(request) for request in requests))


async def _read(request: SliceRequest) -> None:
    array = request.array.async_array
    metadata = array.metadata
    prototype = default_buffer_prototype()
    trailing = tuple(slice(0, length) for length in request.out.shape[1:])
    zeros = (0,) * len(trailing)
    shard_length = (request.array.shards or request.array.chunks)[0]
    spec = metadata.get_chunk_spec((0, *zeros), array.config, prototype)
    pieces = _within_shards(request, shard_length)
    files = {shard: array.store_path / metadata.encode_chunk_key((shard, *zeros)) for shard, *_ in pieces}
    batch = [
        (
            files[shard],
            spec,
            (slice(start, start + length), *trailing),
            (slice(place, place + length), *trailing),
            False,
        )
        for shard, start, length, place in pieces
    ]
    buffer: NDBuffer = prototype.nd_buffer.from_numpy_array(request.out)
    await array.codec_pipeline.read(batch, buffer, drop_axes=())


def _within_shards(request: SliceRequest, shard_length: int) -> list[tuple[int, int, int, int]]:
    """Cut the slices at shard borders: (shard, start within it, length, place)."""
    pieces = []
    columns = (request.starts.tolist(), request.lengths.tolist(), request.places.tolist())
    for start, length, place in zip(*columns, strict=True):
        while length > 0:
            shard, offset = divmod(start, shard_length)
            part = min(length, shard_length - offset)
            pieces.append((shard, offset, part, place))
            start, length, place = start + part, length - part, place + part
    return pieces

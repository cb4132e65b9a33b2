"""One hash for the content of a store: its shards, its observations and its genes.

Splits and bundles carry it, so that a model is never scored on rows other than those it was split on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

from pertcast_data.store.manifest import ShardRecord

_SEPARATOR = "\x1f"
_NULL = "\x00"


def content_hash(records: Sequence[ShardRecord], obs: pl.DataFrame, genes: Sequence[str]) -> str:
    """Return 32 hexadecimal digits over the shards' checksums, every column of `obs` and the genes' names."""
    digest = hashlib.blake2b(digest_size=16)
    for record in sorted(records, key=lambda item: item.path):
        digest.update(f"{record.path} {record.rows} {record.bytes} {record.crc32}\n".encode())
    digest.update(_SEPARATOR.join(genes).encode())
    for series in obs:
        digest.update(f"\n{series.name} {_kind(series.dtype)} {len(series)}\n".encode())
        digest.update(_column_bytes(series))
    return digest.hexdigest()


def _kind(dtype: pl.DataType) -> str:
    return "text" if dtype in (pl.String, pl.Enum) else str(dtype)


def _column_bytes(series: pl.Series) -> bytes:
    if series.dtype in (pl.String, pl.Enum):
        joined = series.cast(pl.String).fill_null(_NULL).str.join(_SEPARATOR).to_list()
        return "".join(joined).encode()
    missing = series.is_null().to_numpy().tobytes()
    filled = series.fill_null(False) if series.dtype == pl.Boolean else series.fill_null(0)
    return missing + filled.to_numpy().tobytes()

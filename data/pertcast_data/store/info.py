"""Facts of a store that every reader needs before it touches a row.

They live in the manifest, so that they are committed together with the bytes they describe.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.vocabulary import Measure, Normalisation

Layout = Literal["csr", "dense"]
Codec = Literal["none", "train", "archive"]

SCHEMA_VERSION: Final = 1
CHUNK_ROWS: Final = 64
SHARD_ROWS: Final = 16_384


class StoreInfo(BaseModel):
    """What a store is.

    Attributes
    ----------
    measure
        "expression" (levels, has controls) or "response" (already relative).
    normalisation
        What the stored values are. "counts" are divided by their row's sum, times 1e4, log1p, when read
        densely; everything else is read as stored.
    layout
        "csr" (sparse counts) or "dense" (float32).
    codec
        "none", "train" (lz4) or "archive" (zstd).
    n_rows, n_genes, n_values
        Rows, genes and stored values (non-zeros for "csr").
    chunk_rows, shard_rows
        Rows of a chunk (the smallest read) and of a shard (one file); for "csr" about that many rows.
    data_hash
        Hash of the values, the observations and the genes; it stands in splits and bundles.
    seed
        Seed of the shuffle within each condition.
    sources
        Names of the files the rows came from.
    preprocessing
        What was done to the values before, as declared.
    schema_version
        Version of this layout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Measure
    normalisation: Normalisation
    layout: Layout
    codec: Codec
    n_rows: int
    n_genes: int
    n_values: int
    chunk_rows: int
    shard_rows: int
    data_hash: str
    seed: int
    sources: tuple[str, ...] = ()
    preprocessing: tuple[PreprocessingStep, ...] = ()
    schema_version: int = SCHEMA_VERSION

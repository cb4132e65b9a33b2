"""A store as one wide Parquet table: a row a profile, its columns, then a column a gene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pertcast_data.errors import SchemaError
from pertcast_data.export.ordering import value_blocks, value_type
from pertcast_data.export.rows import ExportRows
from pertcast_data.progress import ProgressCallback
from pertcast_data.store import ExpressionStore

ROW_NAME = "row_id"


def write_parquet(
    store: ExpressionStore, rows: ExportRows, file: Path, name: str, progress: ProgressCallback
) -> None:
    """Write a store as Parquet, a row group for each block of about 32 MiB.

    The first column is `row_id`, the names of genes are those of the store (with `as_source` of the source).
    The file's metadata say measure, normalisation and data hash under "pertcast.".

    Raises
    ------
    SchemaError
        A gene bears the name of a column.
    """
    obs = _observations(store, rows)
    reader = store.reader("auto")
    number = pa.from_numpy_dtype(value_type(reader))
    fields = [*obs.to_arrow().schema, *(pa.field(gene, number) for gene in rows.gene_names)]
    facts = {fact: str(getattr(store.info, fact)) for fact in ("measure", "normalisation", "data_hash")}
    schema = pa.schema(fields, metadata={f"pertcast.{fact}": value for fact, value in facts.items()})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start, values in value_blocks(store, reader, rows.order, progress):
            columns = _by_gene(values)
            described = obs[start : start + columns.shape[1]].to_arrow().columns
            arrays = [*described, *(pa.array(column, type=number) for column in columns)]
            writer.write_table(pa.table(arrays, schema=schema))


def _observations(store: ExpressionStore, rows: ExportRows) -> pl.DataFrame:
    texts = rows.obs.with_columns(pl.col(pl.Enum).cast(pl.String))
    obs = texts.with_columns(pl.Series(ROW_NAME, rows.row_names, dtype=pl.String)).select(
        ROW_NAME, *(name for name in texts.columns if name != ROW_NAME)
    )
    clashes = sorted({*obs.columns} & {*rows.gene_names})
    if clashes:
        raise SchemaError(
            f"{store.path}: {clashes[0]!r} is both a gene and a column of the profiles, which a wide table "
            "cannot hold. Export as .h5ad, or rename the column at the ingest."
        )
    return obs


def _by_gene(values: Any) -> Any:
    """Return (G, M): the values of each gene, contiguous."""
    dense = values.toarray() if hasattr(values, "toarray") else values
    return dense.T.copy()

"""A store as an .h5ad file, written block by block: sparse stays CSR, text becomes categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem, write_elem

from pertcast_data.errors import CorruptStore
from pertcast_data.export.content import ExportContent, ValueBlocks
from pertcast_data.export.h5ad_table import write_h5ad_table
from pertcast_data.export.ordering import value_blocks, value_type
from pertcast_data.export.rows import ExportRows
from pertcast_data.progress import ProgressCallback
from pertcast_data.store import ExpressionStore, RowReader

_EMPTY: Final = ("layers", "obsm", "obsp", "varm", "varp")
_CHUNK_VALUES: Final = 1 << 16


def write_h5ad(
    store: ExpressionStore, rows: ExportRows, file: Path, name: str, progress: ProgressCallback
) -> None:
    """Write a store as AnnData's .h5ad, in bounded memory.

    X holds the values as stored (counts raw), float32, or float64 where float32 cannot hold them exactly.
    `uns["pertcast"]` says measure, normalisation and data hash. Missing text and numbers stay missing.
    """
    reader = store.reader("auto")
    with h5py.File(file, "w") as root:
        root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write = _write_csr if store.info.layout == "csr" else _write_dense
        write(root, store, reader, rows, progress)
        _write_tables(root, store, rows)


def write_h5ad_content(content: ExportContent, file: Path, name: str, progress: ProgressCallback) -> None:
    """Write dense profiles with their layers as AnnData's .h5ad, block by block.

    `uns["pertcast"]` holds `content.facts`. For tables see `write_h5ad_table`.
    """
    matrices = {
        "X": content.values,
        **{f"layers/{layer}": blocks for layer, blocks in content.layers.items()},
    }
    with h5py.File(file, "w") as root:
        root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for key in _EMPTY:
            write_elem(root, key, {})
        for number, (key, blocks) in enumerate(matrices.items()):
            tell = _share_of(progress, number, len(matrices))
            _write_matrix(root, key, content.shape, content.dtype, blocks, tell)
        write_h5ad_table(root, "obs", content.obs)
        write_h5ad_table(root, "var", content.var)
        write_elem(root, "uns", {"pertcast": dict(content.facts)})


def _share_of(progress: ProgressCallback, number: int, count: int) -> ProgressCallback:
    """Return a progress of one of `count` matrices of the same size that are told as one."""
    return lambda done, total, note="": progress(number * total + done, count * total, note)


def _write_dense(
    file: Any, store: ExpressionStore, reader: RowReader, rows: ExportRows, progress: ProgressCallback
) -> None:
    blocks: ValueBlocks = lambda tell: value_blocks(store, reader, rows.order, tell)  # noqa: E731
    _write_matrix(file, "X", (store.n_rows, store.n_genes), value_type(reader), blocks, progress)


def _write_matrix(
    file: Any,
    name: str,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    blocks: ValueBlocks,
    progress: ProgressCallback,
) -> None:
    matrix = file.create_dataset(name, shape=shape, dtype=dtype)
    matrix.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for start, values in blocks(progress):
        matrix[start : start + len(values)] = values


def _write_csr(
    file: Any, store: ExpressionStore, reader: RowReader, rows: ExportRows, progress: ProgressCallback
) -> None:
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.array([store.n_rows, store.n_genes], dtype=np.int64)
    n_values = store.info.n_values
    packed: dict[str, Any] = {"shape": (n_values,)}
    if n_values:
        packed |= {"chunks": (min(_CHUNK_VALUES, n_values),), "compression": "gzip", "shuffle": True}
        packed["compression_opts"] = 1
    data = group.create_dataset("data", dtype=value_type(reader), **packed)
    indices = group.create_dataset("indices", dtype=np.int32, **packed)
    indptr = np.zeros(store.n_rows + 1, dtype=np.int64)
    for start, values in value_blocks(store, reader, rows.order, progress):
        first = int(indptr[start])
        indptr[start + 1 : start + 1 + values.shape[0]] = first + values.indptr[1:]
        last = first + len(values.data)
        if last > n_values:
            break
        data[first:last] = values.data
        indices[first:last] = values.indices
    if int(indptr[-1]) != n_values:
        raise CorruptStore(
            f"{store.path} holds other than the {n_values} values that its manifest states. Run "
            "`data validate`."
        )
    group.create_dataset("indptr", data=indptr)


def _write_tables(file: Any, store: ExpressionStore, rows: ExportRows) -> None:
    group: Any = zarr.open_group(str(store.path), mode="r")
    stored: dict[str, pd.DataFrame] = {name: read_elem(group[name]) for name in ("obs", "var")}
    obs = _table(stored["obs"].iloc[rows.order], rows.obs_columns, rows.row_names)
    var = _table(stored["var"], rows.var_columns, rows.gene_names)
    facts = {name: getattr(store.info, name) for name in ("measure", "normalisation", "data_hash")}
    with anndata.settings.override(allow_write_nullable_strings=True):
        write_elem(file, "obs", obs)
        write_elem(file, "var", var)
        write_elem(file, "uns", {"pertcast": facts})
        for name in _EMPTY:
            write_elem(file, name, {})


def _table(frame: pd.DataFrame, columns: dict[str, str], names: list[str]) -> pd.DataFrame:
    table = frame[list(columns)].rename(columns=columns)
    table.index = pd.Index(names, dtype=object)
    return table

"""Drafts written in every format that an ingest reads, however wrong they are.

HDF5 and Zarr are made of a tree of arrays, so that the tree can be damaged before it is written.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as parquet
import zarr
from malformed_drafts import Draft
from scipy import sparse


@dataclass
class Tree:
    """Arrays by path, and attributes of groups and arrays by path ("" is the root)."""

    arrays: dict[str, Any] = field(default_factory=dict)
    attrs: dict[str, dict[str, Any]] = field(default_factory=dict)


def array_of(values: list[Any]) -> Any:
    """Return a column as a file keeps it: numbers, truth values, or text (as bytes where it is no UTF-8)."""
    kinds = {type(value) for value in values}
    if values and kinds <= {bool}:
        return np.array(values, bool)
    if (
        values
        and kinds <= {int, float}
        and all(abs(value) < 2**63 or isinstance(value, float) for value in values)
    ):
        return np.array(values)
    if values and kinds <= {complex}:
        return np.array(values)
    return np.array(
        [value if isinstance(value, bytes) else "" if value is None else str(value) for value in values],
        object,
    )


def _safe(name: Any) -> str:
    return str(name).replace("\0", "0")


def _put_table(
    tree: Tree, key: str, ids: list[Any], columns: list[tuple[Any, list[Any]]], categorical: set[str]
) -> None:
    tree.arrays[f"{key}/_index"] = array_of(ids)
    order = [_safe(name) for name, _ in columns]
    tree.attrs[key] = {
        "_index": "_index",
        "column-order": order,
        "encoding-type": "dataframe",
        "encoding-version": "0.2.0",
    }
    for name, values in columns:
        place = f"{key}/{_safe(name)}"
        if name in categorical:
            known = list(dict.fromkeys(str(value) for value in values if value is not None))
            codes = [-1 if value is None else known.index(str(value)) for value in values]
            tree.arrays[f"{place}/codes"] = np.array(codes, np.int8)
            tree.arrays[f"{place}/categories"] = array_of([*known])
            tree.attrs[place] = {
                "encoding-type": "categorical",
                "encoding-version": "0.2.0",
                "ordered": False,
            }
        else:
            tree.arrays[place] = array_of(values)


def _compressed(values: Any, form: str) -> Any:
    """Return a compressed matrix; of numbers that SciPy has no matrices of, one with all entries."""
    if values.dtype.kind in "biuf" and values.dtype.itemsize in (1, 4, 8):
        matrix = sparse.csr_matrix(values.astype(values.dtype.newbyteorder("=")))
        return matrix if form == "csr" else sparse.csc_matrix(matrix)
    full = sparse.csr_matrix(np.ones(values.shape, np.float32))
    matrix = full if form == "csr" else sparse.csc_matrix(full)
    entries = np.asarray(values).ravel("C" if form == "csr" else "F")
    parts = SimpleNamespace(data=entries, indices=matrix.indices, indptr=matrix.indptr)
    return parts


def _put_sparse(tree: Tree, key: str, values: Any, form: str) -> None:
    matrix = _compressed(values, form)
    for name in ("data", "indices", "indptr"):
        tree.arrays[f"{key}/{name}"] = getattr(matrix, name)
    tree.attrs[key] = {
        "encoding-type": f"{form}_matrix",
        "encoding-version": "0.1.0",
        "shape": list(values.shape),
    }


def anndata_tree(draft: Draft, form: str) -> Tree:
    """Return AnnData as newer versions write it; `form` is dense, csr or csc."""
    tree = Tree(attrs={"": {"encoding-type": "anndata", "encoding-version": "0.1.0"}})
    if form == "dense":
        tree.arrays["X"] = draft.values
        tree.attrs["X"] = {"encoding-type": "array", "encoding-version": "0.2.0"}
    else:
        _put_sparse(tree, "X", draft.values, form)
    _put_table(tree, "obs", draft.ids, draft.obs, draft.categorical)
    _put_table(tree, "var", draft.genes, draft.var, set())
    return tree


def old_anndata_tree(draft: Draft, form: str) -> Tree:
    """Return AnnData as versions before 0.7 wrote it: obs and var as compound arrays."""
    tree = Tree(arrays={"X": draft.values})
    for key, ids, columns in (("obs", draft.ids, draft.obs), ("var", draft.genes, draft.var)):
        named = {"index": ids, **{_safe(name) or "empty": values for name, values in columns}}
        parts = {}
        for name, values in named.items():
            column = array_of(list(values))
            if column.dtype == object:
                column = np.array(
                    [item if isinstance(item, bytes) else item.encode() for item in column], "S"
                )
            parts[name[:200]] = column if column.dtype.itemsize else column.astype("S1")
        length = max((len(column) for column in parts.values()), default=0)
        table = np.zeros(length, [(name, column.dtype) for name, column in parts.items()])
        for name, column in parts.items():
            table[name][: len(column)] = column
        tree.arrays[key] = table
    return tree


def gctx_tree(draft: Draft, form: str) -> Tree:
    """Return a GCTX file."""
    tree = Tree(arrays={"0/DATA/0/matrix": draft.values}, attrs={"": {"version": "GCTX1.0"}})
    for key, ids, columns in (("0/META/COL", draft.ids, draft.obs), ("0/META/ROW", draft.genes, draft.var)):
        for name, values in (*columns, ("id", ids)):
            tree.arrays[f"{key}/{_safe(name)}"] = array_of(values)
    return tree


def tenx_tree(draft: Draft, form: str) -> Tree:
    """Return the HDF5 of CellRanger; `form` is v2 or v3."""
    tree = Tree()
    key = "matrix" if form == "v3" else "GRCh38"
    genes = {"features/id": draft.genes, "features/name": dict(draft.var).get("gene_symbol", draft.genes)}
    if form == "v3":
        genes["features/feature_type"] = ["Gene Expression"] * len(draft.genes)
    else:
        genes = {"genes": draft.genes, "gene_names": genes["features/name"]}
    _put_sparse(tree, key, draft.values, "csr")
    tree.arrays[f"{key}/shape"] = np.array(draft.values.shape[::-1], np.int32)
    for name, values in (*genes.items(), ("barcodes", draft.ids)):
        tree.arrays[f"{key}/{name}"] = array_of(values)
    tree.attrs = {}
    return tree


def _without_clashes(tree: Tree) -> dict[str, Any]:
    """Leave out arrays that lie below other arrays: no file can hold both."""
    clean = {
        "/".join(part for part in path.split("/") if part not in ("", ".")): item
        for path, item in tree.arrays.items()
    }
    clean.pop("", None)
    above = {"/".join(path.split("/")[:depth]) for path in clean for depth in range(1, path.count("/") + 1)}
    return {path: item for path, item in clean.items() if path not in above}


def write_hdf5(tree: Tree, path: Path) -> None:
    """Write a tree as HDF5; values that are callables make what stands there (links, references)."""
    with h5py.File(path, "w") as file:
        for place, item in _without_clashes(tree).items():
            if callable(item):
                item(file, place)
                continue
            if item.dtype == object:
                texts = [text if isinstance(text, bytes) else str(text).encode() for text in item.ravel()]
                # HDF5's strings end at a null character.
                item = np.array([text.replace(b"\0", b"0") for text in texts], object).reshape(item.shape)
                file.create_dataset(place, data=item, dtype=h5py.string_dtype())
            elif item.dtype.kind == "M":
                file[place] = item.astype("i8")
            else:
                file[place] = item
        for place, attrs in tree.attrs.items():
            if (place or "/") in file:
                _set_attrs(file[place or "/"], attrs)


def _set_attrs(node: Any, attrs: dict[str, Any]) -> None:
    for name, value in attrs.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            if sum(map(len, value)) < 40_000:
                node.attrs[name] = np.array(value, h5py.string_dtype())
        else:
            node.attrs[name] = value


def _is_no_folder(place: str) -> bool:
    return any(
        len(part) > 200 or part in ("", ".", "..") or part.startswith((".z", "__"))
        for part in place.split("/")
    )


def write_zarr(tree: Tree, path: Path, version: int) -> None:
    """Write a tree as a Zarr folder; names that no folder can have are left out."""
    root = zarr.open_group(path, mode="w", zarr_format=version)
    groups = {place for place in tree.attrs if place}
    for place, item in _without_clashes(tree).items():
        if callable(item) or _is_no_folder(place):
            continue
        if item.dtype == object:
            texts = [
                text.decode("latin-1") if isinstance(text, bytes) else str(text) for text in item.ravel()
            ]
            item = np.array(texts, np.dtypes.StringDType()).reshape(item.shape)
        elif item.dtype.kind not in "biuf" or item.dtype.itemsize > 8:
            item = np.zeros(item.shape, np.float32)
        root.create_array(place, data=item, chunks=tuple(max(size, 1) for size in item.shape))
    for place in sorted(groups):
        if _is_no_folder(place):
            continue
        if place not in root:
            root.require_group(place)
        root[place].attrs.update(tree.attrs[place])
    root.attrs.update(tree.attrs.get("", {}))


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return "" if value is None else str(value)


def _rows(values: Any) -> list[list[str]]:
    return [[_shown(item) for item in row] for row in np.atleast_2d(values).tolist()]


def _text(lines: list[list[Any]], separator: str) -> bytes:
    joined = "\n".join(separator.join(_shown(field) for field in line) for line in lines) + "\n"
    return joined.encode("utf-8", "surrogateescape" if "\ud7ff" not in joined else "replace")


def gct_text(draft: Draft, form: str) -> bytes:
    """Return GCT of version 1.2 or 1.3."""
    rows = _rows(np.asarray(draft.values).T)
    if form == "1.2":
        head: list[list[Any]] = [["#1.2"], [len(rows), len(draft.ids)], ["Name", "Description", *draft.ids]]
        symbols = dict(draft.var).get("gene_symbol", draft.genes)
        return _text(
            [
                *head,
                *(
                    [gene, symbol, *row]
                    for gene, symbol, row in zip_longest(draft.genes, symbols, rows, fillvalue=[])
                ),
            ],
            "\t",
        )
    head = [
        ["#1.3"],
        [len(rows), len(draft.ids), len(draft.var), len(draft.obs)],
        ["id", *(name for name, _ in draft.var), *draft.ids],
    ]
    notes = [[name, *(["na"] * len(draft.var)), *values] for name, values in draft.obs]
    lines = [
        [gene, *(_at(values, place) for _, values in draft.var), *row]
        for place, (gene, row) in enumerate(zip_longest(draft.genes, rows, fillvalue=[]))
    ]
    return _text([*head, *notes, *lines], "\t")


def _at(values: list[Any], place: int) -> Any:
    return values[place] if place < len(values) else ""


def delimited_text(draft: Draft, form: str) -> bytes:
    """Return a text matrix: "profiles" or "genes" as lines, "," or a tab between fields."""
    orientation, separator = form.split()
    mark = {"comma": ",", "tab": "\t", "semicolon": ";"}[separator]
    rows = _rows(draft.values if orientation == "profiles" else np.asarray(draft.values).T)
    if orientation == "profiles":
        header = ["sig_id", *(name for name, _ in draft.obs), *draft.genes]
        lines = [
            [name, *(_at(values, place) for _, values in draft.obs), *row]
            for place, (name, row) in enumerate(zip_longest(draft.ids, rows, fillvalue=[]))
        ]
    else:
        header = ["gene_id", *(name for name, _ in draft.var), *draft.ids]
        lines = [
            [name, *(_at(values, place) for _, values in draft.var), *row]
            for place, (name, row) in enumerate(zip_longest(draft.genes, rows, fillvalue=[]))
        ]
    return _text([header, *lines], mark)


def mtx_parts(draft: Draft, form: str) -> dict[str, bytes]:
    """Return the files of a Matrix Market folder, by name; `form` is v2 or v3."""
    values = np.asarray(draft.values)
    n_rows, n_genes = values.shape
    values = values.tolist()
    entries = [(row, column) for row in range(n_rows) for column in range(n_genes)]
    lines = [f"{column + 1} {row + 1} {_shown(values[row][column])}" for row, column in entries]
    head = f"%%MatrixMarket matrix coordinate real general\n{n_genes} {n_rows} {len(lines)}\n"
    matrix = (head + "\n".join(lines) + "\n").encode("utf-8", "replace")
    symbols = dict(draft.var).get("gene_symbol", draft.genes)
    kinds = ["Gene Expression"] * len(draft.genes)
    genes = [
        [gene, symbol, *([kind] if form == "v3" else [])]
        for gene, symbol, kind in zip(draft.genes, symbols, kinds, strict=False)
    ]
    parts = {"matrix.mtx": matrix, "barcodes.tsv": _text([[name] for name in draft.ids], "\t")}
    parts["features.tsv" if form == "v3" else "genes.tsv"] = _text(genes, "\t")
    return {f"{name}.gz": gzip.compress(text) for name, text in parts.items()} if form == "v3" else parts


def arrow_column(values: list[Any]) -> Any:
    """Return a column as Arrow keeps it; mixed ones as text."""
    try:
        return pa.array(values)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.array(["" if value is None else repr(value) for value in values])


def _fitted(values: list[Any], length: int) -> list[Any]:
    return [*values, *([None] * length)][:length]


def arrow_table(draft: Draft, form: str) -> Any:
    """Return a table of Arrow: "wide", "long" or "vectors"."""
    values = np.atleast_2d(np.asarray(draft.values))
    n_rows = len(draft.ids)
    cells = [list(row) for row in values.tolist()]
    names = ["sig_id", *(_shown(name) for name, _ in draft.obs)]
    columns = [_fitted(draft.ids, n_rows), *(_fitted(column, n_rows) for _, column in draft.obs)]
    if form == "wide":
        genes = [[_at(row, place) for row in cells] for place in range(values.shape[1])]
        names += [_shown(_at(draft.genes, place)) for place in range(len(genes))]
        columns += [_fitted(column, n_rows) for column in genes]
    elif form == "vectors":
        names, columns = [*names, "embedding"], [*columns, _fitted(cells, n_rows)]
    else:
        pairs = [
            (row, gene)
            for row in range(min(n_rows, len(cells)))
            for gene in range(min(len(draft.genes), values.shape[1]))
        ]
        columns = [[column[row] for row, _ in pairs] for column in columns]
        names, columns = (
            [*names, "gene", "value"],
            [*columns, [draft.genes[gene] for _, gene in pairs], [cells[row][gene] for row, gene in pairs]],
        )
    names = [name.encode("utf-8", "replace").decode() for name in names]
    table = pa.Table.from_arrays([arrow_column(column) for column in columns], names=names)
    return (
        table.replace_schema_metadata({"genes": json.dumps([_shown(gene) for gene in draft.genes])})
        if form == "vectors"
        else table
    )


def write_arrow(table: Any, path: Path, kind: str) -> None:
    """Write a table as "parquet", "feather" or "arrow"."""
    if kind == "parquet":
        parquet.write_table(table, path)
    elif kind == "feather":
        feather.write_feather(table, str(path))
    else:
        with ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)


TREES: Mapping[str, tuple[Callable[[Draft, str], Tree], str, str]] = {
    "h5ad csr": (anndata_tree, "csr", "hdf5"),
    "h5ad csc": (anndata_tree, "csc", "hdf5"),
    "h5ad dense": (anndata_tree, "dense", "hdf5"),
    "h5ad old": (old_anndata_tree, "", "hdf5"),
    "zarr v2": (anndata_tree, "csr", "zarr2"),
    "zarr v3": (anndata_tree, "dense", "zarr3"),
    "10x h5 v3": (tenx_tree, "v3", "hdf5"),
    "10x h5 v2": (tenx_tree, "v2", "hdf5"),
    "gctx": (gctx_tree, "", "hdf5"),
}
TEXTS: Mapping[str, tuple[Callable[[Draft, str], bytes], str, bool]] = {
    "gct 1.3": (gct_text, "1.3", False),
    "gct 1.2": (gct_text, "1.2", False),
    "csv": (delimited_text, "profiles comma", False),
    "tsv of genes": (delimited_text, "genes tab", False),
    "csv.gz": (delimited_text, "profiles semicolon", True),
}
ARROWS: Mapping[str, tuple[str, str]] = {
    "parquet wide": ("wide", "parquet"),
    "parquet long": ("long", "parquet"),
    "arrow wide": ("wide", "arrow"),
    "feather vectors": ("vectors", "feather"),
}
FOLDERS = {"mtx v2": "v2", "mtx v3": "v3"}
FORMATS = (*TREES, *TEXTS, *ARROWS, *FOLDERS)
WITHOUT_OBS = ("10x h5 v3", "10x h5 v2", "gct 1.2", "tsv of genes", "mtx v2", "mtx v3")
COUNTS = ("10x h5 v3", "10x h5 v2", "mtx v2", "mtx v3", "h5ad csr", "h5ad csc", "zarr v2")

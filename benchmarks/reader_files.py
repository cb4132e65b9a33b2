"""The files that the readers are measured with: one matrix in eleven formats.

Counts where the format is sparse, intensities with four decimals where it is dense.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILES = {
    "h5ad-csr": "source_csr.h5ad",
    "h5ad-csc": "source_csc.h5ad",
    "h5ad-dense": "source_dense.h5ad",
    "zarr-csr": "source.zarr",
    "10x-h5": "source_10x.h5",
    "mtx-gz": "source_10x",
    "gctx": "source.gctx",
    "gct": "source.gct",
    "csv-profiles": "profiles.csv",
    "csv-genes": "genes.csv",
    "parquet": "source.parquet",
}


def gene_names(n_genes: int) -> list[str]:
    return [f"ENSG{number:011d}" for number in range(n_genes)]


def cell_names(n_rows: int) -> list[str]:
    return [f"cell{number}" for number in range(n_rows)]


def generate(folder: Path, n_rows: int, n_genes: int, filled: float, names: list[str]) -> None:
    """Write the matrix in each format that is asked for, from a fixed seed."""
    import numpy as np
    import scipy.sparse as sparse

    rng = np.random.default_rng(0)
    row, gene = np.nonzero(rng.random((n_rows, n_genes), dtype=np.float32) < filled)
    values = rng.geometric(0.4, len(row)).astype(np.float32)
    counts = sparse.csr_matrix((values, (row, gene)), shape=(n_rows, n_genes))
    intensities = (8 + rng.standard_normal((n_rows, n_genes), np.float32)).round(4)
    writers: dict[str, Callable[[Path], None]] = {
        "h5ad-csr": lambda path: write_anndata(path, counts),
        "h5ad-csc": lambda path: write_anndata(path, counts.tocsc()),
        "h5ad-dense": lambda path: write_anndata(path, intensities),
        "zarr-csr": lambda path: write_anndata(path, counts),
        "10x-h5": lambda path: write_10x(path, counts),
        "mtx-gz": lambda path: write_matrix_market(path, counts),
        "gctx": lambda path: write_gctx(path, intensities),
        "gct": lambda path: write_text(path, intensities.T, "\t"),
        "csv-profiles": lambda path: write_text(path, intensities, ","),
        "csv-genes": lambda path: write_text(path, intensities.T, ","),
        "parquet": lambda path: write_parquet(path, intensities),
    }
    for name in names:
        path = folder / FILES[name]
        if not path.exists():
            writers[name](path)


def write_anndata(path: Path, matrix: Any) -> None:
    import anndata
    import pandas as pd

    obs = pd.DataFrame(index=cell_names(matrix.shape[0]))
    data = anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=gene_names(matrix.shape[1])))
    if path.suffix == ".zarr":
        with anndata.settings.override(zarr_write_format=3):
            data.write_zarr(path)
    else:
        data.write_h5ad(path)


def write_10x(path: Path, counts: Any) -> None:
    """Write as CellRanger 3 and later do: features x barcodes by column, gzip."""
    import h5py
    import numpy as np

    genes = np.array(gene_names(counts.shape[1]), "S")
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        packed = {"compression": "gzip", "compression_opts": 4, "chunks": (80_000,)}
        for name, values in (("data", counts.data.astype("i4")), ("indices", counts.indices.astype("i8"))):
            matrix.create_dataset(name, data=values, maxshape=(None,), **packed)
        matrix.create_dataset("indptr", data=counts.indptr.astype("i8"))
        matrix.create_dataset("shape", data=np.array(counts.shape[::-1], "i4"))
        matrix.create_dataset("barcodes", data=np.array(cell_names(counts.shape[0]), "S"))
        kinds = np.full(len(genes), b"Gene Expression")
        for name, texts in {"id": genes, "name": genes, "feature_type": kinds}.items():
            matrix.create_dataset(f"features/{name}", data=texts)


def write_matrix_market(folder: Path, counts: Any) -> None:
    import numpy as np
    import polars as pl

    folder.mkdir()
    entries = counts.tocoo()
    columns = {"gene": entries.col + 1, "cell": entries.row + 1, "count": entries.data.astype(np.int32)}
    with gzip.open(folder / "matrix.mtx.gz", "wb", compresslevel=6) as file:
        head = f"{counts.shape[1]} {counts.shape[0]} {counts.nnz}\n"
        file.write(b"%%MatrixMarket matrix coordinate integer general\n%\n" + head.encode())
        pl.DataFrame(columns).write_csv(file, separator=" ", include_header=False)
    features = "".join(f"{gene}\t{gene}\tGene Expression\n" for gene in gene_names(counts.shape[1]))
    barcodes = "".join(f"{cell}\n" for cell in cell_names(counts.shape[0]))
    for name, text in {"features.tsv.gz": features, "barcodes.tsv.gz": barcodes}.items():
        (folder / name).write_bytes(gzip.compress(text.encode()))


def write_gctx(path: Path, intensities: Any) -> None:
    """Write as cmapPy does: chunks of about 1 MiB, gzip."""
    import h5py
    import numpy as np

    n_rows, n_genes = intensities.shape
    chunks = (min(256, n_rows), min(1_000, n_genes))
    with h5py.File(path, "w") as file:
        file.attrs["version"] = "GCTX1.0"
        file.create_dataset(
            "0/DATA/0/matrix", data=intensities, chunks=chunks, compression="gzip", compression_opts=6
        )
        file.create_dataset("0/META/ROW/id", data=np.array(gene_names(n_genes), "S"))
        file.create_dataset("0/META/COL/id", data=np.array(cell_names(n_rows), "S"))


def write_text(path: Path, table: Any, separator: str) -> None:
    """Write csv with a column of names, or gct, whose table has one more column and three more lines."""
    import polars as pl

    is_gct = path.suffix == ".gct"
    is_genes = path.stem != "profiles"
    names = (gene_names if is_genes else cell_names)(table.shape[0])
    columns = (cell_names if is_genes else gene_names)(table.shape[1])
    first = {"NAME": names, "Description": names} if is_gct else {"id": names}
    values = {name: table[:, place] for place, name in enumerate(columns)}
    with path.open("wb") as file:
        if is_gct:
            file.write(f"#1.2\n{table.shape[0]}\t{table.shape[1]}\n".encode())
        pl.DataFrame({**first, **values}).write_csv(file, separator=separator)


def write_parquet(path: Path, intensities: Any) -> None:
    import polars as pl

    values = {name: intensities[:, place] for place, name in enumerate(gene_names(intensities.shape[1]))}
    pl.DataFrame({"id": cell_names(len(intensities)), **values}).write_parquet(path)

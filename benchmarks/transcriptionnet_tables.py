"""The TranscriptionNet example tables: read, told about, and written as files that an ingest takes.

Values are scaled landmark by landmark to [-1, 1], so that 0 is not "no change": all is relative to the mean
of the training genes of a type. Genes are named by the symbol that belongs to their Entrez id.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anndata
import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray
from typed_references import Floats, fit_ridge

FILES: Final = {"trt_sh": "gec_rnai", "trt_xpr": "gec_crispr", "trt_oe": "gec_oe"}
NETWORKS: Final = ("corum", "disease", "drug")
CONTEXT: Final = "pooled"
DESCRIBING: Final = ("entrez_id", "symbol", "split")


@dataclass(frozen=True)
class Tables:
    """N profiles of L landmarks.

    Attributes
    ----------
    profiles
        N rows: pert_type, entrez_id, symbol, split ("train" or "valid").
    values
        (N, L) float32.
    landmarks
        L rows in the order of `values`: column, entrez_id, symbol.
    features
        One row a gene: entrez_id, symbol, f0 ... f511.
    """

    profiles: pl.DataFrame
    values: NDArray[np.float32]
    landmarks: pl.DataFrame
    features: pl.DataFrame

    def of_type(self, kind: str) -> NDArray[np.int64]:
        """Return the rows of a type."""
        return np.flatnonzero((self.profiles["pert_type"] == kind).to_numpy())

    def own_landmark(self) -> NDArray[np.int64]:
        """Return (N,) the column of the perturbed gene, by Entrez id; -1 where it is no landmark."""
        place = {gene: column for column, gene in enumerate(self.landmarks["entrez_id"].to_list())}
        return np.array([place.get(gene, -1) for gene in self.profiles["entrez_id"].to_list()])

    def feature_rows(self) -> Floats:
        """Return (N, 512) features of each profile's gene, in units of their spread over the genes."""
        wide = self.features.drop("symbol")
        joined = self.profiles.select("entrez_id").join(
            wide, on="entrez_id", how="left", maintain_order="left"
        )
        values = joined.drop("entrez_id").to_numpy().astype(np.float64)
        if np.isnan(values).any():
            raise ValueError(
                f"{int(np.isnan(values).any(axis=1).sum())} profiles have no row in features.parquet."
            )
        spread = np.std(wide.drop("entrez_id").to_numpy().astype(np.float64), axis=0)
        return np.asarray(values / spread.clip(min=1e-9), dtype=np.float64)


def with_names(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with ENTREZ and the id as the symbol of genes that have none (two do)."""
    by_id = pl.concat_str(pl.lit("ENTREZ"), pl.col("entrez_id").cast(pl.String))
    return table.with_columns(pl.when(pl.col("symbol") == "").then(by_id).otherwise("symbol").alias("symbol"))


def read_tables(folder: Path) -> Tables:
    """Read the tables of a folder; the three types share their landmarks."""
    landmarks = pl.read_parquet(folder / "landmarks.parquet")
    parts = [
        pl.read_parquet(folder / f"{name}.parquet").with_columns(pl.lit(kind).alias("pert_type"))
        for kind, name in FILES.items()
    ]
    every = pl.concat(parts, how="diagonal")
    return Tables(
        profiles=with_names(every.select("pert_type", *DESCRIBING)),
        values=every.select(landmarks["column"].to_list()).to_numpy().astype(np.float32),
        landmarks=landmarks,
        features=with_names(pl.read_parquet(folder / "features.parquet")),
    )


def write_profiles(tables: Tables, path: Path) -> None:
    """Write all profiles as one h5ad with CMap's columns."""
    rows = tables.profiles
    sig_ids = [f"{kind}:{entrez}:{row}" for row, (kind, entrez) in enumerate(
        zip(rows["pert_type"], rows["entrez_id"], strict=True))]  # fmt: skip
    obs = pd.DataFrame(
        {
            "pert_type": rows["pert_type"].to_list(),
            "pert_id": rows["symbol"].to_list(),
            "cmap_name": rows["symbol"].to_list(),
            "cell_iname": [CONTEXT] * rows.height,
        },
        index=pd.Index(sig_ids, name="sig_id"),
    )
    var = pd.DataFrame(
        {"gene_symbol": tables.landmarks["symbol"].to_list()},
        index=pd.Index(tables.landmarks["entrez_id"].cast(pl.String).to_list(), name="gene_id"),
    )
    anndata.AnnData(X=tables.values, obs=obs, var=var).write_h5ad(path)


def write_features(tables: Tables, path: Path) -> None:
    """Write the features as a table of gene embeddings: symbol and numbers."""
    tables.features.drop("entrez_id").rename({"symbol": "gene_symbol"}).write_parquet(path)


def write_networks(
    folder: Path, tables: Tables, target: Path
) -> tuple[list[Path], dict[str, tuple[int, int]]]:
    """Write the three networks with symbols in the place of Entrez ids.

    Returns
    -------
    tuple
        The files, and name -> (edges written, edges of genes that no table names).
    """
    columns = ["entrez_id", "symbol"]
    meta = pl.read_parquet(folder / "gene_meta.parquet", columns=columns).filter(
        ~pl.col("symbol").is_in(["-", ""])
    )
    ours = pl.concat([tables.profiles.select(columns), tables.landmarks.select(columns)])
    names = pl.concat([ours, meta.with_columns(pl.col("entrez_id").cast(pl.Int64))]).unique(
        "entrez_id", keep="first", maintain_order=True
    )
    files, counts = [], {}
    for name in NETWORKS:
        edges = pl.read_parquet(folder / f"network_{name}.parquet")
        named = edges
        for end in ("gene1", "gene2"):
            known = names.select(
                pl.col("entrez_id").cast(pl.Int32).alias(end), pl.col("symbol").alias(f"{end}_symbol")
            )
            named = named.join(known, on=end, how="inner")
        path = target / f"{name}.tsv"
        named.select(
            pl.col("gene1_symbol").alias("gene1"), pl.col("gene2_symbol").alias("gene2"), "weight"
        ).write_csv(path, separator="\t")
        files.append(path)
        counts[name] = (named.height, edges.height - named.height)
    return files, counts


def _rows_pearson(first: Floats, second: Floats) -> Floats:
    """Return (N,) correlations of the rows, 0 where a row is constant."""
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (first, second))
    length = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    product = (a * b).sum(axis=1)
    return np.asarray(np.divide(product, length, out=np.zeros_like(product), where=length > 1e-12))


def cross_validated(tables: Tables, kind: str, *, folds: int = 5, shuffles: int = 5) -> dict[str, Floats]:
    """Return per-gene scores of a type over `folds` of its genes, each gene held out once.

    "ridge": Pearson of the deviation from the train mean, ridge on the features; "shuffled": the same, mean
    over features dealt to other genes; "mean": plain Pearson of the train mean itself.
    """
    rows = tables.of_type(kind)
    values, features = tables.values[rows].astype(np.float64), tables.feature_rows()[rows]
    random = np.random.default_rng(0)
    part = random.permutation(len(rows)) % folds
    orders = [random.permutation(len(rows)) for _ in range(shuffles)]
    found = {name: np.zeros(len(rows)) for name in ("ridge", "shuffled", "mean")}
    for fold in range(folds):
        test = part == fold
        mean = values[~test].mean(axis=0)
        deviation = values[test] - mean
        found["mean"][test] = _rows_pearson(np.tile(mean, (int(test.sum()), 1)), values[test])
        for name, dealt in (("ridge", [np.arange(len(rows))]), ("shuffled", orders)):
            for order in dealt:
                x = features[order]
                fit = fit_ridge(x[~test], values[~test], x[test])
                found[name][test] += _rows_pearson(fit.predicted - mean, deviation) / len(dealt)
    return found


def own_spikes(tables: Tables, kind: str) -> Floats:
    """Return, for each perturbed landmark of a type, z at its own landmark over all genes of the type."""
    rows, own = tables.of_type(kind), tables.own_landmark()
    values = tables.values[rows].astype(np.float64)
    known = np.flatnonzero(own[rows] >= 0)
    columns = own[rows][known]
    spread = []
    for row, column in zip(known, columns, strict=True):
        others = np.delete(values[:, column], row)
        spread.append((values[row, column] - others.mean()) / others.std())
    return np.array(spread)


def shared_deviations(tables: Tables, first: str, second: str) -> tuple[Floats, Floats]:
    """Return (M, L) deviations from the type means of the M genes measured in both, own landmarks at 0."""
    own = tables.own_landmark()
    genes = tables.profiles["entrez_id"].to_list()
    sides: list[dict[int, Floats]] = []
    for kind in (first, second):
        rows = tables.of_type(kind)
        deviation = tables.values[rows] - tables.values[rows].mean(axis=0, dtype=np.float64)
        for place, row in enumerate(rows):
            if own[row] >= 0:
                deviation[place, own[row]] = 0.0
        sides.append({genes[row]: deviation[place] for place, row in enumerate(rows)})
    shared = sorted(set(sides[0]) & set(sides[1]))
    ours, theirs = (np.array([side[gene] for gene in shared], dtype=np.float64) for side in sides)
    return ours, theirs


def agreement_of_types(tables: Tables, first: str, second: str) -> dict[str, float]:
    """Return how alike the deviations of one gene are in two types.

    "same": mean correlation over the genes measured in both; "error": its standard error; "other": mean over
    the pairs of different genes, what chance and shared errors give; "best_weight": least-squares weight of
    the first type's deviation for the second's; "explained": the share of squared deviation that it explains.
    """
    a, b = shared_deviations(tables, first, second)
    same = _rows_pearson(a, b)
    strangers = [_rows_pearson(a, np.roll(b, shift, axis=0)).mean() for shift in range(1, min(len(a), 40))]
    weight = float((a * b).sum() / np.square(a).sum())
    return {
        "genes": float(len(a)),
        "same": float(same.mean()),
        "error": float(same.std(ddof=1) / np.sqrt(len(same))),
        "other": float(np.mean(strangers)),
        "best_weight": weight,
        "explained": float(weight * (a * b).sum() / np.square(b).sum()),
    }

"""A store of landmarks becomes a store of all genes: inferred ones stand beside measured ones, and say so.

A profile is looked at by itself, so nothing of held-out rows comes into others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.gene_tables.gene_names import GeneNames
from pertcast_data.landmarks.weights import LandmarkWeights
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.readers.source import rows_per_batch
from pertcast_data.store import ExpressionStore, create_store
from pertcast_data.vocabulary import Normalisation

FEATURE_SPACE: Final = "feature_space"
STEP: Final = "infer_genes"
_LEVELS: Final[tuple[Normalisation, ...]] = ("log2_intensity", "log1p_cpm")


@dataclass(frozen=True)
class InferredStore:
    """What `infer_store` wrote.

    Attributes
    ----------
    store
        The store, opened: landmarks first, then inferred genes; `var.feature_space` tells which.
    matched_by
        Column of the first store's gene table by which landmarks were found.
    n_left_out
        Genes of the first store that are no landmarks; left out.
    """

    store: ExpressionStore
    matched_by: str
    n_left_out: int


def infer_store(
    store: ExpressionStore,
    weights: LandmarkWeights,
    out: Path | str,
    gene_names: GeneNames | None = None,
    progress: ProgressCallback = no_progress,
) -> InferredStore:
    """Infer all genes of every profile and write them as a new store.

    Rows keep their observations; landmarks keep their values and columns. Levels (log2 intensities,
    log1p counts) get the offset; of log fold changes, differences of two levels, it falls out.

    Parameters
    ----------
    store
        Of landmarks; genes that are none are left out.
    weights
        In any order; landmarks are found by gene name, gene_id, or another column of the gene table.
    out
        The store to create; must not exist.
    gene_names
        What the weights' ids of inferred genes are called (`read_gene_names`); None leaves symbols empty
        where the weights call genes by ids.

    Raises
    ------
    ConfigError
        `out` exists, or the store's values are counts or z-scores.
    SchemaError
        The store lacks landmarks (they are named).
    """
    is_change = _require_linear(store)
    column, names = _names_of_landmarks(store, weights)
    places = np.sort(weights.places_in(names))
    aligned = weights.for_genes(names)
    made = create_store(
        out,
        obs=store.obs,
        var=_gene_table(store.var[places.tolist()], aligned, gene_names),
        batches=_blocks(store, aligned, places, is_change),
        measure=store.measure,
        normalisation=store.normalisation,
        layout="dense",
        seed=store.info.seed,
        sources=store.info.sources,
        preprocessing=(*store.preprocessing, _record(weights)),
        progress=progress,
    )
    return InferredStore(made, column, store.n_genes - len(places))


def _require_linear(store: ExpressionStore) -> bool:
    """Return whether values are changes; raise where sums of them mean nothing."""
    if store.normalisation in _LEVELS:
        return False
    if store.normalisation == "log_fold_change":
        return True
    raise ConfigError(
        f"{store.path}: holds {store.normalisation}; weights sum logarithmic levels, or their changes "
        f"({', '.join(_LEVELS)}, log_fold_change). Infer from levels first, then make scores of these."
    )


def _names_of_landmarks(store: ExpressionStore, weights: LandmarkWeights) -> tuple[str, list[str]]:
    """Return the column of the gene table that calls landmarks as the weights do, and its names.

    Where none has all of them, the one that has most is taken, so that the error names what is missing there.
    """
    columns = {"gene name": list(store.genes)}
    for series in store.var:
        if series.dtype == pl.String or series.dtype.is_integer():
            texts = series.cast(pl.String).to_list()
            columns[series.name] = ["" if text is None else text for text in texts]
    best, least = "gene name", len(weights.landmarks) + 1
    for name, texts in columns.items():
        n_missing = _n_missing(weights, texts)
        if n_missing < least:
            best, least = name, n_missing
    return best, columns[best]


def _n_missing(weights: LandmarkWeights, names: list[str]) -> int:
    known = set(names)
    exact = sum(name not in known for name in weights.landmarks)
    if not exact:
        return 0
    try:
        weights.places_in(names)
    except SchemaError:
        return exact
    return 0


def _gene_table(landmarks: pl.DataFrame, weights: LandmarkWeights, names: GeneNames | None) -> pl.DataFrame:
    """Return the gene table: landmarks as they were, then the inferred genes."""
    called_by_symbol = weights.namespace == "symbols"
    known = [names.symbol(gene) if names else None for gene in weights.genes]
    own = list(weights.genes) if called_by_symbol else [None] * len(known)
    symbols = [symbol or name for symbol, name in zip(known, own, strict=True)]
    inferred = pl.DataFrame(
        {
            "gene_id": pl.Series([None] * len(own) if called_by_symbol else weights.genes, dtype=pl.String),
            "gene_symbol": pl.Series(symbols, dtype=pl.String),
            FEATURE_SPACE: ["inferred"] * len(own),
        }
    )
    measured = landmarks.drop(FEATURE_SPACE, strict=False).with_columns(
        pl.lit("landmark").alias(FEATURE_SPACE)
    )
    return pl.concat([measured, inferred], how="diagonal")


def _blocks(
    store: ExpressionStore, weights: LandmarkWeights, places: NDArray[np.int64], is_change: bool
) -> Iterator[NDArray[np.float32]]:
    reader = store.reader("auto")
    rows = np.arange(store.n_rows, dtype=np.int64)
    step = rows_per_batch(len(places) + len(weights.genes))
    are_all = len(places) == store.n_genes
    reader.announce(rows)
    for start in range(0, store.n_rows, step):
        profiles = reader.dense(rows[start : start + step])
        yield weights.complete(profiles if are_all else profiles[:, places], is_change=is_change)


def _record(weights: LandmarkWeights) -> PreprocessingStep:
    note = (
        f"{len(weights.genes):,} genes inferred from {len(weights.landmarks):,} landmarks by {weights.file} "
        f"(SHA-256 {weights.sha256})"
    )
    return PreprocessingStep(step=STEP, fitted_on="nothing", note=note)

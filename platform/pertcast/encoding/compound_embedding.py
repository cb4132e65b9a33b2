"""Embeddings of compounds as features: standardised on the training compounds, with a report of coverage."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.text import listed
from pydantic import BaseModel, ConfigDict

from pertcast.encoding.embedding_rows import EmbeddingRows, Rows

_CONSTANT = 1e-6
LARGEST = 10.0
"""Standardised values end here: a column that hardly varies in training may take others to 50,000."""

_SHOWN = 8
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NamedCompound:
    """A compound of the store: its name in training, all its names, its parent's InChIKey where known."""

    name: str
    names: tuple[str, ...]
    inchi_key: str | None


class EmbeddingCoverage(BaseModel):
    """Which compounds an embedding table knows.

    Attributes
    ----------
    file, sha256
        Name and content of the table.
    n_rows, width, n_constant
        Its rows and columns; columns that are constant over the training compounds and so left at zero.
    n_store, n_store_found
        Compounds of the store, and how many of them have a row.
    n_training, n_training_found
        The same of the training compounds.
    missing
        Compounds of the store without a row.
    other_structure
        Those of them whose name the table has with another structure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    n_rows: int
    width: int
    n_constant: int
    n_store: int
    n_store_found: int
    n_training: int
    n_training_found: int
    missing: tuple[str, ...]
    other_structure: tuple[str, ...]

    def text(self) -> str:
        """Return the report in one line."""
        parts = [
            f"embedding table {self.file}: {self.n_store_found:,} of {self.n_store:,} compounds of the "
            f"store, {self.n_training_found:,} of {self.n_training:,} in training"
        ]
        if self.missing:
            parts.append(f"missing: {listed(self.missing, _SHOWN)}")
        if self.other_structure:
            parts.append(f"of these named with another structure: {listed(self.other_structure, _SHOWN)}")
        if self.n_constant:
            parts.append(f"{self.n_constant:,} of {self.width:,} columns constant in training, left at zero")
        return "; ".join(parts)


@dataclass(frozen=True)
class CompoundEmbedding:
    """The block of features that an embedding table gives.

    Attributes
    ----------
    table
        Its rows.
    mean, scale
        (D,) float32, of the training compounds: a feature is (value - mean) * scale; scale is 0 for columns
        that are constant over them.
    weight
        Of the block: a standard deviation is this long. Features beyond `LARGEST` of them are cut off.
    marks_missing
        Whether one more column is 1 for compounds without a row (beside fingerprints).
    coverage
        Which compounds of the training store have a row.
    """

    table: EmbeddingRows
    mean: Rows
    scale: Rows
    weight: float
    marks_missing: bool
    coverage: EmbeddingCoverage

    @property
    def width(self) -> int:
        """Columns of the block."""
        return len(self.mean) + self.marks_missing

    def standardised(self, rows: NDArray[np.int64]) -> Rows:
        """Return (M, D) float32 features of rows of the table; zero for row -1."""
        values = (self.table.values[rows] - self.mean) * self.scale
        np.clip(values, -LARGEST * self.weight, LARGEST * self.weight, out=values)
        values[rows < 0] = 0.0
        return values.astype(np.float32, copy=False)

    def block(self, rows: NDArray[np.int64]) -> Rows:
        """Return the (M, width) block of compounds by their row of the table, -1 for none."""
        values = self.standardised(rows)
        if not self.marks_missing:
            return values
        return np.column_stack((values, (rows < 0).astype(np.float32)))

    def state(self) -> tuple[dict[str, Any], dict[str, Rows]]:
        """Return (plain facts, arrays) from which `from_state` makes the same block."""
        facts, arrays = self.table.state()
        facts |= {"weight": self.weight, "marks_missing": self.marks_missing}
        facts |= {"coverage": self.coverage.model_dump(mode="json")}
        return facts, {**arrays, "embedding.mean": self.mean, "embedding.scale": self.scale}

    @classmethod
    def from_state(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make the block whose `state` this is."""
        return cls(
            table=EmbeddingRows.from_state(facts, arrays),
            mean=np.asarray(arrays["embedding.mean"], np.float32),
            scale=np.asarray(arrays["embedding.scale"], np.float32),
            weight=float(facts["weight"]),
            marks_missing=bool(facts["marks_missing"]),
            coverage=EmbeddingCoverage.model_validate(facts["coverage"]),
        )


def fit_embedding(
    table: EmbeddingRows,
    training: Sequence[NamedCompound],
    store: Sequence[NamedCompound],
    square_length: float | None,
) -> tuple[CompoundEmbedding, dict[str, int]]:
    """Standardise a table on the training compounds.

    Parameters
    ----------
    table
        The user's table.
    training, store
        Compounds of the training rows, and of the whole store; the latter are only counted.
    square_length
        Mean square length that the block shall have over the training compounds, so that it weighs as much as
        the fingerprint beside it; None where the block stands alone: columns then have sd 1, and a training
        compound without a row is an error.

    Returns
    -------
    tuple
        The block, and the row of each training compound by name (-1 for none).

    Raises
    ------
    ConfigError
        No training compound has a row; or one has none and the block stands alone.
    SchemaError
        Every column is constant over the training compounds.
    """
    found = {compound.name: table.find(compound.names, compound.inchi_key) for compound in training}
    rows = np.unique([row for row in found.values() if row >= 0]).astype(np.int64)
    _require_rows(table, training, found, alone=square_length is None)
    mean, sd = (
        table.values[rows].mean(axis=0, dtype=np.float64),
        table.values[rows].std(axis=0, dtype=np.float64),
    )
    varies = sd > _CONSTANT * np.abs(table.values[rows]).max(axis=0)
    if not varies.any():
        raise SchemaError(
            f"{table.file}: all {len(sd):,} columns are constant over the {len(rows):,} training compounds "
            "that have a row. Bring an embedding that tells compounds apart."
        )
    weight = 1.0 if square_length is None else float(np.sqrt(square_length / varies.sum()))
    scale = np.where(varies, weight / np.where(varies, sd, 1.0), 0.0)
    coverage = _coverage(table, found, store, int((~varies).sum()))
    _LOG.info(coverage.text())
    block = CompoundEmbedding(
        table=table,
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        weight=weight,
        marks_missing=square_length is not None,
        coverage=coverage,
    )
    return block, found


def _require_rows(
    table: EmbeddingRows, training: Sequence[NamedCompound], found: Mapping[str, int], alone: bool
) -> None:
    missing = [name for name, row in found.items() if row < 0]
    if len(missing) == len(training):
        raise ConfigError(
            f"encoder.compound_embedding: {table.file} has a row of none of the {len(training):,} training "
            f"compounds ({listed(missing, 3)}); it knows {listed(table.known or table.smiles, 3)}. Bring a "
            "table of these compounds, keyed by canonical_smiles, inchi_key, pert_id or cmap_name."
        )
    if missing and alone:
        raise ConfigError(
            f"encoder.compound_features=embedding: {table.file} has no row for {len(missing):,} of "
            f"{len(training):,} training compounds: {listed(missing, _SHOWN)}. Add their rows, leave these "
            "compounds out of the store, or set encoder.compound_features=both, where their fingerprint "
            "speaks for them."
        )


def _coverage(
    table: EmbeddingRows, training: Mapping[str, int], store: Sequence[NamedCompound], n_constant: int
) -> EmbeddingCoverage:
    missing = [one for one in store if table.find(one.names, one.inchi_key) < 0]
    return EmbeddingCoverage(
        file=table.file,
        sha256=table.sha256,
        n_rows=len(table.values),
        width=table.values.shape[1],
        n_constant=n_constant,
        n_store=len(store),
        n_store_found=len(store) - len(missing),
        n_training=len(training),
        n_training_found=sum(row >= 0 for row in training.values()),
        missing=tuple(one.name for one in missing),
        other_structure=tuple(one.name for one in missing if table.find_name(one.names) >= 0),
    )

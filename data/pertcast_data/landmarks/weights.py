"""Weights that infer all genes from the landmarks: CMap's linear model, or one of a lab's own.

Every inferred gene is a weighted sum of the landmarks plus an offset (Subramanian et al., Cell 171 (2017)
1437); a table of weights is checked once, then used a block of profiles at a time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.gene_sets.report import namespaces
from pertcast_data.gene_tables.identifiers import identifier_key
from pertcast_data.readers.registry import open_source
from pertcast_data.readers.source import SOURCE_ID, as_dense
from pertcast_data.storage.new_file import new_file
from pertcast_data.tables.content import open_content, sha256_of
from pertcast_data.tables.table import open_table
from pertcast_data.text import fold

OFFSET: Final = "OFFSET"
_OFFSET_WORDS: Final = frozenset({"offset", "intercept", "bias", "const", "constant"})
_METADATA: Final = "pertcast.landmark_weights"
_MATRIX_STARTS: Final = (b"\x89HDF", b"#1.2", b"#1.3")
_N_SHOWN: Final = 10


@dataclass(frozen=True)
class LandmarkWeights:
    """A linear model from L landmarks to G genes.

    Attributes
    ----------
    landmarks
        (L,) names of the landmarks, distinct.
    genes
        (G,) names of the inferred genes, distinct; none is a landmark.
    weights
        (L, G) float32, all finite.
    offset
        (G,) float32, all finite.
    file, sha256
        Name (without folder) and content of the file that they come from.
    """

    landmarks: tuple[str, ...]
    genes: tuple[str, ...]
    weights: NDArray[np.float32]
    offset: NDArray[np.float32]
    file: str
    sha256: str

    @property
    def namespace(self) -> str:
        """Kind of name by which most landmarks are called: probe ids, Entrez ids, symbols, ..."""
        return next(iter(namespaces(self.landmarks)))

    @classmethod
    def read(cls, path: Path | str) -> LandmarkWeights:
        """Read a table of weights.

        Parameters
        ----------
        path
            GCTX or GCT (CMap's OLS_WEIGHTS), or csv, tsv or Parquet whose first column holds names. Landmarks
            and the offset (OFFSET, intercept, bias) are the columns, or the rows; genes are the other side.

        Raises
        ------
        FormatError
            The file is absent, broken or of no known format.
        SchemaError
            There is no offset, or more than one; a name stands there twice; a weight is no finite number.
        """
        path = Path(path)
        rows, columns, values = _read_matrix(path)
        source = (path.name, sha256_of(path))
        if any(map(_is_offset, columns)):
            return _checked(path, columns, rows, values.T, source)
        if any(map(_is_offset, rows)):
            return _checked(path, rows, columns, values, source)
        raise SchemaError(
            f"{path}: neither a row nor a column is the offset (OFFSET, intercept, bias). It has rows "
            f"{_shown(rows, 3)} and columns {_shown(columns, 3)}. Add it; zeros where the model has none."
        )

    def for_genes(self, genes: Sequence[str]) -> LandmarkWeights:
        """Return the weights with the landmarks in the order in which `genes` has them.

        Parameters
        ----------
        genes
            Names of a store's genes; others than landmarks do not matter. Ids are found without their
            version, symbols however they are spelled (`identifier_key`).

        Raises
        ------
        SchemaError
            `genes` lacks a landmark (they are named), or has one twice.
        """
        places = self.places_in(genes)
        order = np.argsort(places)
        chosen = [genes[place] for place in places[order].tolist()]
        return replace(self, landmarks=tuple(chosen), weights=np.ascontiguousarray(self.weights[order]))

    def places_in(self, genes: Sequence[str]) -> NDArray[np.int64]:
        """Return (L,) int64, the place of each landmark among `genes`; raises as `for_genes`."""
        place_of: dict[str, int] = {}
        twice: set[str] = set()
        for place, gene in enumerate(genes):
            if place_of.setdefault(identifier_key(gene), place) != place:
                twice.add(identifier_key(gene))
        keys = [identifier_key(name) for name in self.landmarks]
        missing = [name for name, key in zip(self.landmarks, keys, strict=True) if key not in place_of]
        if missing:
            found = next(iter(namespaces(genes)), "nothing")
            raise SchemaError(
                f"{self.file}: {len(missing):,} of {len(self.landmarks):,} landmarks are not among the "
                f"{len(genes):,} genes: {_shown(missing, 50)}. The weights call landmarks by "
                f"{self.namespace}, the genes are called by {found}: bring weights of the same names and "
                "landmarks."
            )
        repeated = [name for name, key in zip(self.landmarks, keys, strict=True) if key in twice]
        if repeated:
            raise SchemaError(
                f"{self.file}: the genes have landmarks twice ({_shown(repeated)}). Keep one of each."
            )
        return np.array([place_of[key] for key in keys], dtype=np.int64)

    def infer(
        self,
        profiles: NDArray[np.float32],
        out: NDArray[np.float32] | None = None,
        *,
        is_change: bool = False,
    ) -> NDArray[np.float32]:
        """Return the inferred genes of a block of profiles: one matrix product, and the offset.

        Parameters
        ----------
        profiles
            (n, L) float32, landmarks in the order of `landmarks`. A missing value makes all genes of its
            profile missing.
        out
            (n, G) float32 to write into; made where absent.
        is_change
            Profiles are differences of two levels: the offset falls out.

        Raises
        ------
        ConfigError
            `profiles` has another number of columns.
        """
        if profiles.ndim != 2 or profiles.shape[1] != len(self.landmarks):
            raise ConfigError(
                f"{self.file}: profiles are {' x '.join(map(str, profiles.shape))}, the weights have "
                f"{len(self.landmarks):,} landmarks. Align them first: weights.for_genes(genes)."
            )
        inferred = np.matmul(profiles.astype(np.float32, copy=False), self.weights, out=out)
        if not is_change:
            inferred += self.offset
        return inferred

    def complete(self, profiles: NDArray[np.float32], *, is_change: bool = False) -> NDArray[np.float32]:
        """Return (n, L + G) float32: the landmarks as they are, then the inferred genes."""
        n_landmarks = len(self.landmarks)
        whole = np.empty((len(profiles), n_landmarks + len(self.genes)), np.float32)
        whole[:, :n_landmarks] = profiles
        self.infer(profiles, out=whole[:, n_landmarks:], is_change=is_change)
        return whole

    def save(self, path: Path | str) -> None:
        """Write the weights as Parquet: a row an inferred gene, a column a landmark, then OFFSET.

        Raises
        ------
        ConfigError
            `path` exists.
        """
        columns = {name: self.weights[place] for place, name in enumerate(self.landmarks)}
        frame = pl.DataFrame({"id": self.genes, **columns, OFFSET: self.offset})
        facts = json.dumps({"file": self.file, "sha256": self.sha256}, sort_keys=True)
        table = frame.to_arrow().replace_schema_metadata({_METADATA: facts})
        with new_file(Path(path)) as temporary:
            parquet.write_table(table, temporary, compression="zstd")


def _read_matrix(path: Path) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Return names of rows, names of columns, and values."""
    with open_content(path) as file:
        start = file.read(4)
    if start in _MATRIX_STARTS:
        source = open_source(path)
        values = np.concatenate([as_dense(batch) for batch in source.batches()]).astype(np.float64)
        return source.obs()[SOURCE_ID].to_list(), source.var()[SOURCE_ID].to_list(), values
    frame = open_table(path).read()
    if frame.width < 2 or frame.is_empty():
        raise SchemaError(
            f"{path}: holds no weights. Bring a column of names, then one a landmark and OFFSET."
        )
    names, numbers = frame.to_series(0), frame[:, 1:]
    if names.null_count():
        row = int(names.is_null().arg_true()[0]) + 1
        raise SchemaError(f"{path}, row {row}: has no name in its first column ({names.name}). Fill it in.")
    values = np.column_stack([_numbers(path, column, names) for column in numbers])
    return names.cast(pl.String).to_list(), numbers.columns, values


def _numbers(path: Path, column: pl.Series, names: pl.Series) -> NDArray[np.float64]:
    numbers = column.cast(pl.Float64, strict=False)
    wrong = (numbers.is_null() & column.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise SchemaError(
            f"{path}, {names[row]}: the weight of {column.name} is {column[row]!r}, which is no number. "
            "Correct it; the first column holds names, all others weights."
        )
    return numbers.fill_null(np.nan).to_numpy()


def _checked(
    path: Path,
    inputs: Sequence[str],
    genes: Sequence[str],
    values: NDArray[np.float64],
    source: tuple[str, str],
) -> LandmarkWeights:
    """Return the weights of a matrix (inputs, genes) whose inputs are landmarks and the offset."""
    offsets = [place for place, name in enumerate(inputs) if _is_offset(name)]
    if len(offsets) > 1:
        raise SchemaError(f"{path}: has several offsets ({_shown([inputs[place] for place in offsets])}).")
    for names, what in ((inputs, "landmarks"), (genes, "genes")):
        twice = [name for name, count in Counter(map(identifier_key, names)).items() if count > 1]
        if twice:
            raise SchemaError(f"{path}: {what} stand there twice: {_shown(twice)}. Keep one row of each.")
    with np.errstate(over="ignore"):
        weights = values.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(weights))
    if len(wrong):
        row, column = (int(place) for place in wrong[0])
        raise SchemaError(
            f"{path}: the weight of {inputs[row]} for {genes[column]} is {values[row, column]}, which is no "
            f"finite number ({len(wrong):,} such weights). Correct them."
        )
    is_landmark = np.arange(len(inputs)) != offsets[0]
    landmarks = tuple(name for name, kept in zip(inputs, is_landmark, strict=True) if kept)
    keys = {identifier_key(name) for name in landmarks}
    # A landmark is measured: what a table would infer of it is left out.
    is_inferred = np.array([identifier_key(name) not in keys for name in genes])
    if not landmarks or not is_inferred.any():
        raise SchemaError(f"{path}: has {len(landmarks):,} landmarks, and no gene beside them to infer.")
    return LandmarkWeights(
        landmarks=landmarks,
        genes=tuple(name for name, kept in zip(genes, is_inferred, strict=True) if kept),
        weights=np.ascontiguousarray(weights[is_landmark][:, is_inferred]),
        offset=np.ascontiguousarray(weights[offsets[0], is_inferred]),
        file=source[0],
        sha256=source[1],
    )


def _is_offset(name: str) -> bool:
    return fold(name) in _OFFSET_WORDS


def _shown(names: Sequence[str], most: int = _N_SHOWN) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

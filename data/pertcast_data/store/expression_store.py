"""A store, opened: its facts, its tables, its conditions, and readers of its rows.

Opening believes only the manifest and looks at every file's size; rows are read when they are asked for.
A store in a bucket is opened through its mirror in the local cache, and its shards are fetched with them.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray
from pydantic import ValidationError

from pertcast_data.errors import CorruptStore, FormatError
from pertcast_data.preprocessing import PreprocessingStep, side_preprocessing
from pertcast_data.storage import is_remote
from pertcast_data.store.conditions import condition_table
from pertcast_data.store.disk_readers import open_on_disk
from pertcast_data.store.frames import read_frame
from pertcast_data.store.genes import gene_names
from pertcast_data.store.info import SCHEMA_VERSION, StoreInfo
from pertcast_data.store.manifest import Manifest, check_files, read_manifest
from pertcast_data.store.mirror import StoreMirror, open_mirror
from pertcast_data.store.mirror_readers import load_mirror, open_mirror_on_disk
from pertcast_data.store.readers import (
    ReaderMode,
    RowReader,
    fits_in_memory,
    load_into_memory,
    require_mode,
)
from pertcast_data.vocabulary import Measure, Normalisation


class ExpressionStore:
    """Profiles over genes with their observations; made by `create_store`, opened by `open`.

    Attributes
    ----------
    path
        The folder; of a store in a bucket its mirror in the cache, which lacks shards that were not read.
    location
        What the user named: the folder, or "s3://bucket/atlas".
    info
        The store's facts.
    obs
        One row a profile, in store order: OBS_COLUMNS, condition_id, is_control, the source's own columns.
    var
        One row a gene: gene_id, gene_symbol, the source's own columns.
    """

    def __init__(
        self,
        path: Path,
        info: StoreInfo,
        manifest: Manifest,
        obs: pl.DataFrame,
        var: pl.DataFrame,
        mirror: StoreMirror | None = None,
    ) -> None:
        self.path = path
        self.location = str(path) if mirror is None else mirror.location.url
        self.info = info
        self.obs = obs
        self.var = var
        self._manifest = manifest
        self._mirror = mirror

    @classmethod
    def open(cls, path: Path | str) -> ExpressionStore:
        """Open the store at `path`: a folder, or a location as "s3://bucket/atlas" or "gs://bucket/atlas".

        Of a store in a bucket everything but the shards of X is fetched into the local cache
        (docs/object_storage.md); the form that a Path makes of a location ("s3:/bucket/atlas") is understood.

        Raises
        ------
        ConfigError
            A location whose scheme is not supported.
        FormatError
            There is no store, or one of a newer layout.
        CorruptStore
            A file is missing, has the wrong size, or the tables contradict the manifest.
        StorageError
            The object store cannot be used: bucket, credentials, permission or network.
        """
        if is_remote(path):
            mirror = open_mirror(path)
            return cls._opened(mirror.path, mirror.manifest, mirror)
        root = Path(path)
        if not root.is_dir():
            raise FormatError(f"There is no store at {root}. Make one with `pertcast data ingest`.")
        manifest = read_manifest(root)
        return cls._opened(root, manifest, None)

    @classmethod
    def _opened(cls, root: Path, manifest: Manifest, mirror: StoreMirror | None) -> ExpressionStore:
        info = store_info(root, manifest)
        # Shards of a mirror come when they are wanted.
        expected = manifest if mirror is None else Manifest((), manifest.tables, manifest.facts)
        check_files(root, expected)
        try:
            group = zarr.open_group(str(root), mode="r")
            obs, var = read_frame(group["obs"]), read_frame(group["var"])  # type: ignore[arg-type]
        except (KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
            raise CorruptStore(
                f"The tables of {root} cannot be read ({error}). Restore them, or ingest the source again."
            ) from error
        if (obs.height, var.height) != (info.n_rows, info.n_genes):
            raise CorruptStore(
                f"{root} has {obs.height} observations and {var.height} genes, its manifest says "
                f"{info.n_rows} and {info.n_genes}. Restore obs and var, or ingest the source again."
            )
        return cls(root, info, manifest, obs, var, mirror)

    @property
    def n_rows(self) -> int:
        """Number of profiles."""
        return self.info.n_rows

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.info.n_genes

    @property
    def measure(self) -> Measure:
        """Whether values are levels ("expression") or already relative ("response")."""
        return self.info.measure

    @property
    def normalisation(self) -> Normalisation:
        """What the stored values are."""
        return self.info.normalisation

    @property
    def data_hash(self) -> str:
        """Hash of values, observations and genes."""
        return self.info.data_hash

    @cached_property
    def preprocessing(self) -> tuple[PreprocessingStep, ...]:
        """What was done to the values before: declared at the ingest, or in a file beside the store."""
        return (*self.info.preprocessing, *side_preprocessing(self.path))

    @cached_property
    def genes(self) -> tuple[str, ...]:
        """Unique names of the genes, in the order of every profile."""
        return gene_names(self.var)

    @cached_property
    def is_control(self) -> NDArray[np.bool_]:
        """(n_rows,) whether a profile is an untreated, vehicle or empty-vector control."""
        return self.obs["is_control"].to_numpy().astype(np.bool_)

    @property
    def conditions(self) -> pl.DataFrame:
        """One row a condition, in store order; see `condition_table`."""
        return self._condition_index[0]

    @property
    def condition_of_row(self) -> NDArray[np.int32]:
        """(n_rows,) int32, row of `conditions` that each profile belongs to."""
        return self._condition_index[1]

    @cached_property
    def _condition_index(self) -> tuple[pl.DataFrame, NDArray[np.int32]]:
        return condition_table(self.obs)

    def reader(self, mode: ReaderMode = "auto", memory_limit_bytes: int | None = None) -> RowReader:
        """Return a reader of rows.

        Parameters
        ----------
        mode
            "memory" reads X once, checks its checksums and keeps it; "disk" leaves it; "auto" takes memory
            where X fits. Of a store in a bucket, "memory" fetches every shard at once, "disk" those that hold
            the rows asked for or announced, each whole and checked.
        memory_limit_bytes
            What "auto" may take; half of the available memory by default.

        Raises
        ------
        CorruptStore
            A checksum does not match (memory only: on disk, `validate_store` is the check). Of a store in a
            bucket also later, by the reader: a shard there was changed or is missing.
        StorageError
            The object store cannot be used; also later, by the reader.
        """
        require_mode(mode)
        if mode == "disk" or (
            mode == "auto" and not fits_in_memory(self.path, self.info, memory_limit_bytes)
        ):
            return self._disk_reader()
        if self._mirror is not None:
            return load_mirror(self._mirror, self.info)
        return load_into_memory(self.path, self.info, self._manifest)

    def _disk_reader(self) -> RowReader:
        if self._mirror is None:
            return open_on_disk(self.path, self.info)
        return open_mirror_on_disk(self._mirror, self.info)

    def __repr__(self) -> str:
        kind = f"{self.info.layout} {self.normalisation} {self.measure}"
        return f"ExpressionStore({self.location!r}: {self.n_rows} profiles x {self.n_genes} genes, {kind})"


def store_info(path: Path, manifest: Manifest) -> StoreInfo:
    """Return the facts of a store; FormatError where the manifest is not of a store of this layout."""
    facts = manifest.facts.get("store")
    if facts is None:
        raise FormatError(f"{path} is a Pertcast dataset, but not an expression store (a screen, perhaps).")
    version = facts.get("schema_version")
    if version != SCHEMA_VERSION:
        raise FormatError(
            f"{path} has layout version {version}, this Pertcast reads {SCHEMA_VERSION}. Ingest again."
        )
    try:
        return StoreInfo.model_validate(facts)
    except ValidationError as error:
        raise CorruptStore(f"The facts in the manifest of {path} are not valid: {error}") from error

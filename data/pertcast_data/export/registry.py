"""Which ending of a file's name means which export, and the one way in which a store is exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from pertcast_data.errors import ConfigError
from pertcast_data.export.gct import write_gct
from pertcast_data.export.gctx import write_gctx
from pertcast_data.export.h5ad import write_h5ad
from pertcast_data.export.parquet import write_parquet
from pertcast_data.export.rows import ExportRows, export_rows
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.storage.new_file import new_file
from pertcast_data.store import ExpressionStore


class Exporter(Protocol):
    """Writes a store as one file, in bounded memory."""

    def __call__(
        self, store: ExpressionStore, rows: ExportRows, file: Path, name: str, progress: ProgressCallback
    ) -> None:
        """Write `rows` of the store into `file`, which will be called `name` once it is whole."""
        ...


EXPORTERS: Final[Mapping[str, Exporter]] = MappingProxyType(
    {".h5ad": write_h5ad, ".gctx": write_gctx, ".parquet": write_parquet, ".gct": write_gct}
)
"""Ending of the name -> what writes such a file; what each format keeps stands with it."""


def export_store(
    store: ExpressionStore,
    path: Path | str,
    *,
    source_order: bool = False,
    as_source: bool = False,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Write a store as one file that other tools read, by the ending of its name; in bounded memory.

    Parameters
    ----------
    store
        What is exported.
    path
        The file to create; must not exist.
    source_order, as_source
        See `pertcast_data.export.rows.export_rows`.
    progress
        Told rows.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        The ending is not known; `path` exists; the store does not know its source rows; GCT: too many values.
    StorageError
        The disk is full, or does not let a file be written.
    SchemaError
        Parquet: a gene bears the name of a column.
    """
    target = Path(path)
    exporter = EXPORTERS.get(target.suffix.lower())
    if exporter is None:
        raise ConfigError(f"{target}: the name must end in one of {', '.join(EXPORTERS)}.")
    rows = export_rows(store, source_order, as_source)
    with new_file(target) as temporary:
        exporter(store, rows, temporary, target.name, progress)
    return target

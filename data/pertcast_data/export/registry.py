"""Which ending of a file's name means which export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from pertcast_data.errors import ConfigError
from pertcast_data.export.gctx import export_gctx
from pertcast_data.export.h5ad import export_h5ad
from pertcast_data.export.parquet import export_parquet
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.store import ExpressionStore


class Exporter(Protocol):
    """Writes a store as one file."""

    def __call__(
        self,
        store: ExpressionStore,
        path: Path | str,
        *,
        source_order: bool = False,
        as_source: bool = False,
        progress: ProgressCallback = no_progress,
    ) -> Path:
        """Write `path` and return it."""
        ...


EXPORTERS: Final[Mapping[str, Exporter]] = MappingProxyType(
    {".h5ad": export_h5ad, ".gctx": export_gctx, ".parquet": export_parquet}
)


def export_store(
    store: ExpressionStore,
    path: Path | str,
    *,
    source_order: bool = False,
    as_source: bool = False,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Export by the ending of `path`; raises ConfigError for an ending that is not known."""
    target = Path(path)
    exporter = EXPORTERS.get(target.suffix.lower())
    if exporter is None:
        raise ConfigError(f"{target}: the name must end in one of {', '.join(EXPORTERS)}.")
    return exporter(store, target, source_order=source_order, as_source=as_source, progress=progress)

"""Ask a library with a signature, and write what was found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pertcast.analysis.connectivity import QueryResult, get_score
from pertcast.screens.asked import ask_searched
from pertcast.screens.library import SearchedLibrary, open_measured, open_screen
from pertcast_data.errors import ConfigError, StorageError
from pertcast_data.gene_tables.gene_names import read_gene_names
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.storage import is_remote, parse_location
from pertcast_data.store.staging import require_free

from pertcast_jobs.query.request import QueryRequest, read_signature
from pertcast_jobs.screen.fetched import local_screen
from pertcast_jobs.screen.workspace import write_atomically

_WRITERS = {".csv": "write_csv", ".parquet": "write_parquet"}


def ask(request: QueryRequest, progress: ProgressCallback = no_progress) -> QueryResult:
    """Rank a library by its connectivity with a signature.

    Parameters
    ----------
    request
        Library, signature and options.
    progress
        Told of profiles compared.

    Raises
    ------
    ConfigError
        Not exactly one library and signature; a score, cell line or type is not known.
    UnknownName
        There is no profile of that sig_id.
    SchemaError, FormatError
        A file or the library is not what is needed; too few genes are known (`TooFewGenes`).
    """
    request.check()
    if request.score is not None:
        get_score(request.score)
    library = _opened(request)
    names = None if request.gene_table is None else read_gene_names(request.gene_table)
    return ask_searched(
        library,
        read_signature(request) if request.sig_id is None else request.sig_id,
        score=request.score,
        cells=request.cells,
        types=request.types,
        names=names,
        options=request.options,
        progress=progress,
    )


def _opened(request: QueryRequest) -> SearchedLibrary:
    if request.screen is not None:
        library = open_screen(local_screen(request.screen))
        place = parse_location(request.screen) if is_remote(request.screen) else request.screen
        return replace(library, words=f"predicted ({place})")
    assert request.store is not None
    return open_measured(request.store)


def require_table_name(out: Path) -> None:
    """Raise ConfigError unless a new table can be written under this name."""
    require_free(out)
    if out.suffix not in _WRITERS:
        raise ConfigError(f"{out}: a table is written as {' or '.join(_WRITERS)}. Name such a file.")


def write_result(found: QueryResult, out: Path) -> None:
    """Write the whole ranked table, as csv or Parquet by the file's name.

    Raises
    ------
    ConfigError
        The name ends otherwise, or there is such a file.
    StorageError
        It cannot be written.
    """
    require_table_name(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, getattr(found.table, _WRITERS[out.suffix]))
    except OSError as error:
        raise StorageError(
            f"{out}: cannot be written ({error}). Free the disk or permit it, or choose another --out."
        ) from error

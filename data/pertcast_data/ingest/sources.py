"""What a user names as sources (files, patterns, folders) becomes the list of files to ingest.

A folder stands for the files of profiles in it, unless it is a data set itself (Zarr, 10x).
"""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError, FormatError, PertcastError, nearest_known
from pertcast_data.readers.registry import READERS
from pertcast_data.readers.source import ProfileSource
from pertcast_data.readers.text.delimited_columns import AnnotationTableError
from pertcast_data.text import listed

_REMOTE: Final = re.compile(r"(s3|gs):/")
_PATTERN: Final = re.compile(r"[*?\[]")
_TABLE_FORMATS: Final = ("parquet", "delimited")

log = logging.getLogger(__name__)


def expand_sources(given: Sequence[str | Path]) -> tuple[str | Path, ...]:
    """Return the sources that files, patterns and folders stand for, each once.

    Parameters
    ----------
    given
        Files, patterns ("plates/*.gctx", "**" goes into folders) and folders. A folder that a reader reads
        (Zarr, 10x) is one source; of any other the files that a reader reads are taken, in natural order
        (plate2 before plate10), without hidden files, subfolders that are no data set, and annotations.
        "s3://..." and "gs://..." are passed on as they are.

    Returns
    -------
    tuple of str or Path
        Paths; remote places as text.

    Raises
    ------
    ConfigError
        Nothing is named, or a pattern matches nothing.
    FormatError
        A file is absent, or a folder holds no file of profiles.
    """
    if not given:
        raise ConfigError("No file to ingest. Name at least one file, pattern or folder.")
    found: dict[str, str | Path] = {}
    for item in given:
        for source in _expanded(item):
            key = source if isinstance(source, str) else str(source.resolve())
            found.setdefault(key, source)
    return tuple(found.values())


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Return paths sorted by name, numbers in names by size: plate2 before plate10."""
    return sorted(paths, key=lambda path: (_natural_key(str(path)), str(path)))


def _natural_key(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", text.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _expanded(item: str | Path) -> Sequence[str | Path]:
    if _REMOTE.match(str(item)):
        return [item]
    path = Path(item).expanduser()
    try:
        if path.is_dir():
            return _of_folder(path)
        if path.exists():
            return [path]
    except OSError as error:
        # A name that is too long, or a folder that may not be looked into.
        raise FormatError(
            f"{path}: cannot be looked at ({error.strerror}). Check its name and permissions."
        ) from error
    if _PATTERN.search(str(path)):
        return _of_pattern(path)
    # What the names of a 10x matrix and its tables begin with is no file itself.
    if _reader_of(path) is not None:
        return [path]
    raise _absent(path)


def _absent(path: Path) -> FormatError:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    nearest = nearest_known(path.name, beside)
    hint = f" Nearest in {path.parent}: {', '.join(nearest)}." if nearest else ""
    return FormatError(f"{path}: no such file or folder. Check the path.{hint}")


def _of_pattern(pattern: Path) -> list[Path]:
    matches = natural_order(Path(match) for match in glob.glob(str(pattern), recursive=True))
    if not matches:
        raise ConfigError(
            f"{pattern}: matches no file. Check folder and ending, and put the pattern into quotes (then "
            "the shell leaves it alone)."
        )
    return [source for match in matches for source in (_of_folder(match) if match.is_dir() else [match])]


def _of_folder(folder: Path) -> list[Path]:
    if _reader_of(folder) is not None:
        return [folder]
    entries = natural_order(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    sources: list[Path] = []
    tables: list[Path] = []
    others: list[Path] = []
    for entry in entries:
        name = _reader_of(entry)
        chosen = others if name is None else tables if _is_annotation_table(entry, name) else sources
        chosen.append(entry)
    if not sources:
        raise FormatError(f"{folder}: {_nothing_found(tables, others)}")
    if tables or others:
        left = [entry.name for entry in (*tables, *others)]
        log.info("left out of a folder", extra={"folder": str(folder), "files": left})
    return sources


def _nothing_found(tables: Sequence[Path], others: Sequence[Path]) -> str:
    parts = ["holds no file of profiles."]
    if tables:
        names = listed(entry.name for entry in tables)
        parts.append(f"Tables of annotations: {names} (they belong into --obs-table).")
    if others:
        parts.append(f"Of no known format: {listed((entry.name for entry in others), 10)}.")
    if not tables and not others:
        parts.append("It is empty.")
    return f"{' '.join(parts)} Name files, or a folder of files of these formats: {', '.join(READERS)}."


def _reader_of(path: Path) -> str | None:
    """Return the name of the first reader that knows the content, None where none does."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        return None  # A pipe: opening it would wait for ever.
    return next((name for name, reader in READERS.items() if _detects(reader, path)), None)


def _detects(reader: type[ProfileSource], path: Path) -> bool:
    try:
        return reader.detects(path)
    except (OSError, ValueError, FormatError):
        # Readers of files cannot open folders, nor what is absent or no name of a file at all.
        return False


def _is_annotation_table(path: Path, name: str) -> bool:
    if name not in _TABLE_FORMATS:
        return False
    try:
        READERS[name](path)
    except AnnotationTableError:
        return True
    except PertcastError:
        return False
    return False

"""The manifest: which files make a dataset, with their sizes and checksums.

A Zarr reader takes a missing shard for zeros and may not check what it reads; therefore readers believe
only what the manifest lists, and a change becomes real in the moment the manifest is renamed into place.
"""

from __future__ import annotations

import json
import os
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import zarr

from pertcast_data.errors import CorruptStore, FormatError

MANIFEST_NAME: Final = "manifest.json"
FORMAT_NAME: Final = "pertcast-manifest"
_READ_BYTES: Final = 1 << 24
_SYNC_THREADS: Final = 16


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One file of a dataset.

    Attributes
    ----------
    path
        Path inside the dataset, with forward slashes.
    rows
        Length along the first axis that the file holds; 0 for metadata and tables.
    bytes
        Size; 0 for a shard that holds only the fill value and therefore has no file.
    crc32
        Checksum of the whole file.
    """

    path: str
    rows: int
    bytes: int
    crc32: int


@dataclass(frozen=True)
class Manifest:
    """The committed state of a dataset.

    Attributes
    ----------
    records
        The shards of the matrix, in order.
    tables
        Every other file: array metadata, observations, genes.
    facts
        What the writer wants its readers to know.
    """

    records: tuple[ShardRecord, ...]
    tables: tuple[ShardRecord, ...]
    facts: Mapping[str, Any]


def file_record(root: Path, relative: str, rows: int = 0, *, sync: bool = True) -> ShardRecord:
    """Measure a file that has just been written, and bring it safely to disk.

    A file that does not exist (a shard of nothing but the fill value) gets a record of 0 bytes.
    """
    target = root / relative
    if not target.exists():
        return ShardRecord(relative, rows, 0, 0)
    checksum = 0
    size = 0
    with target.open("rb") as file:
        while block := file.read(_READ_BYTES):
            checksum = zlib.crc32(block, checksum)
            size += len(block)
        if sync:
            os.fsync(file.fileno())
    return ShardRecord(relative, rows, size, checksum)


def record_problem(root: Path, record: ShardRecord, *, checksum: bool) -> str | None:
    """Return what is wrong with the file of `record`, or None; its content is read only for `checksum`."""
    target = root / record.path
    try:
        size = target.stat().st_size
    except FileNotFoundError:
        return "the file is missing" if record.bytes else None
    if size != record.bytes:
        return f"the file has {size} bytes, the manifest says {record.bytes}"
    if checksum:
        found = file_record(root, record.path, sync=False).crc32
        if found != record.crc32:
            return f"the checksum is {found:08x}, the manifest says {record.crc32:08x}"
    return None


def commit_manifest(
    path: Path | str,
    records: Iterable[ShardRecord],
    facts: Mapping[str, Any],
    *,
    consolidate: bool = True,
) -> Manifest:
    """Make `records` the committed state of the dataset at `path`.

    Files other than shards (metadata, observations, genes) are found and measured here. May be called again
    and again as shards arrive: each call replaces the manifest atomically.

    Parameters
    ----------
    path
        The dataset (a Zarr group on a local disk).
    records
        Shards that are complete, from `write_dense_shard` and its like.
    facts
        JSON-able facts for readers.
    consolidate
        Also write Zarr's consolidated metadata (needed once; it does not change as shards arrive).
    """
    root = Path(path)
    ordered = tuple(sorted(records, key=lambda record: _shard_order(record.path)))
    manifest = Manifest(ordered, _table_records(root), dict(facts))
    write_atomically(root / MANIFEST_NAME, _encode(manifest))
    if consolidate:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(str(root), zarr_format=3)
        _sync(root / "zarr.json")
    return manifest


def read_manifest(path: Path | str) -> Manifest:
    """Read the committed state.

    Raises
    ------
    FormatError
        There is no manifest: nothing was ever committed here.
    CorruptStore
        The manifest is truncated, altered or not one of ours.
    """
    target = Path(path) / MANIFEST_NAME
    try:
        text = target.read_bytes()
    except FileNotFoundError as error:
        raise FormatError(
            f"{path} has no {MANIFEST_NAME}: it is not a finished Pertcast dataset. "
            "Ingest the source file with `pertcast data ingest`."
        ) from error
    try:
        return _decode(text)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStore(
            f"{target} cannot be trusted ({error}). Restore it from a copy, or ingest the source again."
        ) from error


def check_files(path: Path | str, manifest: Manifest) -> None:
    """Check that every file is there with its size; raises CorruptStore naming the first that is not."""
    root = Path(path)
    for record in (*manifest.records, *manifest.tables):
        problem = record_problem(root, record, checksum=False)
        if problem is not None:
            raise CorruptStore(
                f"{root / record.path}: {problem}. Restore the file from a copy, or ingest the source again."
            )


def sync_directory(path: Path) -> None:
    """Bring the names in a directory safely to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_shard(relative: str) -> bool:
    """Whether a path inside a dataset is a chunk or shard file of the matrix X."""
    parts = relative.split("/")
    return parts[0] == "X" and "c" in parts[1:3] and parts[-1] != "zarr.json"


def dataset_files(root: Path) -> list[str]:
    """Return the paths of all files of a dataset but the manifest and the root metadata, sorted."""
    found = [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]
    return sorted(name for name in found if name not in (MANIFEST_NAME, "zarr.json"))


def _table_records(root: Path) -> tuple[ShardRecord, ...]:
    names = [name for name in dataset_files(root) if not is_shard(name)]
    # Together, so that the file system brings many small files to disk in one go.
    with ThreadPoolExecutor(max_workers=_SYNC_THREADS) as pool:
        return tuple(pool.map(partial(file_record, root), names))


def _shard_order(relative: str) -> tuple[str, list[int]]:
    array, _, coordinates = relative.partition("/c/")
    return array, [int(part) for part in coordinates.split("/") if part.isdigit()]


def _encode(manifest: Manifest) -> bytes:
    body = {
        "format": FORMAT_NAME,
        "facts": manifest.facts,
        "records": [asdict(record) for record in manifest.records],
        "tables": [asdict(record) for record in manifest.tables],
    }
    return json.dumps({"crc32": _body_checksum(body), **body}, indent=1).encode() + b"\n"


def _decode(text: bytes) -> Manifest:
    body = json.loads(text)
    stated = body.pop("crc32")
    if body["format"] != FORMAT_NAME:
        raise ValueError(f"its format is {body['format']!r}")
    if stated != _body_checksum(body):
        raise ValueError("its own checksum does not match")
    return Manifest(_records(body["records"]), _records(body["tables"]), body["facts"])


def _records(rows: Sequence[Mapping[str, Any]]) -> tuple[ShardRecord, ...]:
    return tuple(ShardRecord(**row) for row in rows)


def _body_checksum(body: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def write_atomically(target: Path, content: bytes) -> None:
    """Write a small file so that it is there whole or not at all, whatever happens."""
    temporary = target.with_name(target.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target)
    sync_directory(target.parent)


def _sync(target: Path) -> None:
    with target.open("rb") as file:
        os.fsync(file.fileno())

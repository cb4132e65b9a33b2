"""Reads every byte of a store and compares it with what was committed.

A store in a bucket is streamed: its shards are compared without being kept.
"""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pertcast_data.errors import CorruptStore, FormatError, ObjectMissing
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.storage import ObjectFolder, is_remote
from pertcast_data.store.conditions import observation_table
from pertcast_data.store.data_hash import content_hash
from pertcast_data.store.expression_store import ExpressionStore
from pertcast_data.store.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardRecord,
    dataset_files,
    read_manifest,
    record_problem,
)
from pertcast_data.store.mirror import StoreMirror, open_mirror
from pertcast_data.store.zarr_layout import open_array
from pertcast_data.text import counted

_THREADS: Final = 8
_ROOT_METADATA: Final = "zarr.json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a store: which file, and what."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def validate_store(path: Path | str, progress: ProgressCallback = no_progress) -> list[Problem]:
    """Return everything that is wrong with the store at `path`; an empty list means it can be trusted.

    Looked at are every file's size and checksum, files the manifest does not know, the shape of X, the row
    pointers and gene indices of a sparse X, condition names, and the content hash. Of a store in a bucket
    ("s3://bucket/atlas") every object is streamed; its gene indices are covered by the checksums alone.

    Raises
    ------
    FormatError
        There is no folder at `path`.
    ConfigError, StorageError
        A location that cannot be used: scheme, bucket, credentials, network.
    """
    if is_remote(path):
        return _remote_problems(path, progress)
    root = Path(path)
    if not root.exists():
        raise FormatError(f"{root}: no such folder. Check the path.")
    try:
        manifest = read_manifest(root)
    except (CorruptStore, FormatError) as error:
        return [Problem("manifest.json", str(error))]
    problems = [*_file_problems(root, manifest, progress), *_stray_files(root, manifest)]
    if problems:
        return problems
    try:
        store = ExpressionStore.open(root)
        return [*_matrix_problems(store), *_index_problems(store), *_table_problems(store, manifest)]
    except (CorruptStore, FormatError) as error:
        return [Problem(".", str(error))]


def require_valid_store(path: Path | str, progress: ProgressCallback = no_progress) -> None:
    """Raise CorruptStore naming every problem that `validate_store` finds."""
    problems = validate_store(path, progress)
    if problems:
        listed = "; ".join(map(str, problems[:10]))
        raise CorruptStore(
            f"The store {path} has {counted(len(problems), 'problem')}: {listed}. "
            "Restore the files from a copy, or ingest again."
        )


def _remote_problems(location: Path | str, progress: ProgressCallback) -> list[Problem]:
    try:
        # Tables are compared with their checksums as they arrive in the cache.
        mirror = open_mirror(location)
        problems = _object_problems(mirror, progress)
        if problems:
            return problems
        mirror.ensure(mirror.records_of("X/indptr"))
        store = ExpressionStore.open(location)
        return [*_matrix_problems(store), *_table_problems(store, mirror.manifest)]
    except (CorruptStore, FormatError) as error:
        return [Problem(".", str(error))]


def _object_problems(mirror: StoreMirror, progress: ProgressCallback) -> list[Problem]:
    """Compare every object with the manifest, several at once, and name those that it does not know."""
    objects = ObjectFolder(mirror.location)
    records = [record for record in (*mirror.manifest.records, *mirror.manifest.tables) if record.bytes]
    problems = []
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        found = pool.map(lambda record: _object_problem(objects, record), records)
        for done, (record, what) in enumerate(zip(records, found, strict=True), start=1):
            if what is not None:
                problems.append(Problem(record.path, what))
            progress(done, len(records), "checksums")
    known = {record.path for record in records} | {MANIFEST_NAME, _ROOT_METADATA}
    return problems + [
        Problem(entry.name, "the manifest does not know this object; delete it")
        for entry in objects.list()
        if entry.name not in known
    ]


def _object_problem(objects: ObjectFolder, record: ShardRecord) -> str | None:
    checksum = size = 0
    try:
        for block in objects.stream(record.path):
            checksum = zlib.crc32(block, checksum)
            size += len(block)
    except ObjectMissing:
        return "the object is missing"
    if size != record.bytes:
        return f"the object has {size} bytes, the manifest says {record.bytes}"
    if checksum != record.crc32:
        return f"the checksum is {checksum:08x}, the manifest says {record.crc32:08x}"
    return None


def _file_problems(root: Path, manifest: Manifest, progress: ProgressCallback) -> list[Problem]:
    problems = []
    records = (*manifest.records, *manifest.tables)
    for done, record in enumerate(records, start=1):
        what = record_problem(root, record, checksum=True)
        if what is not None:
            problems.append(Problem(record.path, what))
        progress(done, len(records), "checksums")
    return problems


def _stray_files(root: Path, manifest: Manifest) -> list[Problem]:
    known = {record.path for record in (*manifest.records, *manifest.tables)}
    return [
        Problem(name, "the manifest does not know this file; remove it")
        for name in dataset_files(root)
        if name not in known
    ]


def _matrix_problems(store: ExpressionStore) -> list[Problem]:
    info = store.info
    if info.layout == "dense":
        shape = open_array(store.path, "X", "r").shape
        return [] if shape == (info.n_rows, info.n_genes) else [Problem("X", f"its shape is {shape}")]
    indices = open_array(store.path, "X/indices", "r")
    values = open_array(store.path, "X/data", "r")
    indptr = np.asarray(open_array(store.path, "X/indptr", "r")[:])
    problems = [
        Problem(f"X/{name}", f"it has {array.shape[0]} elements, the manifest says {info.n_values}")
        for name, array in (("indices", indices), ("data", values))
        if array.shape[0] != info.n_values
    ]
    if (
        len(indptr) != info.n_rows + 1
        or indptr[0] != 0
        or indptr[-1] != info.n_values
        or (np.diff(indptr) < 0).any()
    ):
        problems.append(Problem("X/indptr", "the row pointers do not run from 0 to the number of values"))
    return problems


def _index_problems(store: ExpressionStore) -> list[Problem]:
    """Read every gene index of a sparse X; a dense one has none."""
    info = store.info
    if info.layout == "dense":
        return []
    indices = open_array(store.path, "X/indices", "r")
    step = (indices.shards or indices.chunks)[0]
    for start in range(0, indices.shape[0], step):
        if int(np.max(np.asarray(indices[start : start + step]))) >= info.n_genes:
            return [Problem("X/indices", f"a gene index is not below {info.n_genes}")]
    return []


def _table_problems(store: ExpressionStore, manifest: Manifest) -> list[Problem]:
    problems = []
    expected = observation_table(store.obs)
    for name in ("condition_id", "is_control"):
        if not expected[name].equals(store.obs[name]):
            problems.append(Problem(f"obs/{name}", "it does not follow from the other columns"))
    if content_hash(manifest.records, store.obs, store.genes) != store.data_hash:
        problems.append(
            Problem("manifest.json", "the content hash does not match shards, observations and genes")
        )
    return problems

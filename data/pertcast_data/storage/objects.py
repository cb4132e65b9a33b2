"""A folder of objects in a bucket: put, get, list, delete, each either whole or not at all.

Configuration comes from the usual environment only (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, AWS_REGION,
GOOGLE_APPLICATION_CREDENTIALS): this module keeps and reads no secrets of its own.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError
from obstore.store import GCSStore, S3Store

from pertcast_data.errors import StorageError
from pertcast_data.storage.failures import require_local_file, storage_errors
from pertcast_data.storage.location import RemoteLocation, parse_location

CHECKSUM_KEY: Final = "pertcast-crc32"
"""Metadata of an object: the CRC32 of its bytes, eight hexadecimal digits."""
_BLOCK_BYTES: Final = 8 << 20
_PART_BYTES: Final = 16 << 20
_DELETED_AT_ONCE: Final = 1000
_RETRIES: Final = {
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=120),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
# The whole of a large shard may take minutes; a server that says nothing for half a minute is gone.
_TIMEOUTS: Final = {"timeout": "15m", "connect_timeout": "5s", "read_timeout": "30s"}
_YES: Final = frozenset(("1", "true", "yes", "on", "t", "y"))


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object: its name inside the folder, its size in bytes, and its entity tag ("" where unknown)."""

    name: str
    size: int
    etag: str


class ObjectFolder:
    """The objects below a location; names are relative to it, with forward slashes.

    Every method raises StorageError where the object store refuses or cannot be reached (ObjectMissing where
    there is no such object), after a bounded number of retries with growing pauses.

    Parameters
    ----------
    location
        Such as "s3://bucket/atlas".
    """

    def __init__(self, location: str | Path | RemoteLocation) -> None:
        self.location = parse_location(location)

    @cached_property
    def _store(self) -> S3Store | GCSStore:
        kind: Any = {"s3": S3Store, "gs": GCSStore}[self.location.scheme]
        options: dict[str, Any] = dict(_TIMEOUTS)
        # Given options replace what the environment says of the client: it is said again.
        if os.environ.get("AWS_ALLOW_HTTP", "").lower() in _YES:
            options["allow_http"] = True
        with storage_errors(self.location.url, "open"):
            made: S3Store | GCSStore = kind(
                self.location.bucket,
                prefix=self.location.key or None,
                client_options=options,
                retry_config=_RETRIES,
            )
        return made

    def url(self, name: str) -> str:
        """Return the full location of an object."""
        return f"{self.location.url}/{name}" if name else self.location.url

    def put(self, name: str, content: bytes | Path, checksum: int | None = None) -> None:
        """Write an object whole, in several parts where it is large; readers see the old one or the new one.

        Parameters
        ----------
        name
            Name in the folder.
        content
            The bytes, or the file that holds them.
        checksum
            CRC32 of the bytes, kept as metadata `CHECKSUM_KEY`.
        """
        store = self._store
        attributes: Any = None if checksum is None else {CHECKSUM_KEY: f"{checksum:08x}"}
        if isinstance(content, Path):
            require_local_file(content)
        with storage_errors(self.url(name), "write"):
            obstore.put(
                store, name, content, attributes=attributes, chunk_size=_PART_BYTES, max_concurrency=4
            )

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write an object where there is none; False, and nothing written, where there is one.

        The object store decides: of several writers at once exactly one is told True.
        """
        store = self._store
        with storage_errors(self.url(name), "write"):
            try:
                obstore.put(store, name, content, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def get(self, name: str) -> bytes:
        """Return the bytes of an object."""
        return b"".join(self.stream(name))

    def stream(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of an object block by block."""
        store = self._store
        with storage_errors(self.url(name), "read"):
            for block in obstore.get(store, name).stream(min_chunk_size=_BLOCK_BYTES):
                yield bytes(block)

    def get_to(
        self,
        name: str,
        path: Path,
        *,
        check: Callable[[Path], None] | None = None,
        on_bytes: Callable[[int], None] | None = None,
        resumed: ObjectEntry | None = None,
    ) -> None:
        """Bring an object to a local file: a temporary name, synced to disk, checked, renamed.

        Parameters
        ----------
        name
            Name in the folder.
        path
            The local file; its folder is made.
        check
            Called with the complete temporary file; what it raises ends the transfer, and `path` stays as it
            was.
        on_bytes
            Called with the number of bytes after each block.
        resumed
            Go on where an earlier call for the same entity tag ended; the caller holds a lock on `path`.
        """
        ending = "part" if resumed else f"{os.getpid()}-{secrets.token_hex(4)}.part"
        temporary = path.with_name(f".{path.name}.{ending}")
        with storage_errors(self.url(name), "read"):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._transfer(name, temporary, resumed, on_bytes)
            if check is not None:
                check(temporary)
            with storage_errors(self.url(name), "read"):
                os.replace(temporary, path)
        except BaseException:
            if resumed is None:
                temporary.unlink(missing_ok=True)
            raise

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        return self.head(name) is not None

    def size(self, name: str) -> int:
        """Return the bytes of an object; ObjectMissing where there is none."""
        with storage_errors(self.url(name), "read"):
            return int(obstore.head(self._store, name)["size"])

    def head(self, name: str) -> ObjectEntry | None:
        """Return what is known of an object, None where there is none."""
        with storage_errors(self.url(name), "read"):
            try:
                found = obstore.head(self._store, name)
            except (NotFoundError, FileNotFoundError):
                return None
        return ObjectEntry(name, int(found["size"]), str(found["e_tag"] or ""))

    def stated_checksum(self, name: str) -> int | None:
        """Return the CRC32 that was kept as metadata when the object was written, None where none was."""
        with storage_errors(self.url(name), "read"):
            attributes = obstore.get(self._store, name, options={"head": True}).attributes
        stated = str(attributes.get(CHECKSUM_KEY, ""))
        try:
            return int(stated, 16) if stated else None
        except ValueError:
            return None

    def list(self, prefix: str = "") -> list[ObjectEntry]:
        """Return every object below `prefix` (whole parts of a name: "X" does not find "X2/..."), by name."""
        entries = []
        with storage_errors(self.url(prefix), "list"):
            for page in obstore.list(self._store, prefix or None):
                entries += [
                    ObjectEntry(str(each["path"]), int(each["size"]), str(each["e_tag"] or ""))
                    for each in page
                ]
        return sorted(entries, key=lambda entry: entry.name)

    def delete(self, prefix: str) -> int:
        """Delete every object below `prefix` and the one of that very name; returns how many there were.

        Raises
        ------
        StorageError
            `prefix` is empty: a whole location is not deleted by mistake.
        """
        if not prefix.strip("/"):
            raise StorageError(f"Nothing was named to delete below {self.location}. Name what is to go.")
        names = [entry.name for entry in self.list(prefix)]
        if self.exists(prefix):
            names.append(prefix)
        with storage_errors(self.url(prefix), "delete"):
            for start in range(0, len(names), _DELETED_AT_ONCE):
                obstore.delete(self._store, names[start : start + _DELETED_AT_ONCE])
        return len(names)

    def _transfer(
        self,
        name: str,
        temporary: Path,
        resumed: ObjectEntry | None,
        on_bytes: Callable[[int], None] | None,
    ) -> None:
        """Write an object's bytes, or those that are still missing, to `temporary`, and sync them."""
        begun = temporary.stat().st_size if resumed and temporary.exists() else 0
        if resumed and begun > resumed.size:
            temporary.unlink()
            begun = 0
        options: Any = {}
        if resumed and resumed.etag:
            options["if_match"] = resumed.etag
        if begun:
            options["range"] = {"offset": begun}
        expected = resumed.size if resumed else -1
        with storage_errors(self.url(name), "read"), temporary.open("ab" if begun else "wb") as file:
            if begun and on_bytes is not None:
                on_bytes(begun)
            if begun != expected:
                found = obstore.get(self._store, name, options=options)
                expected = int(found.meta["size"])
                for block in found.stream(min_chunk_size=_BLOCK_BYTES):
                    file.write(block)
                    if on_bytes is not None:
                        on_bytes(len(block))
            file.flush()
            os.fsync(file.fileno())
        size = temporary.stat().st_size
        if size != expected:
            raise StorageError(
                f"Cannot read {self.url(name)}: {size} of {expected} bytes arrived. Run again: it goes on."
            )

"""Downloads of large files: what broke off is resumed, and the whole is checked before it has its name."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Final

import httpx
from pertcast_data.errors import StorageError

from pertcast_serve.client.errors import DownloadDamaged, Overloaded, RequestRefused, ServerError, unreachable
from pertcast_serve.client.transport import Transport
from pertcast_serve.schemas.screens import Artifact

_TRIES: Final = 5
"""Breaks in a row without a new byte."""


def download(transport: Transport, path: str, artifact: Artifact, target: Path) -> Path:
    """Write a file of the server to `target`.

    Its bytes gather in `target` + ".part", which another call goes on with.

    Raises
    ------
    DownloadDamaged
        What came is not what the server lists; the part is removed.
    ServerError
        The server refuses, or broke off again and again; the part is kept.
    StorageError
        `target` cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(transport, path, artifact, part)
        if _sha256(part) != artifact.sha256:
            part.unlink()
            raise DownloadDamaged(
                f"{artifact.name} came with other bytes than the server lists (sha256 {artifact.sha256}). "
                "They were removed: download it again; if that fails too, a proxy changes it on its way."
            )
        os.replace(part, target)
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error}. Choose another folder or free space."
        ) from error
    return target


def _fetch(transport: Transport, path: str, artifact: Artifact, part: Path) -> None:
    """Append to `part` until it has all bytes."""
    tries = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        if have > artifact.bytes:
            part.unlink()
            have = 0
        if have == artifact.bytes and part.exists():
            return
        try:
            _append(transport, path, artifact, part, have)
            failure: ServerError | None = None
        except httpx.TransportError as error:
            failure = unreachable(transport.url, error)
        except Overloaded as error:
            failure = error
        grown = part.exists() and part.stat().st_size > have
        tries = 0 if grown else tries + 1
        if tries >= _TRIES:
            raise failure or DownloadDamaged(
                f"{artifact.name} ends after {have} of {artifact.bytes} bytes. Is the server's disk whole?"
            )
        if failure is not None:
            time.sleep(min(5.0, 0.2 * 2**tries))


def _append(transport: Transport, path: str, artifact: Artifact, part: Path, have: int) -> None:
    # Bytes must be those of the file: no coding on the way.
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": f'"{artifact.sha256}"'}
    with transport.stream(path, headers) as answer:
        if answer.status_code == 200 and answer.headers.get("etag") not in (None, f'"{artifact.sha256}"'):
            raise RequestRefused(
                "The file changed", f"{artifact.name} is another file by now. Download it again."
            )
        with part.open("ab" if answer.status_code == 206 else "wb") as file:
            # As they come: what a break leaves in a buffer would be lost.
            for chunk in answer.iter_bytes():
                file.write(chunk)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

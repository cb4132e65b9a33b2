"""Folders that appear whole or not at all, and hashes of what is in them.

Checkpoints and bundles are written through these: to a temporary sibling, synced, then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pertcast_data.errors import CorruptBundle
from safetensors import SafetensorError
from torch import Tensor

_READ_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal text."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Make a file's (or, on POSIX, a folder's) bytes durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write sorted, indented JSON through a temporary sibling; NaN is refused (ValueError)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    sync_file(temporary)
    temporary.replace(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file through a temporary sibling."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    sync_file(temporary)
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Make every file below `folder`, and the folder itself, durable."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sync_file(path)
    sync_file(folder)


def replace_folder(temporary: Path, path: Path) -> None:
    """Rename a finished folder to `path`; what stood there stays until the new one is in place."""
    sync_folder(temporary)
    previous = path.with_name(f".{path.name}.previous")
    shutil.rmtree(previous, ignore_errors=True)
    if path.exists():
        path.rename(previous)
    temporary.rename(path)
    sync_file(path.parent)
    shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors."""
    safetensors.torch.save_file({name: value.contiguous() for name, value in tensors.items()}, path)


def load_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; CorruptBundle where it is not one."""
    try:
        found = safetensors.torch.load_file(path, device=str(device))
    except SafetensorError as error:
        raise CorruptBundle(f"{path} cannot be read: {error}.") from error
    # On the CPU they are views of the mapped file, which may be deleted (and holds its space) or go away.
    return {name: value.clone() for name, value in found.items()}

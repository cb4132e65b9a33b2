"""A dataset is built beside its place and moved there when it is complete.

Whatever stops a writer, the place holds either nothing or what it held before. What a killed writer left
beside it is removed by the next writer on the same machine.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError
from pertcast_data.storage.location import is_remote
from pertcast_data.store.disk_space import disk_errors
from pertcast_data.store.manifest import sync_directory

_MARK: Final = ".partial-"
_EXCHANGE: Final = 2
_CURRENT_DIRECTORY: Final = -100


@contextmanager
def staging_directory(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `target`; it becomes `target` when the block ends without an error.

    Parameters
    ----------
    target
        The final place.
    replace
        Whether `target` exists and is to be replaced; else it must not exist.

    Raises
    ------
    ConfigError
        `target` exists although it should not.
    """
    if is_remote(target):
        raise ConfigError(
            f"{target}: a store in a bucket is not written row by row. Write a local one and publish it, or "
            "use `pertcast data ingest --out s3://...`."
        )
    if not replace:
        require_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    staged = target.parent / f".{target.name}{_MARK}{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    staged.mkdir()
    try:
        with disk_errors(target.parent, "Free space there, or choose another disk; nothing was left behind."):
            yield staged
        sync_directory(staged)
        if replace:
            exchange_directories(staged, target)
        else:
            require_free(target)
            os.rename(staged, target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def require_free(target: Path) -> None:
    """Raise ConfigError where `target` already exists."""
    if os.path.lexists(target):
        raise ConfigError(f"{target} already exists. Choose another path, or remove it first.")


def exchange_directories(staged: Path, target: Path) -> None:
    """Swap the two folders, atomically where the system can; `staged` then is the old one."""
    library = ctypes.CDLL(None, use_errno=True)
    rename = getattr(library, "renameat2", None)
    places = (_CURRENT_DIRECTORY, os.fsencode(staged), _CURRENT_DIRECTORY, os.fsencode(target))
    if rename is not None and rename(*places, _EXCHANGE) == 0:
        return
    old = staged.with_name(staged.name + ".old")
    os.rename(target, old)
    try:
        os.rename(staged, target)
    except OSError:
        os.rename(old, target)
        raise
    os.rename(old, staged)


def _remove_abandoned(target: Path) -> None:
    prefix = f".{target.name}{_MARK}{_host()}-"
    for sibling in target.parent.glob(f"{_glob_safe(prefix)}*"):
        process = sibling.name.removeprefix(prefix).split("-")[0]
        # An exchange in two steps may have been killed half-way: then `.old` is the only complete copy.
        if (
            process.isdigit()
            and not _is_alive(int(process))
            and target.exists() | (not sibling.name.endswith(".old"))
        ):
            shutil.rmtree(sibling, ignore_errors=True)


def _glob_safe(text: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in socket.gethostname())

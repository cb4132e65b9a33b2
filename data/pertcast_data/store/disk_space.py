"""A full disk told as such: the libraries below report it in words of their own."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pertcast_data.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("os error 28", "No space left", "os error 122", "quota exceeded")


@contextmanager
def disk_errors(place: Path, remedy: str) -> Iterator[None]:
    """Turn what the block raises on a full disk into StorageError; everything else passes.

    Parameters
    ----------
    place
        A folder on that disk.
    remedy
        What to do once there is space.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not is_disk_full(error):
            raise
        raise StorageError(f"{place}: the disk is full ({_free(place)} free). {remedy}") from error


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says, by number or in words, that nothing more can be written."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(word in str(error) for word in _FULL_WORDS)


def _free(place: Path) -> str:
    while not place.exists() and place != place.parent:
        place = place.parent
    return f"{shutil.disk_usage(place).free / 1e6:,.0f} MB"

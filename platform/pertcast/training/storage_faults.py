"""Storage that is away or full for a while: what counts as that, and how long it is waited for."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

from pertcast_data.errors import StorageError
from safetensors import SafetensorError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class StorageUnavailable(StorageError):
    """A place of a run could not be read or written for longer than `train.storage_patience_s`."""


_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def _number_within(error: BaseException) -> int | None:
    """Return the system's number of an error that safetensors tells in words only."""
    found = _OS_ERROR.search(str(error)) if isinstance(error, SafetensorError) else None
    return None if found is None else int(found.group(1))


def is_storage_fault(error: BaseException) -> bool:
    """Whether an error tells of storage, not of a mistake in the program or in the settings."""
    if isinstance(error, StorageUnavailable):
        return False
    return isinstance(error, (OSError, StorageError)) or _number_within(error) is not None


def reason_of(error: BaseException) -> str:
    """Return a fault in a few words: the system's own ("No space left on device") and the file."""
    number = _number_within(error)
    if number is not None:
        return os.strerror(number)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def remedy_of(reason: str) -> str:
    """Return what to do about a fault, by its words."""
    if any(os.strerror(number) in reason for number in (errno.ENOSPC, errno.EDQUOT)):
        return "Free some space there"
    if any(os.strerror(number) in reason for number in (errno.EACCES, errno.EPERM, errno.EROFS)):
        return "Give this user the right to write there"
    return "Bring it back (is it mounted, can it be reached from every machine?)"


def patiently(action: Callable[[], Result], patience_s: float, doing: str, remedy: str) -> Result:
    """Return what `action` returns, tried again after growing pauses while storage is away.

    Parameters
    ----------
    action
        Raises a storage fault (`is_storage_fault`) where the storage cannot be used.
    patience_s
        Seconds until giving up.
    doing
        What is tried, for the messages: "write the bundle runs/first/bundle".
    remedy
        How to go on once the storage is back, a whole sentence.

    Raises
    ------
    StorageUnavailable
        It failed for `patience_s` seconds.
    """
    began, pause = time.monotonic(), FIRST_PAUSE_S
    while True:
        try:
            return action()
        except Exception as error:
            if not is_storage_fault(error):
                raise
            reason, left = reason_of(error), patience_s - (time.monotonic() - began)
            if left <= 0:
                raise StorageUnavailable(
                    f"Could not {doing} for {patience_s:g} s (train.storage_patience_s): {reason}. "
                    f"{remedy_of(reason)}. {remedy}"
                ) from error
        log.warning("could not %s: %s; trying again for another %.0f s", doing, reason, left)
        time.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE_S)

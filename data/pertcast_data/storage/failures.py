"""What an object store's refusals mean, and what to do about each."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from pertcast_data.errors import ObjectMissing, StorageError

_CREDENTIALS: Final = (
    "Set the credentials in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and "
    "AWS_SESSION_TOKEN) for s3://, GOOGLE_APPLICATION_CREDENTIALS for gs://."
)
_NETWORK: Final = (
    "Check the network, and AWS_ENDPOINT_URL where the store is not Amazon's (AWS_ALLOW_HTTP=true for an "
    "http:// endpoint); then run again: what has arrived is kept."
)
_KEY_WORDS: Final = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthFailure",
)
# The bare address of a machine's own credentials service: asked only where the environment names none.
_NO_CREDENTIALS: Final = (
    "169.254.169.254",
    "metadata.google.internal",
    "Missing Access",
    "Missing Secret",
)
_LONGEST_DETAIL: Final = 300


@contextmanager
def storage_errors(url: str, doing: str) -> Iterator[None]:
    """Turn every exception of the object store inside the block into a `StorageError` naming `url`.

    Parameters
    ----------
    url
        The location that is used.
    doing
        What was tried: "read", "write", "list".
    """
    try:
        yield
    except BaseError as error:
        raise storage_error(error, url, doing) from error
    except FileNotFoundError as error:
        # obstore's NotFoundError is one; a local file that is missing has a name.
        raise storage_error(error, url, doing) from error
    except OSError as error:
        raise disk_error(error, url, doing) from error
    except ValueError as error:
        raise StorageError(f"Cannot {doing} {url}: {detail(error)}. {_CREDENTIALS}") from error


def storage_error(error: Exception, url: str, doing: str) -> StorageError:
    """Return the `StorageError` for an exception of the object store."""
    text = str(error)
    what = f"Cannot {doing} {url}"
    if "NoSuchBucket" in text or "bucket does not exist" in text.lower():
        return StorageError(f"{what}: the bucket does not exist. Check its name, or create it first.")
    if isinstance(error, (NotFoundError, FileNotFoundError)):
        return ObjectMissing(f"{what}: there is no such object. Check the location's spelling.")
    if isinstance(error, UnauthenticatedError) or any(word in text for word in _KEY_WORDS):
        return StorageError(f"{what}: the credentials are not accepted ({detail(error)}). {_CREDENTIALS}")
    if any(word in text for word in _NO_CREDENTIALS):
        return StorageError(f"{what}: no credentials were found ({detail(error)}). {_CREDENTIALS}")
    if isinstance(error, PermissionDeniedError):
        return StorageError(
            f"{what}: permission denied ({detail(error)}). Ask the bucket's owner for the right to {doing}."
        )
    if isinstance(error, PreconditionError):
        return StorageError(f"{what}: the object was changed meanwhile. Run again: the new one is taken.")
    if isinstance(error, InvalidPathError):
        return StorageError(f"{what}: the name cannot be a key ({detail(error)}). Rename the object.")
    return StorageError(f"{what}: {detail(error)}. {_NETWORK}")


def disk_error(error: OSError, url: str, doing: str) -> StorageError:
    """Return the `StorageError` for a local disk that does not take or give bytes."""
    where = f" ({error.filename})" if error.filename else ""
    remedy = "Check the folder's permissions, or set PERTCAST_CACHE to another one."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "The disk is full: free some space, or set PERTCAST_CACHE and PERTCAST_CACHE_GB."
    return StorageError(f"Cannot {doing} {url}: {error.strerror or error}{where}. {remedy}")


def require_local_file(path: Path) -> None:
    """Raise StorageError where a local file that is to be uploaded is not there."""
    if not path.is_file():
        raise StorageError(f"There is no file {path} to upload. Check the path, or write the file first.")


def detail(error: Exception) -> str:
    """Return the first line of an exception's text, without the Rust debug print below it."""
    text = str(error).partition("\n\nDebug source")[0].partition("Debug source:")[0]
    return re.sub(r"\s+", " ", text).strip().rstrip(".")[:_LONGEST_DETAIL] or type(error).__name__

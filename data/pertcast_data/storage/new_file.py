"""A file that is written under another name and gets its own when it is whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pertcast_data.errors import ConfigError, StorageError
from pertcast_data.store.staging import require_free


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; the file gets its name when the block ends without an error.

    Raises
    ------
    ConfigError
        `path` exists, or its folder does not.
    StorageError
        It cannot be written: a full disk, a folder without permission.
    """
    require_free(path)
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder. Make it, or choose another place.")
    temporary = path.with_name(f".partial-{secrets.token_hex(8)}{path.suffix[:8]}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        require_free(path)
        os.rename(temporary, path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error}). Nothing is left of it; mend that and try again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()

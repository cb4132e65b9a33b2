"""Whether the files of a finished screen are those that its manifest records, asked before they are read.

A chunk of profiles that is not there reads as NaN, and a changed byte as another number: neither is noticed
by who reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pertcast_data.errors import CorruptStore

from pertcast.screens.files import RANKS
from pertcast.training.files import sha256_of

REMEDY: Final = "Fetch the screen again where it was copied from, or run it again into another folder."


def require_intact(
    path: Path, manifest: Mapping[str, Any], names: Iterable[str], *, checksum: bool = True
) -> None:
    """Check files of a finished screen against its manifest.

    Parameters
    ----------
    path
        The screen's folder.
    manifest
        What its manifest.json holds. One without "files" (not written by a screen) allows no check.
    names
        Files, and folders whose files are all meant. Those that the manifest does not record are passed over,
        and so is ranks.zarr where the whole folder was taken out: ranks can be computed.
    checksum
        Compare the SHA-256 of the bytes, and not only their number.

    Raises
    ------
    CorruptStore
        A file is missing or not as it was written.
    """
    wanted = tuple(names)
    for name, record in dict(manifest.get("files") or {}).items():
        if not any(name == each or name.startswith(f"{each}/") for each in wanted):
            continue
        if name.startswith(f"{RANKS}/") and not (path / RANKS).exists():
            continue
        if (problem := file_problem(path / name, record, checksum=checksum)) is not None:
            raise CorruptStore(f"{path / name}: {problem}. {REMEDY}")


def file_problem(file: Path, record: Mapping[str, Any], *, checksum: bool) -> str | None:
    """Return what is wrong with a file, None where it is as recorded."""
    if not file.is_file():
        return "is missing"
    size = file.stat().st_size
    if size != record.get("bytes"):
        return f"has {size:,} bytes, the manifest says {record.get('bytes'):,}"
    if checksum and sha256_of(file) != record.get("sha256"):
        return "is damaged: its SHA-256 is not the one in the manifest"
    return None

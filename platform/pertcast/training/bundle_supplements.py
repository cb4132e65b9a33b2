"""What is added to a finished bundle, each a file of its own; a bundle is whole without."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pertcast_data.errors import ConfigError, CorruptBundle

from pertcast.training.bundle_manifest import MANIFEST, read_manifest, sealed
from pertcast.training.files import write_bytes, write_json

SUPPLEMENTS: Final = ("hit_calibration",)


def read_supplements(path: Path, records: Mapping[str, Any]) -> dict[str, bytes]:
    """Read and verify the supplements that the manifest of the bundle at `path` names.

    Raises
    ------
    CorruptBundle
        One is missing or damaged.
    """
    found = {}
    for name, record in records.items():
        file = path / record["file"]
        if not file.is_file():
            raise CorruptBundle(f"{file} is missing; copy the bundle again, whole.")
        found[name] = file.read_bytes()
        if hashlib.sha256(found[name]).hexdigest() != record["sha256"]:
            raise CorruptBundle(f"{file} is damaged (its SHA-256 is not the recorded one); copy it again.")
    return found


def add_supplement(path: Path | str, name: str, content: bytes) -> str:
    """Add a file to a finished bundle, or replace the one of the same name; the content hash stays.

    The file is named by its content and the manifest is written after it, so that a bundle is whole at any
    moment; a file that is replaced is removed last.

    Parameters
    ----------
    path
        A bundle's folder.
    name
        One of `SUPPLEMENTS`.
    content
        The bytes of a safetensors file.

    Returns
    -------
    str
        SHA-256 of the content.

    Raises
    ------
    ConfigError
        `name` is no supplement.
    CorruptBundle
        `path` is no bundle.
    """
    if name not in SUPPLEMENTS:
        raise ConfigError(f"A bundle has no supplement {name!r}; known: {', '.join(SUPPLEMENTS)}.")
    path = Path(path)
    manifest = read_manifest(path)
    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}-{digest[:16]}.safetensors"
    write_bytes(path / file, content)
    known = dict(manifest.get("supplements", {}))
    previous = known.get(name, {}).get("file")
    known[name] = {"file": file, "bytes": len(content), "sha256": digest}
    write_json(path / MANIFEST, sealed({**manifest, "supplements": known}))
    if previous is not None and previous != file:
        (path / previous).unlink(missing_ok=True)
    return digest

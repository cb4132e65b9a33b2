"""The generator's name tag: a version for people and a hash of its own source for machines.

Both are written into every file of an atlas and stated by reports: numbers of two generators never mix.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

GENERATOR_VERSION: Final = "2.0"
"""Raised with every change that changes what is simulated."""


@cache
def generator_hash() -> str:
    """Return the SHA-256 (hex) of the source files of this package, those of the packages in it included."""
    return hash_of_sources(Path(__file__).parent)


def hash_of_sources(folder: Path) -> str:
    """Return the SHA-256 (hex) of all Python files under `folder`, paths and content, in order."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()

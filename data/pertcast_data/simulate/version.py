"""The generator's name tag: a version for people and a hash of its own source for machines.

Both are written into every file of an atlas and stated by reports: numbers of two generators never mix.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

GENERATOR_VERSION: Final = "1.0"
"""Raised with every change that changes what is simulated."""


@cache
def generator_hash() -> str:
    """Return the SHA-256 (hex) of the source files of this package, in order of their names."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0")
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()

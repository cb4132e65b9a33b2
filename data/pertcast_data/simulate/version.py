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

SAME_DATA: Final = ("7eff92f1fe49f400de3291c809d2bfe80c577e94fa19d163821eebcfba28048c",)
"""Hashes of earlier sources that simulate the same bytes, wherever no setting is used that they lack.

Without `type_coupling` (every array and table of all regimes was compared at three sizes).
"""


@cache
def generator_hash() -> str:
    """Return the SHA-256 (hex) of the source files of this package, those of the packages in it included."""
    return hash_of_sources(Path(__file__).parent)


def gives_same_data(other_hash: object) -> bool:
    """Whether figures of the generator with this hash stand beside today's: the data are the same bytes."""
    return other_hash == generator_hash() or other_hash in SAME_DATA


def hash_of_sources(folder: Path) -> str:
    """Return the SHA-256 (hex) of all Python files under `folder`, paths and content, in order."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()

"""Ids of screens: they sort by time, cannot be guessed, and are checked before any path is made of them."""

from __future__ import annotations

import re
import secrets
import time
from typing import Final

_LETTERS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_LETTERS: Final = 9
"""32^9 milliseconds reach beyond the year 3000."""
_RANDOM_LETTERS: Final = 8
_PATTERN: Final = re.compile(f"[{_LETTERS}]{{{_TIME_LETTERS + _RANDOM_LETTERS}}}", re.ASCII)


def new_identifier() -> str:
    """Return an id of 17 letters and digits that sorts after all earlier ones (to the millisecond)."""
    left, letters = time.time_ns() // 1_000_000, ""
    for _ in range(_TIME_LETTERS):
        left, digit = divmod(left, len(_LETTERS))
        letters = _LETTERS[digit] + letters
    return letters + "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM_LETTERS))


def is_identifier(text: str) -> bool:
    """Return whether a text from outside may be an id, which leads a path nowhere else."""
    return _PATTERN.fullmatch(text) is not None

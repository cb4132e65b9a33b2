"""What work in pieces on Ray Data shares: quiet progress, and errors that arrive as they were raised.

An expected error travels as a row: Ray would hand it on as text inside a traceback of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pertcast_data.errors
import ray.data
from pertcast_data.errors import PertcastError

NO_FAILURE = {"failure": "", "message": ""}


def failure(error: PertcastError) -> dict[str, str]:
    """Return the columns that carry an error."""
    return {"failure": type(error).__name__, "message": str(error)}


def raise_failure(row: Mapping[str, Any]) -> None:
    """Raise the error that a row carries, if it carries one; a kind that is not known becomes the base."""
    if not row["failure"]:
        return
    kind = getattr(pertcast_data.errors, row["failure"], PertcastError)
    # An unknown name's error is made of more than its message.
    raise (kind if kind.__init__ is PertcastError.__init__ else PertcastError)(row["message"])


@contextmanager
def quiet_ray_data() -> Iterator[None]:
    """Keep Ray Data's own bars and notes off the terminal: the command line shows one bar."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before, level = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = before
        logger.setLevel(level)

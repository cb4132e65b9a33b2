"""How long-running functions tell of their progress; drawing it is the command line's business."""

from __future__ import annotations

from typing import Protocol


class ProgressCallback(Protocol):
    """Called with what is done, the total (0 where it is not known yet) and a note."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Take notice of the new state."""
        ...


def no_progress(done: int, total: int, note: str = "") -> None:
    """Ignore progress: the default of every function that reports it."""

"""One way to show progress: a bar with rate and ETA on a terminal, plain lines elsewhere.

Libraries take a `ProgressCallback`; only the command line knows how it is drawn.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pertcast_data.progress import ProgressCallback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LINE_EVERY_S = 5.0
_LEAST_S = 1.0
"""Seconds that a rate is measured over at least."""


def _plain_line(title: str, unit: str, rate: float, done: int, total: int, note: str) -> str:
    share = f"{done:,}/{total:,}" if total else f"{done:,}"
    eta = f", ETA {(total - done) / rate:,.0f} s" if total and rate > 0 and done < total else ""
    return f"{title}: {share} {unit}, {rate:,.0f}/s{eta}{', ' + note if note else ''}"


@contextmanager
def _plain(title: str, unit: str) -> Iterator[ProgressCallback]:
    started = time.monotonic()
    printed, line = started, ""
    first: tuple[float, int] | None = None

    def update(done: int, total: int, note: str = "") -> None:
        nonlocal printed, line, first
        now = time.monotonic()
        # What a resumed run had done before says nothing of how fast this one is.
        first = first or (now, done)
        since, before = (started, 0) if now - first[0] < _LEAST_S or done == first[1] else first
        rate = (done - before) / (now - since) if now > since else 0.0
        line = _plain_line(title, unit, rate, done, total, note)
        if now - printed >= _LINE_EVERY_S:
            printed = now
            print(line, file=sys.stderr, flush=True)

    try:
        yield update
    finally:
        if line:
            print(f"{line} ({time.monotonic() - started:.1f} s)", file=sys.stderr, flush=True)


@contextmanager
def _bar(title: str, unit: str) -> Iterator[ProgressCallback]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None, note="")
        yield lambda done, total, note="": progress.update(
            task, completed=done, total=total or None, note=note
        )


@contextmanager
def progress_bar(title: str, unit: str = "rows") -> Iterator[ProgressCallback]:
    """Show progress on standard error while the block runs.

    Parameters
    ----------
    title
        What is going on, in a few words.
    unit
        What is counted.

    Yields
    ------
    ProgressCallback
        To be called as ``update(done, total, note)`` as often as wanted.
    """
    draw = _bar if sys.stderr.isatty() else _plain
    with draw(title, unit) as update:
        yield update


@contextmanager
def told_regularly(tell: Callable[[], None], every_s: float = 1.0) -> Iterator[None]:
    """Call `tell` every `every_s` seconds from a thread while the block runs, and once at its end.

    For work whose progress is written down elsewhere (by workers, by trials) and has to be asked for.
    """
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(every_s):
            tell()

    thread = threading.Thread(target=follow, name="told-regularly", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell()

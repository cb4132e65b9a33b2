"""How a command is stopped: Ctrl-C (SIGINT) ends with 130, preemption (SIGTERM) with 143, with a hint."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from pertcast_data.errors import Preempted

INTERRUPTED: Final = 130
PREEMPTED: Final = 143


@contextmanager
def sigterm_stops() -> Iterator[None]:
    """Let SIGTERM raise `Preempted` inside the block, so that what is begun is tidied up.

    Where the program that called already answers to SIGTERM, it still does. A process that was forked inside
    the block ends at once, as without it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        raise Preempted("stopped by SIGTERM")

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def stop_behind(end: BaseException) -> KeyboardInterrupt | None:
    """Return the stop that an exit follows from, or None."""
    cause: BaseException | None = end
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause


def stop_message(stop: KeyboardInterrupt | None, words: Sequence[str]) -> str:
    """Return what a stopped command says last: what happened, and how to go on.

    Parameters
    ----------
    stop
        What stopped it.
    words
        The command line, without the program's name.
    """
    happened = str(stop) if stop is not None and str(stop) else "interrupted"
    if words[:1] == ["job"]:
        return happened
    if words[:1] != ["train"]:
        return f"{happened}; run the same command again to go on"
    again = list(words) if "--resume" in words else [*words, "--resume"]
    return f"{happened}; go on with: pertcast {shlex.join(again)}"

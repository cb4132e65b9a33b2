"""How a command is stopped: Ctrl-C (SIGINT) ends with 130, preemption (SIGTERM) with 143, with a hint."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from pertcast_data.errors import Preempted

INTERRUPTED: Final = 130
PREEMPTED: Final = 143
_AGAIN_S: Final = 0.05
"""Seconds after which a stop that was lost comes again: the callback that it met is over by then."""


@contextmanager
def stops_heard() -> Iterator[None]:
    """Let SIGTERM raise `Preempted` inside the block, so that what is begun is tidied up.

    What Python or a library would lose comes again: a stop that meets an import is raised after it (extension
    modules make other errors of it, or none); one that was raised inside a callback (of a weak reference, of
    an object that goes), which lets nothing through, is sent once more, and so is a SIGINT. Further ones do
    not disturb the tidying up (batch systems send SIGTERM to a script and to its children).

    Where the program that called already answers to SIGTERM, it still does. A process that was forked inside
    the block ends at once, as without it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    sender, own, tell_others = _Sender(), os.getpid(), sys.unraisablehook

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        if _is_importing(frame):
            sender.send_soon(signal.SIGTERM)
        elif (tidied := sys.exception()) is None or stop_behind(tidied) is None:
            raise Preempted("stopped by SIGTERM")

    def send_lost(lost: sys.UnraisableHookArgs) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            tell_others(lost)
            return
        sender.send_soon(signal.SIGTERM if issubclass(lost.exc_type, Preempted) else signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    sys.unraisablehook = send_lost
    try:
        yield
    finally:
        sender.forget()
        sys.unraisablehook = tell_others
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether what runs in a frame is part of the import of a module."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


class _Sender:
    """Sends the main thread, which makes it, a signal a moment later: when what it does now is over."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._timer: threading.Timer | None = None

    def send_soon(self, number: signal.Signals) -> None:
        """Send it, unless one waits to be sent."""
        if self._timer is None:
            self._timer = threading.Timer(_AGAIN_S, self._send, (number,))
            self._timer.daemon = True
            self._timer.start()

    def _send(self, number: signal.Signals) -> None:
        self._timer = None
        signal.pthread_kill(self._main, number)

    def forget(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()


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

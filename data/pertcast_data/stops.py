"""How a program that is asked to stop (SIGTERM, Ctrl-C) hears it, wherever the signal meets it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final

_AGAIN_S: Final = 0.05
"""Seconds after which a stop comes again that met an import or a callback."""


@contextmanager
def stops_heard(answers: Mapping[signal.Signals, type[KeyboardInterrupt]]) -> Iterator[None]:
    """Let signals raise exceptions inside the block, so that what is begun is tidied up, and lose none.

    A signal that meets an import is answered after it: extension modules make other errors of an exception,
    or none. One whose exception was raised inside a callback (of a weak reference, of an object that goes),
    which lets nothing through, is sent once more; so is a SIGINT that Python itself answers. While the first
    one's exception is on its way, further ones go unheard (batch systems send SIGTERM to a script and to its
    children).

    Outside the main thread nothing changes. Where the program already answers to a signal, it still does. A
    process that was forked inside the block ends at once.

    Parameters
    ----------
    answers
        What each signal raises.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    sender, own, tell_others = _Sender(), os.getpid(), sys.unraisablehook

    def stop(number: int, frame: FrameType | None) -> None:
        asked = signal.Signals(number)
        if os.getpid() != own:
            signal.signal(asked, signal.SIG_DFL)
            signal.raise_signal(asked)
        if _is_importing(frame):
            sender.send_soon(asked)
        elif (handled := sys.exception()) is None or stop_behind(handled) is None:
            raise answers[asked]("interrupted" if asked == signal.SIGINT else f"stopped by {asked.name}")

    def send_lost(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            by = (number for number, kind in answers.items() if kind is lost.exc_type)
            sender.send_soon(next(by, signal.SIGINT))
        else:
            tell_others(lost)

    before = {number: signal.getsignal(number) for number in answers}
    ours = [number for number, answer in before.items() if not _is_of_the_program(answer)]
    for number in ours:
        signal.signal(number, stop)
    sys.unraisablehook = send_lost
    try:
        yield
    finally:
        sender.forget()
        sys.unraisablehook = tell_others
        for number in ours:
            signal.signal(number, before[number])


def stop_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the stop that an exception is or follows from, or None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause


def _is_of_the_program(answer: object) -> bool:
    return callable(answer) and answer is not signal.default_int_handler


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

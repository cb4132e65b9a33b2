"""A job's output as it grows, over connections that may be cut.

The dashboard sends a log over one WebSocket from its beginning on and keeps no place for who comes back. So
the characters that were shown are counted, and a new connection's first so many are left out: only a cut,
not every second, costs reading again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import aiohttp

from pertcast_jobs.cluster.job_client import JobFailed
from pertcast_jobs.cluster.retry import Patience, Unreachable, patiently

SILENCE_S: Final = 10.0
"""Seconds without output after which it is asked whether the job has ended."""

_log: Final = logging.getLogger(__name__)


def _chunks(stream: AsyncIterator[str]) -> Iterator[str]:
    """Yield the chunks of one connection, in this thread; an empty one after each `SILENCE_S` of silence."""
    waiting: asyncio.Future[str | None] | None = None

    async def following() -> str | None:
        nonlocal waiting
        waiting = waiting or asyncio.ensure_future(anext(stream, None))
        done, _ = await asyncio.wait({waiting}, timeout=SILENCE_S)
        if not done:
            return ""
        finished, waiting = waiting, None
        return finished.result()

    # A runner ends what waits when Ctrl-C comes, and closes the connection.
    with asyncio.Runner() as runner:
        while (chunk := runner.run(following())) is not None:
            yield chunk


def follow_logs(
    connect: Callable[[], AsyncIterator[str]],
    *,
    has_ended: Callable[[], bool],
    whole: Callable[[], str],
    what: str,
) -> Iterator[str]:
    """Yield a growing text without losing or repeating any of it, until its job has ended.

    Parameters
    ----------
    connect
        Opens a connection that sends the text from its beginning on.
    has_ended
        Whether the job has ended.
    whole
        Returns the whole text, once the job has ended.
    what
        Name of the job, for errors.

    Raises
    ------
    JobFailed
        The cluster does not answer any more.
    """
    shown = 0
    patience = Patience(what)
    while True:
        seen = 0
        cut: BaseException = ConnectionError("the connection was closed.")
        try:
            for chunk in _chunks(connect()):
                new = chunk[max(0, shown - seen) :]
                seen += len(chunk)
                if chunk:
                    patience.answered()
                if new:
                    shown += len(new)
                    yield new
                if not chunk and has_ended():
                    break
        except (aiohttp.ClientError, OSError, Unreachable) as error:
            cut = error
        try:
            if has_ended():
                break
            patience.answered()
        except Unreachable as error:
            cut = error
        patience.pause(cut)
    yield from _rest(whole, shown, what)


def _rest(whole: Callable[[], str], shown: int, what: str) -> Iterator[str]:
    """Yield what the last connection left out: where it breaks off behind the dashboard, it ends like any."""
    try:
        rest = patiently(whole, what)[shown:]
    except JobFailed as error:
        _log.warning("The end of the output of %s cannot be read: %s", what, error)
        return
    if rest:
        yield rest

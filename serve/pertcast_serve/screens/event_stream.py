"""States of a screen as server-sent events, with a sign of life where nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from pertcast_serve.schemas.screens import Screen
from pertcast_serve.screens.states import is_ended

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT_S: Final = 15.0
RETRY_MS: Final = 2_000
_CHECK_S: Final = 1.0


def event_id(screen: Screen) -> str:
    """Return the id of a state's event: a client that comes back with a final one has seen all."""
    return f"{screen.state}-{screen.n_done}"


def event_text(screen: Screen) -> str:
    """Return one event: progress, or finished, failed, cancelled for the last one."""
    name = screen.state if is_ended(screen) else "progress"
    return f"id: {event_id(screen)}\nevent: {name}\ndata: {screen.model_dump_json()}\n\n"


async def event_stream(
    screens: AsyncIterator[Screen],
    is_gone: Callable[[], Awaitable[bool]],
    heartbeat_s: float = HEARTBEAT_S,
) -> AsyncIterator[str]:
    """Yield the text of a stream of events.

    Parameters
    ----------
    screens
        States as they change; the stream ends with them.
    is_gone
        Whether the client has closed the connection, which ends the stream too.
    heartbeat_s
        Longest silence before a comment is sent, so that proxies keep the connection.
    """
    yield f"retry: {RETRY_MS}\n\n"
    silent = 0.0
    upcoming = asyncio.ensure_future(anext(screens, None))
    try:
        while not await is_gone():
            await asyncio.wait({upcoming}, timeout=min(_CHECK_S, heartbeat_s))
            if upcoming.done():
                screen = upcoming.result()
                if screen is None:
                    return
                silent = 0.0
                yield event_text(screen)
                upcoming = asyncio.ensure_future(anext(screens, None))
                continue
            silent += min(_CHECK_S, heartbeat_s)
            if silent >= heartbeat_s:
                silent = 0.0
                yield ": still here\n\n"
    finally:
        upcoming.cancel()

"""Follows a screen to its end: by events, again after each break, and by asking where events do not come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Final

import httpx

from pertcast_serve.client.errors import Overloaded, ServerFailed, ServerUnreachable
from pertcast_serve.client.events import parsed_events
from pertcast_serve.client.tables import parsed
from pertcast_serve.client.transport import Transport
from pertcast_serve.schemas.screens import Screen

ENDED: Final = frozenset({"finished", "failed", "cancelled"})
_TRIES: Final = 3
"""Streams in a row without an event, before the screen is asked for instead."""
_LONGEST_SILENCE_S: Final = 45.0
"""Three of the server's signs of life."""
_OFFLINE_S: Final = 180.0
"""A server may be away this long, for a restart, while its screens go on."""
_AWAY: Final = (ServerUnreachable, Overloaded, ServerFailed)


class Follower:
    """The states of one screen as they change.

    Parameters
    ----------
    transport
        Sends the requests.
    path
        Path of the screen.
    poll_s
        Seconds between two questions where events do not come.
    """

    def __init__(self, transport: Transport, path: str, poll_s: float = 2.0) -> None:
        self._transport = transport
        self._path = path
        self._poll_s = poll_s
        self._last_id = ""
        self._last_heard = time.monotonic()

    def states(self) -> Iterator[Screen | None]:
        """Yield states, the last one ended, and None now and then where nothing changes.

        Raises
        ------
        ServerUnreachable
            The server was away for three minutes.
        ServerError
            The server refuses, for example because there is no such screen.
        """
        tries = 0
        while tries < _TRIES:
            tries += 1
            for screen in self._streamed():
                if screen is not None:
                    tries = 0
                yield screen
                if screen is not None and screen.state in ENDED:
                    return
            time.sleep(min(self._poll_s, 0.2 * 2**tries))
        yield from self._polled()

    def _streamed(self) -> Iterator[Screen | None]:
        """Yield what one stream of events brings, until it breaks."""
        headers = {"Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        try:
            with self._transport.stream(f"{self._path}/events", headers, _LONGEST_SILENCE_S) as answer:
                if answer.status_code == 204:
                    yield self._asked()
                    return
                for event in parsed_events(answer.iter_lines()):
                    self._last_heard = time.monotonic()
                    if event is None:
                        yield None
                        continue
                    self._last_id = event.id
                    yield parsed(Screen, json.loads(event.data))
        except (httpx.TransportError, *_AWAY):
            yield None

    def _polled(self) -> Iterator[Screen | None]:
        """Yield the screen as it changes, by asking."""
        seen: Screen | None = None
        while seen is None or seen.state not in ENDED:
            found: Screen | None
            try:
                found = self._asked()
            except _AWAY:
                if time.monotonic() - self._last_heard > _OFFLINE_S:
                    raise
                found = seen
            yield None if found == seen else found
            seen = found
            if found is None or found.state not in ENDED:
                time.sleep(self._poll_s)

    def _asked(self) -> Screen:
        found = parsed(Screen, self._transport.get(self._path).json())
        self._last_heard = time.monotonic()
        return found

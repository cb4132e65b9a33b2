"""Looks after screens while a server runs: submits again what was interrupted, counts what is written."""

from __future__ import annotations

import asyncio
import logging
from typing import BinaryIO, Final

from pertcast_serve.metrics import add_screen_profiles
from pertcast_serve.screens.starting import ScreenStarter
from pertcast_serve.screens.states import ScreenStates, is_ended
from pertcast_serve.screens.store import ScreenStore

log = logging.getLogger(__name__)

INTERVAL_S: Final = 10.0


class Watch:
    """One process of a server at a time looks after its screens; another takes over when that one ends.

    Parameters
    ----------
    store
        The screens.
    states
        Knows how they are.
    starter
        Submits them.
    """

    def __init__(self, store: ScreenStore, states: ScreenStates, starter: ScreenStarter) -> None:
        self._store, self._states, self._starter = store, states, starter
        self._counted: dict[str, int] | None = None
        self._ended: set[str] = set()
        self._lease: BinaryIO | None = None

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Look after the screens until cancelled."""
        try:
            while True:
                try:
                    await asyncio.to_thread(self.look)
                except OSError:
                    # The folder is away for a moment, as shared volumes are.
                    log.exception("screens cannot be looked after")
                await asyncio.sleep(interval_s)
        finally:
            if self._lease is not None:
                self._lease.close()
                self._lease = None

    def look(self) -> None:
        """Look after all screens once, where no other process does."""
        if self._lease is None:
            self._lease = self._store.try_lease("watch")
        if self._lease is not None:
            self.resume()
            self._count()

    def resume(self) -> list[str]:
        """Submit again what was interrupted; return the ids of these screens."""
        return [folder.id for folder in reversed(self._store.all()) if self._starter.start(folder)]

    def _count(self) -> None:
        """Count the profiles written since the last look; what stood at the first was counted before."""
        is_first = self._counted is None
        counted = self._counted = self._counted or {}
        for folder in self._store.all():
            if folder.id in self._ended:
                continue
            screen = self._states.of(folder)
            before = counted.get(folder.id, screen.n_done if is_first else 0)
            add_screen_profiles(max(0, screen.n_done - before))
            counted[folder.id] = screen.n_done
            if is_ended(screen):
                self._ended.add(folder.id)
                del counted[folder.id]

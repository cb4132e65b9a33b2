"""Checkpoints on all ranks: what one rank cannot write or read, all agree on, and training goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pertcast_data.errors import CorruptBundle, PertcastError, StorageError

from pertcast.training.checkpoint import CheckpointStore, WriteShare, checkpoint_name, verify_checkpoint
from pertcast.training.distributed import from_rank_zero, gather_objects, rank, world_size
from pertcast.training.events import EventLog
from pertcast.training.reports import Position
from pertcast.training.storage_faults import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    StorageUnavailable,
    is_storage_fault,
    reason_of,
    remedy_of,
)

log = logging.getLogger(__name__)

LAST_CHANCE_S: Final = 30.0
"""How long a checkpoint is tried again that a request to stop asked for: notice is short."""


class CheckpointKeeper:
    """Writes and finds the checkpoints of one training; its methods are called on every rank together.

    Parameters
    ----------
    store
        Where they are kept.
    patience_s
        How long training goes on without being able to write one.
    events
        Told of each checkpoint that is written, cannot be written or is damaged.
    """

    def __init__(self, store: CheckpointStore, patience_s: float, events: EventLog) -> None:
        self._store = store
        self._patience_s = patience_s
        self._events = events
        self._last_good: tuple[str, float] = ("", time.monotonic())
        self._failures = 0

    @property
    def place(self) -> str:
        """Folder or address of the checkpoints."""
        return self._store.place

    def save(self, position: Position, write: WriteShare) -> bool:
        """Write a checkpoint; False where the storage does not take it, and training may go on without.

        Raises
        ------
        StorageUnavailable
            On every rank, when this was not the first failure in a row and the last good checkpoint (or the
            start) is longer ago than the patience.
        """
        reason = self._attempt(position, write)
        if reason is None:
            return True
        self._failures += 1
        since = from_rank_zero(time.monotonic() - self._last_good[1])
        if self._failures > 1 and since > self._patience_s:
            raise StorageUnavailable(self._given_up(position, reason, since))
        return False

    def save_at_last(self, position: Position, write: WriteShare) -> str | None:
        """Write the checkpoint of a training that was asked to stop; returns why it could not be written.

        Tried again for `LAST_CHANCE_S` seconds, or the patience where that is less.
        """
        began, pause = time.monotonic(), FIRST_PAUSE_S
        while (reason := self._attempt(position, write)) is not None:
            left = min(LAST_CHANCE_S, self._patience_s) - (time.monotonic() - began)
            if from_rank_zero(left) <= 0:
                return reason
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        return None

    def _attempt(self, position: Position, write: WriteShare) -> str | None:
        """Try to write one; returns None, or why not, the same on every rank."""
        name = checkpoint_name(position)
        reason = self._agreed(lambda: self._store.begin(name), only_first=True)
        if reason is None:
            reason = self._agreed(lambda: self._store.write_share(name, write))
        if reason is None:
            reason = self._agreed(lambda: self._store.commit(name), only_first=True)
        if reason is None:
            self._last_good, self._failures = (name, time.monotonic()), 0
            self._events.write("checkpoint", position.global_step, name)
            return None
        if rank() == 0:
            with suppress(OSError, StorageError):
                self._store.discard(name)
            log.warning("checkpoint %s was not written to %s: %s", name, self.place, reason)
        self._events.write("checkpoint_failed", position.global_step, f"{name}: {reason}")
        return reason

    @staticmethod
    def _agreed(act: Callable[[], object], *, only_first: bool = False) -> str | None:
        """Do something on every rank (or the first); returns on every rank what kept any of them from it."""
        error: Exception | None = None
        try:
            if rank() == 0 or not only_first:
                act()
        except Exception as raised:  # noqa: BLE001 (all ranks must hear of it before it may be raised)
            error = raised
        mine = None if error is None else (reason_of(error), is_storage_fault(error))
        told = [(number, each) for number, each in enumerate(gather_objects(mine)) if each is not None]
        if error is not None and not is_storage_fault(error):
            raise error
        for number, (reason, is_storage) in told:
            if not is_storage:
                raise PertcastError(f"Rank {number} could not take part in a checkpoint: {reason}")
        if world_size() == 1:
            return told[0][1][0] if told else None
        return "; ".join(f"rank {number}: {reason}" for number, (reason, _) in told) or None

    def _given_up(self, position: Position, reason: str, since: float) -> str:
        name, _ = self._last_good
        intact = f"the last good one is {name}" if name else "none was written since this attempt began"
        return (
            f"No checkpoint could be written to {self.place} for {since:.0f} s "
            f"(train.storage_patience_s={self._patience_s:g}): {reason}. Training ended at step "
            f"{position.global_step}; {intact}, and what was there before is untouched. "
            f"{remedy_of(reason)}, then resume: it goes on from the last good checkpoint."
        )

    def newest(self, is_expected: Callable[[], str] = str) -> Path | None:
        """Return a local folder with the newest checkpoint that verifies on every rank; None without any.

        Damaged ones are named in the log and the events, and skipped. While the storage is away it is waited
        for, up to the patience.

        Parameters
        ----------
        is_expected
            Called on rank 0 where no checkpoint is listed: says in words that one was written earlier, so
            that the storage is taken to be away, or "".

        Raises
        ------
        StorageUnavailable
            On every rank, when the storage cannot be read for that long.
        """
        began, pause = time.monotonic(), FIRST_PAUSE_S
        while True:
            found, reason = self._look(is_expected)
            if reason is None:
                return found
            left = from_rank_zero(self._patience_s - (time.monotonic() - began))
            if left <= 0:
                raise StorageUnavailable(
                    f"Checkpoints at {self.place} could not be read for {self._patience_s:g} s "
                    f"(train.storage_patience_s): {reason}. Nothing was changed there. {remedy_of(reason)}, "
                    "then resume."
                )
            if rank() == 0:
                log.warning("no checkpoint can be read from %s: %s; trying again", self.place, reason)
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _look(self, is_expected: Callable[[], str]) -> tuple[Path | None, str | None]:
        """Return the newest good checkpoint, or why the storage cannot be read."""
        names, reason = from_rank_zero(self._listed(is_expected) if rank() == 0 else ([], None))
        if reason is not None:
            return None, reason
        for name in reversed(names):
            folder, damage, fault = self._fetched(name)
            faults = [each for each in gather_objects(fault) if each is not None]
            damages = [each for each in gather_objects(damage) if each is not None]
            if faults:
                return None, faults[0]
            if not damages:
                return folder, None
            self._skip(name, damages[0])
        return None, None

    def _listed(self, is_expected: Callable[[], str]) -> tuple[list[str], str | None]:
        try:
            names = self._store.names()
        except (OSError, StorageError) as error:
            return [], reason_of(error)
        return names, None if names else (is_expected() or None)

    def _fetched(self, name: str) -> tuple[Path | None, str | None, str | None]:
        """Return this rank's folder of a checkpoint, its damage, and what keeps this rank from reading it."""
        try:
            folder = self._store.fetch(name)
            verify_checkpoint(folder)
        except CorruptBundle as error:
            # A folder that went away while it was read is not damaged.
            return (None, str(error), None) if self._is_listed(name) else (None, None, str(error))
        except (OSError, StorageError) as error:
            return None, None, reason_of(error)
        return folder, None, None

    def _is_listed(self, name: str) -> bool:
        with suppress(OSError, StorageError):
            return name in self._store.names()
        return False

    def _skip(self, name: str, damage: str) -> None:
        if rank() == 0:
            log.warning("skipping checkpoint %s: %s", name, damage)
        self._events.write("damaged_checkpoint_skipped", 0, f"{name}: {damage}")

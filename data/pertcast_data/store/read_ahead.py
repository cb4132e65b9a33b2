"""Fetches that run while their reader's caller works on earlier rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

Result = TypeVar("Result")


class ReadAhead(Generic[Result]):
    """A queue of fetches, done one after another by a thread of its own, taken in the same order."""

    def __init__(self) -> None:
        self._worker: ThreadPoolExecutor | None = None
        self._under_way: deque[Future[Result]] = deque()

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, fetch: Callable[[], Result]) -> None:
        """Queue a fetch."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        self._under_way.append(self._worker.submit(fetch))

    def take(self) -> Result:
        """Wait for the oldest fetch and return what it returns; raises what it raises."""
        return self._under_way.popleft().result()

    def drain(self) -> None:
        """Wait for every fetch and forget them all."""
        wait(self._under_way)
        self._under_way.clear()

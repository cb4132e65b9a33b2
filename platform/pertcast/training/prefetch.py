"""Reading ahead: a thread fetches the next batches while the current one is trained on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from pertcast.models.batch import Batch


class Prefetcher:
    """Iterates over batches on `device`, up to `depth` of them read ahead by one thread.

    The order is that of the source. An error of the source is raised where the batch would have come.
    Use it in a `with` block: leaving the block ends the thread.

    Parameters
    ----------
    batches
        Where batches come from.
    device
        Where they go.
    depth
        How many are read ahead; 0 reads in the calling thread.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device, depth: int) -> None:
        self._batches = batches
        self._device = device
        self._pending: deque[Future[Batch | None]] = deque()
        self._depth = depth
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pertcast-prefetch") if depth else None

    def __enter__(self) -> Prefetcher:
        for _ in range(self._depth):
            self._ask()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._pool is None:
            batch = self._read()
        else:
            batch = self._pending.popleft().result()
            self._ask()
        if batch is None:
            raise StopIteration
        return batch

    def _ask(self) -> None:
        if self._pool is not None:
            self._pending.append(self._pool.submit(self._read))

    def _read(self) -> Batch | None:
        batch = next(self._batches, None)
        return None if batch is None else batch.to(self._device)

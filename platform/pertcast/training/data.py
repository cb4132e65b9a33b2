"""What the training loop asks of its data; the store-backed source lives in `pertcast.encoding`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pertcast.models.batch import Batch


class BatchSource(Protocol):
    """Rows as batches, dealt to the ranks of a training job.

    `batches` is a pure function of (seed, epoch, rank, world size): a resumed run asks for the epoch and
    step at which it stopped and sees exactly the rows that it would have seen.
    """

    @property
    def n_rows(self) -> int:
        """Number of rows over all ranks."""
        ...

    def steps(self, epoch: int) -> int:
        """Return the number of batches this rank sees in `epoch`; the same on every rank when shuffled."""
        ...

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of `epoch` from `start_step` on."""
        ...


@dataclass(frozen=True)
class TrainingData:
    """The rows of a training run.

    Attributes
    ----------
    train
        Shuffled, equal batches on every rank: for gradient stages.
    statistics
        The same rows once each, unshuffled, no row dropped: for closed-form stages.
    validation
        Held-out rows once each, or None.
    """

    train: BatchSource
    statistics: BatchSource
    validation: BatchSource | None

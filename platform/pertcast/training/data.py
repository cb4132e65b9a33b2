"""What the training loop asks of its data; the store-backed source lives in `pertcast.encoding`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pertcast_data.errors import ConfigError

from pertcast.models.batch import Batch
from pertcast.models.contract import GradientStage


class BatchSource(Protocol):
    """Rows as batches, dealt to the ranks of a training job.

    `batches` is a pure function of (seed, epoch, rank, world size): a resumed run asks for the epoch and
    step at which it stopped and sees exactly the rows that it would have seen. Shuffled, the rows of a step
    (of all ranks and micro-batches together) are the same on any number of ranks.
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
    grouped
        Given a number of cells per condition, returns the same rows as whole groups of that many rows of one
        condition: `train` shuffled, equal batches on every rank; `validation` the same groups at every
        validation, which hold every row, each group once over all ranks. None: the rows' conditions are not
        known.
    """

    train: BatchSource
    statistics: BatchSource
    validation: BatchSource | None
    grouped: Callable[[int], TrainingData] | None = None

    def of_stage(self, stage: GradientStage) -> TrainingData:
        """Return the rows as a stage wants its batches: in any order, or in groups of one condition.

        Raises
        ------
        ConfigError
            The stage wants groups, and these data cannot give them.
        """
        if stage.cells_per_condition is None:
            return self
        if self.grouped is None:
            raise ConfigError(
                f"Stage {stage.name!r} wants {stage.cells_per_condition} cells of one condition side by "
                "side, and these training data do not group rows by condition. Make them with "
                "pertcast.encoding.make_training_data, or give TrainingData a `grouped`."
            )
        return self.grouped(stage.cells_per_condition)

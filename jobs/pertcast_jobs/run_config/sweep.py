"""A sweep: a run's configuration, the space that trials are drawn from, and how they are chosen.

The space names keys of the run's configuration by their dotted path, as overrides on the command line do.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pertcast_jobs.run_config.schema import RunConfig

_WholeNumbers = tuple[int, int]


class SpaceEntry(BaseModel):
    """The values of one key; exactly one attribute is given.

    Attributes
    ----------
    choice
        A list of values.
    uniform
        Lowest and highest number, evenly drawn.
    loguniform
        Lowest and highest number, evenly drawn in the logarithm.
    int
        Lowest and highest whole number, both possible.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: tuple[Any, ...] | None = Field(None, min_length=1)
    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    int: _WholeNumbers | None = None

    @model_validator(mode="after")
    def _one_kind_in_order(self) -> SpaceEntry:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of choice, uniform, loguniform, int; here {given or 'none'}")
        if given[0] != "choice":
            low, high = getattr(self, given[0])
            if not low < high:
                raise ValueError(f"{given[0]}: the first value {low} must be below the second {high}")
            if given[0] == "loguniform" and low <= 0:
                raise ValueError(f"loguniform: {low} must be above 0")
        return self

    @property
    def corners(self) -> tuple[Any, ...]:
        """Values that are possible and, if all are valid, speak for the rest."""
        if self.choice is not None:
            return self.choice
        return self.int or self.uniform or self.loguniform or ()


class SearchConfig(BaseModel):
    """How trials are chosen and ended.

    Attributes
    ----------
    trials
        How many configurations are tried.
    metric
        What the trials report and are ranked by.
    mode
        Whether the smallest or the largest is best.
    algorithm
        "random" draws independently; "optuna" (tree-structured Parzen estimator) learns from finished trials.
    scheduler
        "none" lets every trial finish; "asha" stops the worse part early.
    grace_epochs
        Epochs that "asha" leaves every trial.
    reduction
        "asha" keeps one in `reduction` at each rung.
    max_concurrent
        Trials at a time; as many as there are CPUs where null.
    seed
        Seed of the draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(4, ge=1)
    metric: str = "validation_loss"
    mode: Literal["min", "max"] = "min"
    algorithm: Literal["random", "optuna"] = "random"
    scheduler: Literal["none", "asha"] = "none"
    grace_epochs: int = Field(2, ge=1)
    reduction: int = Field(3, ge=2)
    max_concurrent: int | None = Field(None, ge=1)
    seed: int = 0


class SweepConfig(RunConfig):
    """A run's configuration with the space to search.

    Attributes
    ----------
    space
        Dotted key of the run's configuration -> its values.
    search
        How trials are chosen and ended.
    """

    space: dict[str, SpaceEntry] = Field(min_length=1)
    search: SearchConfig = SearchConfig()

    def run_mapping(self) -> dict[str, Any]:
        """Return the run's part of the configuration as plain values."""
        return self.model_dump(mode="json", exclude={"space", "search"})

"""A sweep: a run's configuration, the space that trials are drawn from, and how they are chosen.

The space names keys of the run's configuration by their dotted path, as overrides on the command line do.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pertcast.evaluation.metrics import PRIMARY_METRIC, metrics_of_level
from pertcast_data.errors import nearest_known
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pertcast_jobs.run_config.schema import RunConfig

_WholeNumbers = tuple[int, int]

TRIAL_METRICS: Final = ("advantage", "score", "cost", "parameters", "seconds")
"""What every trial reports; beside it the model's held-out losses as ``validation_<name>``."""

_HELD_OUT_LOSS: Final = "validation_"


class SpaceEntry(BaseModel):
    """The values of one key; exactly one of choice, uniform, loguniform and int is given.

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
    step
        With uniform or int: only the lowest number plus multiples of this are drawn.
    when
        Another key of the space -> values of it with which this key is drawn at all; else it keeps the value
        of the run's configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: tuple[Any, ...] | None = Field(None, min_length=1)
    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    int: _WholeNumbers | None = None
    step: float | None = Field(None, gt=0)
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind_in_order(self) -> SpaceEntry:
        kinds = ("choice", "uniform", "loguniform", "int")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of choice, uniform, loguniform, int; here {given or 'none'}")
        if given[0] != "choice":
            low, high = getattr(self, given[0])
            if not low < high:
                raise ValueError(f"{given[0]}: the first value {low} must be below the second {high}")
            if given[0] == "loguniform" and low <= 0:
                raise ValueError(f"loguniform: {low} must be above 0")
        return self

    @model_validator(mode="after")
    def _steps_fit(self) -> SpaceEntry:
        if self.step is None:
            return self
        if self.int is None and self.uniform is None:
            raise ValueError("step goes with uniform or int; write a list of values as choice")
        low, high = self.int or self.uniform or (0, 0)
        if self.int is not None and self.step != round(self.step):
            raise ValueError(f"step: {self.step:g} must be a whole number, as int draws whole numbers")
        if self.step > high - low:
            raise ValueError(f"step: {self.step:g} is wider than from {low:g} to {high:g}")
        return self

    @property
    def corners(self) -> tuple[Any, ...]:
        """Values that are possible and, if all are valid, speak for the rest."""
        if self.choice is not None:
            return self.choice
        return self.int or self.uniform or self.loguniform or ()


class Objective(BaseModel):
    """One thing that a sweep is after.

    Attributes
    ----------
    metric
        "advantage": how much better than the best baseline on the validation conditions. "score": the model's
        own score there. "cost": floating-point operations of the training. "parameters", "seconds". Or a
        held-out loss, such as "validation_loss".
    mode
        Whether the smallest or the largest is best.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    mode: Literal["min", "max"]

    @field_validator("metric")
    @classmethod
    def _is_known(cls, metric: str) -> str:
        if metric == "skill":
            raise ValueError("what a sweep called skill is advantage now; write advantage")
        if metric not in TRIAL_METRICS and not metric.startswith(_HELD_OUT_LOSS):
            near = nearest_known(metric, [*TRIAL_METRICS, "validation_loss"]) or list(TRIAL_METRICS)
            raise ValueError(f"no trial reports {metric!r}; nearest known: {', '.join(near)}")
        return metric

    @property
    def sign(self) -> int:
        """+1 where larger is better, -1 where smaller is."""
        return 1 if self.mode == "max" else -1


class SearchConfig(BaseModel):
    """How trials are chosen and ended.

    Attributes
    ----------
    trials
        How many configurations are tried.
    objectives
        What the sweep is after, the most important first: the best trial is the best by the first one, ties
        by the next. With several, the trials that no other beats in all of them are the front.
    scored_by
        The metric of evaluation that "advantage" and "score" are in.
    algorithm
        "random" draws independently; "optuna" (tree-structured Parzen estimator, for one or several
        objectives) learns from finished trials.
    scheduler
        "none" lets every trial finish; "asha" stops the worse part early, by validation_loss.
    grace_epochs
        Epochs that "asha" leaves every trial.
    reduction
        "asha" keeps one in `reduction` at each rung.
    max_concurrent
        Trials at a time; as many as there are CPUs (and GPUs) where null.
    seed
        Seed of the draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(4, ge=1)
    objectives: tuple[Objective, ...] = Field(
        (Objective(metric="advantage", mode="max"), Objective(metric="cost", mode="min")), min_length=1
    )
    scored_by: str = PRIMARY_METRIC
    algorithm: Literal["random", "optuna"] = "random"
    scheduler: Literal["none", "asha"] = "none"
    grace_epochs: int = Field(2, ge=1)
    reduction: int = Field(3, ge=2)
    max_concurrent: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)

    @field_validator("objectives")
    @classmethod
    def _are_different(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        names = [objective.metric for objective in objectives]
        if len(set(names)) < len(names):
            raise ValueError(f"each metric can be an objective once; here {', '.join(names)}")
        return objectives

    @field_validator("scored_by")
    @classmethod
    def _scores_conditions(cls, name: str) -> str:
        known = [metric.name for metric in metrics_of_level("condition")]
        if name not in known:
            near = nearest_known(name, known) or known
            raise ValueError(f"{name!r} is no metric of conditions; nearest known: {', '.join(near)}")
        return name


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

    @model_validator(mode="after")
    def _conditions_can_hold(self) -> SweepConfig:
        """Let a key depend on choices above it alone, so that one pass draws them all."""
        above: dict[str, SpaceEntry] = {}
        for key, entry in self.space.items():
            for other, values in entry.when.items():
                possible = above[other].choice if other in above else None
                if possible is None:
                    raise ValueError(f"space.{key}.when: {other} is no choice above it in the space")
                strange = [value for value in values if value not in possible]
                if strange or not values:
                    raise ValueError(
                        f"space.{key}.when: {other} is never {strange[0] if strange else 'nothing'}; "
                        f"it may be {', '.join(map(str, possible))}"
                    )
            above[key] = entry
        return self

    def run_mapping(self) -> dict[str, Any]:
        """Return the run's part of the configuration as plain values."""
        return self.model_dump(mode="json", exclude={"space", "search"})

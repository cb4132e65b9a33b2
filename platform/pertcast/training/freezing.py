"""How the stages of a model with trained weights are trained: which not at all, and the others how gently."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from pertcast_data.errors import ConfigError, nearest_known

from pertcast.models.contract import GradientStage, ResponseModel, Stage
from pertcast.training.transfer import stage_tensors


def frozen_stages(model: ResponseModel, stages: Sequence[Stage], asked: Collection[str]) -> tuple[str, ...]:
    """Return the names of the stages that are skipped: what the model keeps, and what is asked for.

    Parameters
    ----------
    model, stages
        The model, and its stages; one with fresh weights trains all of them.
    asked
        Names of stages to freeze besides (`TrainConfig.frozen_stages`).

    Raises
    ------
    ConfigError
        Stages are to be frozen in a model with fresh weights, one of the names is unknown, or a stage is
        solved from the training rows in any case.
    """
    names = [stage.name for stage in stages]
    if model.start is None:
        if asked:
            raise ConfigError(
                f"train.frozen_stages={', '.join(asked)}: weights can only be kept where there are any. "
                "Start from a trained bundle with --init-from BUNDLE, or leave the stages out."
            )
        return ()
    for name in asked:
        if name not in names:
            nearest = nearest_known(name, names) or names
            raise ConfigError(
                f"train.frozen_stages: {name!r} is no stage of {type(model).__name__}. "
                f"Did you mean: {', '.join(nearest)}? Its stages are {', '.join(names)}."
            )
    frozen = [stage for stage in stages if stage.is_kept or stage.name in asked]
    unknown = [stage.name for stage in frozen if not stage_tensors(model, stage)]
    if unknown:
        raise ConfigError(
            f"train.frozen_stages: {', '.join(unknown)} is solved from the training rows and what it solves "
            "belongs to them; it cannot be kept. Leave it out."
        )
    return tuple(stage.name for stage in frozen)


def stages_to_train(model: ResponseModel, lr_share: float) -> tuple[Stage, ...]:
    """Return a model's stages; with trained weights, at `lr_share` of their learning rates."""
    if model.start is None:
        return model.stages()
    return tuple(
        replace(stage, optimiser=stage.optimiser.model_copy(update={"lr": stage.optimiser.lr * lr_share}))
        if isinstance(stage, GradientStage)
        else stage
        for stage in model.stages()
    )


def require_taken(
    model: ResponseModel, stages: Sequence[Stage], frozen: Collection[str], afresh: Mapping[str, str]
) -> None:
    """Raise ConfigError where a frozen stage has a tensor that was not taken over.

    Parameters
    ----------
    model, stages
        The model, and its stages.
    frozen
        Names of the stages that keep their weights.
    afresh
        Why tensors were not taken over, by name.
    """
    for stage in stages:
        lost = [name for name in stage_tensors(model, stage) if name in afresh]
        if stage.name in frozen and lost:
            kept = "is kept as later stages mean nothing without it" if stage.is_kept else "is to be frozen"
            raise ConfigError(
                f"Stage {stage.name!r} {kept}, but {lost[0]} cannot be taken over from the bundle: "
                f"{afresh[lost[0]]}. Train from scratch, or bring a store with the bundle's own genes in "
                "their order."
            )
